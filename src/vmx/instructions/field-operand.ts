import { instructionError } from "../instruction-errors.ts";
import { slotOfEncoding, vmcsBytes, vmcsFields } from "../vmcs-fields.ts";
import type { VmxUnit } from "../vmx-unit.ts";

/** By slot: the bits that a field has in its low and high half. */
const lowBits = new Uint32Array(vmcsBytes >>> 2);
const highBits = new Uint32Array(vmcsBytes >>> 2);
const readOnly = new Uint8Array(vmcsBytes >>> 2);
for (const field of vmcsFields) {
  const isWide = field.width === 64 || field.width === "natural";
  lowBits[field.slot] = field.width === 16 ? 0xffff : 0xffff_ffff;
  highBits[field.slot] = isWide ? 0xffff_ffff : 0;
  readOnly[field.slot] = field.readOnly ? 1 : 0;
}

export const lowBitsOf = (position: number): number => lowBits[position] ?? 0;
export const highBitsOf = (position: number): number => highBits[position] ?? 0;
export const isReadOnly = (position: number): boolean => readOnly[position] === 1;

/**
 * The field that the register operand of VMREAD or VMWRITE names; reports error 12 when there is none.
 * @returns its slot, or -1
 */
export function fieldOperand(unit: VmxUnit, register: number, is64Bit: boolean): number {
  const { lp, profile } = unit;
  const isTooWide = is64Bit && lp.state.readHigh32(register * 8) !== 0;
  const position = isTooWide ? -1 : slotOfEncoding(lp.state.gpr32(register));
  if (position < 0 || profile.fieldExists[position] === 0) {
    unit.failValid(instructionError.unsupportedComponent);
    return -1;
  }
  return position;
}
/** The encoding asks for the high half of a 64-bit field. */
export function isHighAccess(unit: VmxUnit, register: number): boolean {
  return (unit.lp.state.gpr32(register) & 1) !== 0;
}
