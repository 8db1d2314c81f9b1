import { AccessClass } from "../../cpu/address-space.ts";
import type { InstructionView } from "../../cpu/instruction-view.ts";
import { Outcome } from "../../execution/core-host.ts";
import { highHalf, lowHalf } from "../halves.ts";
import { instructionError } from "../instruction-errors.ts";
import { slot } from "../vmcs-fields.ts";
import type { VmxParts } from "../vmx-parts.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { fieldOperand, highBitsOf, isHighAccess, isReadOnly, lowBitsOf } from "./field-operand.ts";
import { requirePrivilege, requireVmxOperation } from "./guards.ts";
import { accessedVmcs, closeVmcs, openVmcs } from "./shadow-vmcs.ts";

/** VMWRITE—Write Field to Virtual-Machine Control Structure. */
export function vmwrite({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  const is64Bit = requireVmxOperation(unit);
  if (unit.isNonRoot && intercepts.fieldAccess(insn, true)) {
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const pointer = accessedVmcs(unit);
  if (pointer < 0) {
    unit.lp.trace?.("no-current-vmcs", { lp: unit.lp.index, instruction: "VMWRITE" });
    unit.failInvalid();
    return Outcome.Next;
  }
  const { isMemory } = insn;
  const memory = isMemory ? readMemory(unit, insn, is64Bit) : 0n;
  const register = insn.destination;
  const position = fieldOperand(unit, register, is64Bit);
  if (position < 0) {
    return Outcome.Next;
  }
  if (isReadOnly(position) && !unit.profile.writesReadOnlyFields) {
    unit.failValid(instructionError.readOnlyComponent);
    return Outcome.Next;
  }
  const { state } = unit.lp;
  const { source } = insn;
  const low = isMemory ? lowHalf(memory) : state.gpr32(source);
  const high = isMemory ? highHalf(memory) : state.readHigh32(source * 8);
  const current = openVmcs(unit, pointer);
  writeField(unit, position, isHighAccess(unit, register), low, is64Bit ? high : 0);
  closeVmcs(unit, current);
  if (position === slot.guestInterruptStatus && !unit.isNonRoot) {
    unit.lp.trace?.("interrupt-status-written", {
      lp: unit.lp.index,
      vmcs: unit.vmcs.currentPointer,
      status: unit.vmcs.low(position),
    });
  }
  unit.succeed();
  return Outcome.Next;
}

function readMemory({ lp }: VmxUnit, insn: InstructionView, is64Bit: boolean): bigint {
  const linear = lp.effectiveLinear(insn, 0, is64Bit ? 8 : 4, false);
  return is64Bit
    ? lp.linear.read64(linear, AccessClass.Current)
    : BigInt(lp.linear.read32(linear, AccessClass.Current));
}

/** Bits beyond the field are ignored; an access to the high half leaves the low half. */
function writeField(
  { vmcs }: VmxUnit,
  position: number,
  isHigh: boolean,
  low: number,
  high: number,
): void {
  if (isHigh) {
    vmcs.write(position, vmcs.low(position), low);
  } else {
    vmcs.write(position, low & lowBitsOf(position), high & highBitsOf(position));
  }
}
