/**
 * A decoded instruction as it lies in the LP window: what generated code executes and what system-instruction handlers read.
 * Register operands are absolute addresses in the shared memory, so that a register access is one load.
 */
export const recordBytes = 64;

export const recordOffset = {
  /** u16: arm of the interpreter's br_table. */
  op: 0,
  /** u8: instruction length in bytes. */
  length: 2,
  /** u8: bit 0 LOCK, bit 1 REP/REPE, bit 2 REPNE, bit 3 has a memory operand. */
  prefixes: 3,
  /** u32 ×4: addresses of destination, source, base and index register. */
  destination: 4,
  source: 8,
  base: 12,
  index: 16,
  /** u8: 0..3 */
  scale: 20,
  /** u8: segment register number of the memory operand. */
  segment: 21,
  /** u8: address size in bytes (2, 4, 8). */
  addressSize: 22,
  /** u8: operand size in bytes. */
  operandSize: 23,
  /** i64: immediate, or the target of a direct branch. */
  immediate: 24,
  /** i32, sign-extended. */
  displacement: 32,
  /** u16: instructions from here to the end of the block, this one included. */
  left: 36,
  /** u16: index of the cold function; of an instruction that the processor does not know, its iced Mnemonic. */
  form: 38,
  /** i64: RIP of the next instruction. */
  next: 40,
  /** u32 ×2: linked blocks, 0 = not linked. */
  linkTaken: 48,
  linkNext: 52,
  /** u32: address of a third register operand. */
  third: 56,
  /** u16 iced Code, u16 iced Mnemonic. */
  code: 60,
  mnemonic: 62,
} as const;

export const prefixBit = { lock: 1, rep: 2, repne: 4, memory: 8 } as const;
