import { Register } from "iced-x86";
import type { Mode } from "../../test/vectors/input-state.ts";

/** Encoding numbers of registers that instructions use implicitly. */
export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

const LEGACY_BYTE = [
  Register.AL,
  Register.CL,
  Register.DL,
  Register.BL,
  Register.AH,
  Register.CH,
  Register.DH,
  Register.BH,
] as const;

const BYTE = [
  Register.AL,
  Register.CL,
  Register.DL,
  Register.BL,
  Register.SPL,
  Register.BPL,
  Register.SIL,
  Register.DIL,
  Register.R8L,
  Register.R9L,
  Register.R10L,
  Register.R11L,
  Register.R12L,
  Register.R13L,
  Register.R14L,
  Register.R15L,
] as const;

/** Where an operand register's bits lie in the register file. */
export interface RegisterPlace {
  readonly number: number;
  readonly bits: number;
  /** Bit position of the operand: 8 for AH, CH, DH, BH. */
  readonly shift: number;
}

/** The library's register for an encoding number and operand size. */
export function generalRegister(number: number, bits: number): Register {
  if (bits === 8) return BYTE[number] ?? Register.None;
  if (bits === 16) return Register.AX + number;
  if (bits === 32) return Register.EAX + number;
  return Register.RAX + number;
}

export function highByteRegister(number: number): Register {
  return LEGACY_BYTE[number + 4] ?? Register.None;
}

export function registerCount(mode: Mode): number {
  return mode === 64 ? 16 : 8;
}

/** The place of a general register; `undefined` for any other register. */
export function registerPlace(register: Register): RegisterPlace | undefined {
  const high = LEGACY_BYTE.indexOf(register as (typeof LEGACY_BYTE)[number]);
  if (high >= 4) return { number: high - 4, bits: 8, shift: 8 };
  const low = BYTE.indexOf(register as (typeof BYTE)[number]);
  if (low >= 0) return { number: low, bits: 8, shift: 0 };
  for (const [bits, first] of [
    [16, Register.AX],
    [32, Register.EAX],
    [64, Register.RAX],
  ] as const) {
    if (register >= first && register < first + 16) {
      return { number: register - first, bits, shift: 0 };
    }
  }
  return undefined;
}
