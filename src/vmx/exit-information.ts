/** The instruction-information field and exit qualifications that come from an instruction's operands. */
import type { InstructionView } from "../cpu/instruction-view.ts";

/** The record numbers of LGDT and its kin, LLDT and its kin, in bits 29:28. */
export const tableIdentity = {
  SGDT: 0,
  SIDT: 1,
  LGDT: 2,
  LIDT: 3,
  SLDT: 0,
  STR: 1,
  LLDT: 2,
  LTR: 3,
} as const;

const registerForm = 1 << 10;
const noIndex = 1 << 22;
const noBase = 1 << 27;

/** Address size in bits 9:7: 0 = 16, 1 = 32, 2 = 64 bits. */
function addressSize(insn: InstructionView): number {
  return (insn.addressSize >>> 2) << 7;
}

/** Scale, address size, segment, index and base of a memory operand. */
export function memoryInformation(insn: InstructionView): number {
  const { index, base } = insn;
  return (
    (index < 0 ? noIndex : insn.scale | (index << 18)) |
    addressSize(insn) |
    (insn.segment << 15) |
    (base < 0 ? noBase : base << 23)
  );
}

/** A memory operand, and a register in bits 31:28: INVEPT, INVPCID, INVVPID. */
export function memoryAndRegisterInformation(insn: InstructionView, register: number): number {
  return (memoryInformation(insn) | (register << 28)) >>> 0;
}

/** A register or memory operand, without more: LLDT and its kin, VMREAD, VMWRITE. */
export function operandInformation(insn: InstructionView, register: number): number {
  return insn.isMemory ? memoryInformation(insn) : registerForm | (register << 3);
}

/** INS and OUTS: address size, and the segment of OUTS. */
export function stringIoInformation(insn: InstructionView, isIn: boolean): number {
  return addressSize(insn) | (isIn ? 0 : insn.segment << 15);
}

/** RDRAND, RDSEED: register and operand size. */
export function registerInformation(insn: InstructionView, register: number): number {
  return (register << 3) | ((insn.operandSize >>> 2) << 11);
}
