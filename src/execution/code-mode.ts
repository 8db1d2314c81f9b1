/**
 * The decode mode: what besides the bytes themselves decides how code is decoded. A block is found only under the mode it
 * was decoded in.
 */
export const codeMode = {
  /** Bits 1:0 — default size of code: 0 = 16, 1 = 32, 2 = 64 bits. */
  bits16: 0,
  bits32: 1,
  bits64: 2,
  sizeMask: 3,
  /** Stack pointer is ESP (SS.B = 1); meaningless in 64-bit mode. */
  stack32: 1 << 2,
  /** Blocks of one instruction: exact stops, single-step, interrupt shadows. */
  single: 1 << 3,
  /** CS.limit is not the flat maximum of its size: the fetch limit is checked at every block. */
  limited: 1 << 4,
  /** CR0.EM, CR0.TS or CR4.OSFXSR forbid SSE instructions. */
  simdBlocked: 1 << 5,
} as const;
