/**
 * Which accesses to the APIC-access page go to the virtual-APIC page instead of exiting, as data ("Virtualizing Reads from
 * the APIC-Access Page", "Virtualizing Writes to the APIC-Access Page").
 */
import { ApicRegister } from "../../cpu/local-apic/registers.ts";

/** The controls that decide. The TPR shadow is in use: without it, nothing is virtualized. */
export interface AccessControls {
  readonly registerVirtualization: boolean;
  readonly interruptDelivery: boolean;
  readonly ipiVirtualization: boolean;
}

const vectorSets = [
  ApicRegister.InService,
  ApicRegister.TriggerMode,
  ApicRegister.InterruptRequest,
].flatMap((first) => Array.from({ length: 8 }, (_, n) => first + n * 16));

/** Read and written under APIC-register virtualization. */
const virtualRegisters = [
  ApicRegister.Id,
  ApicRegister.TaskPriority,
  ApicRegister.EndOfInterrupt,
  ApicRegister.LogicalDestination,
  ApicRegister.DestinationFormat,
  ApicRegister.SpuriousVector,
  ApicRegister.ErrorStatus,
  ApicRegister.CommandLow,
  ApicRegister.CommandHigh,
  ApicRegister.LvtTimer,
  ApicRegister.LvtThermal,
  ApicRegister.LvtPerformance,
  ApicRegister.LvtLint0,
  ApicRegister.LvtLint1,
  ApicRegister.LvtError,
  ApicRegister.InitialCount,
  ApicRegister.DivideConfiguration,
] as const;

/** Offsets of registers that a read finds virtualized under APIC-register virtualization. */
const readableRegisters: ReadonlySet<number> = new Set([
  ...virtualRegisters,
  ApicRegister.Version,
  ...vectorSets,
]);
/** Offsets of registers that a write finds virtualized under APIC-register virtualization. */
const writableRegisters: ReadonlySet<number> = new Set(virtualRegisters);

const slotBytes = 16;
const registerBytes = 4;

/** An access lies within the low four bytes of one 16-byte slot. */
function isWithinRegister(offset: number, size: number): boolean {
  return (offset % slotBytes) + size <= registerBytes;
}

const registerOf = (offset: number): number => offset - (offset % slotBytes);

/** @param offset within the page @param size in bytes */
export function isReadVirtualized(controls: AccessControls, offset: number, size: number): boolean {
  if (!isWithinRegister(offset, size)) {
    return false;
  }
  return controls.registerVirtualization
    ? readableRegisters.has(registerOf(offset))
    : offset === ApicRegister.TaskPriority;
}

/** @param offset within the page @param size in bytes */
export function isWriteVirtualized(
  controls: AccessControls,
  offset: number,
  size: number,
): boolean {
  if (!isWithinRegister(offset, size)) {
    return false;
  }
  if (controls.registerVirtualization) {
    return writableRegisters.has(registerOf(offset));
  }
  switch (offset) {
    case ApicRegister.TaskPriority:
      return true;
    case ApicRegister.EndOfInterrupt:
      return controls.interruptDelivery;
    case ApicRegister.CommandLow:
      return controls.interruptDelivery || controls.ipiVirtualization;
    default:
      return false;
  }
}
