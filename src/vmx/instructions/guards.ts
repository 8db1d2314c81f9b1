/** What VMX instructions check before anything else, and their memory operands. */
import { AccessClass } from "../../cpu/address-space.ts";
import type { InstructionView } from "../../cpu/instruction-view.ts";
import type { LogicalProcessor } from "../../cpu/logical-processor.ts";
import { generalProtection, undefinedOpcode } from "../../cpu/trap.ts";
import { highHalf, lowHalf } from "../halves.ts";
import type { VmxUnit } from "../vmx-unit.ts";

/** Protected or 64-bit mode: not real, virtual-8086 or compatibility mode. */
export const isProperMode = (lp: LogicalProcessor): boolean =>
  lp.is64Bit || (lp.isProtected && !lp.isLongMode);

/**
 * @returns whether the processor is in 64-bit mode
 * @throws #UD outside VMX operation, and in modes that VMX instructions do not exist in
 */
export function requireVmxOperation({ lp, isOn }: VmxUnit): boolean {
  const { is64Bit } = lp;
  const isProper = is64Bit || (lp.isProtected && !lp.isLongMode);
  if (!isOn || !isProper) {
    throw undefinedOpcode();
  }
  return is64Bit;
}

/** @throws #GP(0) */
export function requirePrivilege(unit: VmxUnit): void {
  if (unit.lp.state.cpl !== 0) {
    throw generalProtection();
  }
}

/**
 * Reads the 64-bit physical address that is an instruction's memory operand.
 * @returns the address, or -1 when it is not page-aligned or beyond the physical-address width
 */
export function readPointer(unit: VmxUnit, insn: InstructionView): number {
  const { lp, profile } = unit;
  const linear = lp.effectiveLinear(insn, 0, 8, false);
  const value = lp.linear.read64(linear, AccessClass.Current);
  const isLegal =
    (lowHalf(value) & 0xfff) === 0 && (highHalf(value) & profile.physicalHighMask) === 0;
  return isLegal ? Number(value) : -1;
}

/** The register operand of INVEPT, INVVPID, VMREAD and VMWRITE: 64 bits in 64-bit mode, else 32. */
export function readRegister(unit: VmxUnit, register: number): bigint {
  const { state, is64Bit } = unit.lp;
  return is64Bit ? state.gpr(register) : BigInt(state.gpr32(register));
}
