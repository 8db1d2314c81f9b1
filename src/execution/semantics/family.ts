import type { AccessSize } from "../../wasm/expression.ts";
import type { Semantics } from "./arithmetic.ts";

/** Role of an operand in the record. */
export type Role = "destination" | "source" | "third" | "immediate" | "skip";

/**
 * A family of forms: one instruction, all its operand sizes and places.
 *
 * A pattern has a letter for the destination and one for the source: `r` general register, `x` XMM register, `m` memory,
 * `i` immediate, `-` none.
 */
export interface Family {
  /** Name in iced's `Mnemonic`. */
  readonly mnemonic: string;
  /** Other names that mean the same. */
  readonly aliases?: readonly string[];
  readonly sizes: readonly AccessSize[];
  readonly patterns: readonly string[];
  readonly semantics: Semantics;
  /** Roles of the operands in assembly order; default destination, source, immediate. */
  readonly roles?: readonly Role[];
  /** Where the operand size comes from: an operand (default 0), the stack movement, or the Code's name suffix. */
  readonly sizeFrom?: 0 | 1 | 2 | "stack" | "suffix";
  /** Only for sources of this size (MOVZX and kin). */
  readonly sourceSize?: AccessSize;
  /** Memory destinations exist with LOCK (or, XCHG, are always locked). */
  readonly lock?: "allowed" | "always";
  /** Uses the stack: forms differ between 64-bit mode and the others. */
  readonly stack?: true;
  /** Ends a block. */
  readonly transfer?: true;
  /** Sizes and patterns executed in the interpreter's own arms. */
  readonly hot?: { readonly sizes: readonly AccessSize[]; readonly patterns: readonly string[] };
  /** An SSE instruction; its registers are XMM registers. */
  readonly simd?: true;
  /** Number of explicit operands, to tell IMUL's three kinds apart. */
  readonly operands?: number;
}

/** Operand sizes in bytes. */
export const all: readonly AccessSize[] = [1, 2, 4, 8];
export const words: readonly AccessSize[] = [2, 4, 8];
export const hotSizes: readonly AccessSize[] = [4, 8];
export const binary = ["rr", "ri", "rm", "mr", "mi"];

/** An instruction without explicit operands. */
export const plain = (mnemonic: string, semantics: Semantics): Family => ({
  mnemonic,
  sizes: [1],
  patterns: ["--"],
  semantics,
});
