import { lpOffset } from "./lp-window.ts";

/**
 * The six status flags, kept lazily in two 64-bit words.
 *
 * `result` is the result of the last flag-setting operation, sign-extended from the operand size.
 * `carries` holds what the result does not tell:
 *
 * | bit   | meaning                                                        |
 * |-------|----------------------------------------------------------------|
 * | 63    | CF                                                             |
 * | 62    | CF xor OF (the carry into the sign bit)                        |
 * | 3     | AF                                                             |
 * | 0     | sign difference: SF = sign of result xor this bit              |
 * | 15:8  | parity difference: PF = even parity of (result's low byte xor this byte) |
 *
 * ZF is `result == 0`. The difference bits let any combination of flags be written explicitly.
 */
export const statusFlag = {
  CF: 1 << 0,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  OF: 1 << 11,
} as const;
export const statusFlagsMask = 0x8d5;

function oddParity(byte: number): number {
  const folded = byte ^ (byte >>> 4);
  return (0x6996 >>> (folded & 15)) & 1;
}

/** @param u32 view of the shared memory. @returns the status flags in their RFLAGS places */
export function readStatusFlags(u32: Uint32Array, windowBase: number): number {
  const result = (windowBase + lpOffset.flagResult) >>> 2;
  const carries = (windowBase + lpOffset.flagCarries) >>> 2;
  const low = u32[result] ?? 0;
  const high = u32[result + 1] ?? 0;
  const carriesLow = u32[carries] ?? 0;
  const carriesHigh = u32[carries + 1] ?? 0;
  const cf = carriesHigh >>> 31;
  const of = cf ^ ((carriesHigh >>> 30) & 1);
  const sf = (high >>> 31) ^ (carriesLow & 1);
  const zf = (low | high) === 0 ? 1 : 0;
  const pf = oddParity((low ^ (carriesLow >>> 8)) & 0xff) ^ 1;
  const af = (carriesLow >>> 3) & 1;
  return cf | (pf << 2) | (af << 4) | (zf << 6) | (sf << 7) | (of << 11);
}

/** Writes all six status flags from an RFLAGS image. */
export function writeStatusFlags(u32: Uint32Array, windowBase: number, flags: number): void {
  const result = (windowBase + lpOffset.flagResult) >>> 2;
  const carries = (windowBase + lpOffset.flagCarries) >>> 2;
  const cf = flags & 1;
  const pf = (flags >>> 2) & 1;
  const af = (flags >>> 4) & 1;
  const zf = (flags >>> 6) & 1;
  const sf = (flags >>> 7) & 1;
  const of = (flags >>> 11) & 1;
  u32[result] = zf ^ 1;
  u32[result + 1] = 0;
  u32[carries] = sf | (af << 3) | ((pf ^ zf) << 8);
  u32[carries + 1] = ((cf << 31) | ((cf ^ of) << 30)) >>> 0;
}
