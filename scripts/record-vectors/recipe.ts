import type { MemoryFill } from "../../test/vectors/input-state.ts";
import type { CaseBuilder } from "./case-builder.ts";

/**
 * What is special about the cases of a family of instructions. Every hook is optional; without any, operands are random
 * registers and immediates, and a memory operand lies somewhere in the memory area.
 *
 * Hooks run in the order of this declaration; registers, immediates and branch targets are chosen after `begin`,
 * the memory operand's address registers after `memoryTarget`.
 */
export interface Recipe {
  /** Cases per form. */
  readonly cases: number;
  /** Registers that the recipe sets itself: no memory operand is addressed through them. */
  readonly reserved?: readonly number[];
  /** Keeps explicit register operands out of addresses as well. */
  readonly operandsReserved?: boolean;
  /** The recipe never lets the memory operand touch an absent page. */
  readonly noPageFaults?: boolean;
  /** The memory operand's address need not be valid (LEA). */
  readonly freeAddress?: boolean;
  /** Memory operands are at times addressed through RSP, taken before the instruction or after it has popped. */
  readonly stackRelative?: "before" | "after";
  /** Alignment in bytes that the memory operand must have to avoid #GP. */
  readonly alignment?: number;
  /** The memory area starts as runs of equal bytes. */
  readonly runs?: boolean;
  /** Memory area and XMM registers start as floating-point numbers. */
  readonly floats?: boolean;
  /** Before operands are chosen: registers that the instruction uses without naming them. */
  readonly begin?: (builder: CaseBuilder) => void;
  /** An immediate operand, unsigned; `undefined` leaves it to chance. */
  readonly immediate?: (builder: CaseBuilder, operand: number, bits: number) => bigint | undefined;
  /** A register operand; `undefined` leaves it to chance. */
  readonly register?: (builder: CaseBuilder, operand: number) => number | undefined;
  /** Offset of the addressed byte from the memory area; `undefined` leaves it to chance. */
  readonly memoryTarget?: (builder: CaseBuilder, size: number) => number | undefined;
  /** After all operands are known: input values that depend on them, expected faults. */
  readonly adjust?: (builder: CaseBuilder) => void;
}

export function fillOf({ runs, floats }: Recipe): MemoryFill {
  if (floats) return "floats";
  return runs ? "runs" : "words";
}
