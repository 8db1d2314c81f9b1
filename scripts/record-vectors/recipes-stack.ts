import { MEMORY_BYTES } from "../../test/vectors/input-state.ts";
import type { CaseBuilder } from "./case-builder.ts";
import { LAYOUT } from "./layouts.ts";
import { branchTarget } from "./operands.ts";
import type { Recipe } from "./recipe.ts";
import { RBP, RCX, RSP, registerCount } from "./registers.ts";

const PAGE_FAULT = 14;
const CASES = 40;

/** Status flags and DF random, IF and the always-one bit set, all else clear: what POPF may load without side effects. */
function randomFlagsImage(builder: CaseBuilder): bigint {
  return (builder.choose.value(12) & 0xcd5n) | 0x202n;
}

/** Bytes an instruction moves on the stack (an immediate-dependent part excepted). */
function stackBytes(builder: CaseBuilder): number {
  return Math.abs(builder.instruction.stackPointerIncrement);
}

/** Puts RSP where `bytes` can be pushed; at the start of a lone page, sometimes where they cannot. */
function pointStackForPush(builder: CaseBuilder, bytes: number): void {
  const faults =
    builder.layoutIndex === LAYOUT.pageStart &&
    !builder.form.variant.memory &&
    builder.choose.onceIn(2);
  if (faults) builder.expectFault(PAGE_FAULT);
  const offset = faults
    ? builder.choose.below(Math.min(bytes, 8))
    : builder.offsetFor(bytes) + bytes;
  builder.setPointer(RSP, offset, builder.stackBits);
}

/** Puts RSP on `bytes` that can be popped; at the end of a lone page, sometimes on some that cannot. */
function pointStackForPop(builder: CaseBuilder, bytes: number): number {
  const faults =
    builder.layoutIndex === LAYOUT.pageEnd &&
    !builder.form.variant.memory &&
    builder.choose.onceIn(2);
  if (faults) builder.expectFault(PAGE_FAULT);
  const offset = faults
    ? MEMORY_BYTES - builder.choose.below(Math.min(bytes, 8))
    : builder.offsetFor(bytes);
  builder.setPointer(RSP, offset, builder.stackBits);
  return offset;
}

export const push: Recipe = {
  cases: CASES,
  noPageFaults: true,
  reserved: [RSP],
  stackRelative: "before",
  begin: (builder) => pointStackForPush(builder, stackBytes(builder)),
};

export const pop: Recipe = {
  cases: CASES,
  noPageFaults: true,
  reserved: [RSP],
  stackRelative: "after",
  begin: (builder) => void pointStackForPop(builder, stackBytes(builder)),
};

export const popFlags: Recipe = {
  cases: CASES,
  begin(builder) {
    const bytes = stackBytes(builder);
    const offset = pointStackForPop(builder, bytes);
    builder.setMemory(offset, randomFlagsImage(builder), bytes);
  },
};

/** ENTER with nesting levels 0 to 5 (also given modulo 32), frame pointers and final stack pointer inside the area. */
export const enter: Recipe = {
  cases: 60,
  immediate(builder, operand) {
    const level = builder.choose.oneOf([0, 0, 1, 2, 3, 5]);
    if (operand === 1) return BigInt(level + (builder.choose.onceIn(4) ? 32 : 0));
    return BigInt(builder.choose.below(64));
  },
  adjust(builder) {
    const slot = 8;
    const level = builder.instruction.immediate8_2nd % 32;
    const lowest = 64 + (level + 1) * slot;
    builder.setPointer(RSP, builder.choose.between(lowest, MEMORY_BYTES), builder.stackBits);
    builder.setPointer(RBP, builder.choose.between(level * slot, MEMORY_BYTES), builder.stackBits);
  },
};

export const leave: Recipe = {
  cases: CASES,
  begin(builder) {
    builder.setPointer(RBP, builder.offsetFor(8), builder.stackBits);
  },
};

/** Conditional and unconditional relative branches, JrCXZ and LOOPcc with counts at and around zero. */
export const relativeBranch: Recipe = { cases: CASES };

function counterBits(codeName: string): 16 | 32 | 64 {
  if (/_CX$|^Jcxz/.test(codeName)) return 16;
  return /_ECX$|^Jecxz/.test(codeName) ? 32 : 64;
}

export const countedBranch: Recipe = {
  cases: 48,
  begin(builder) {
    const kind = builder.choose.below(4);
    if (kind === 3) return;
    builder.setLow(RCX, counterBits(builder.form.codeName), BigInt(kind));
  },
};

function slotBytes(builder: CaseBuilder): number {
  return builder.form.mode / 8;
}

/** An indirect branch goes to an address on the code pages, held in its register or memory operand. */
function setIndirectTarget(builder: CaseBuilder): void {
  const operand = builder.form.operands[0] ?? "";
  if (!operand.endsWith("_or_mem")) return;
  const target = branchTarget(builder, 4096);
  const place = builder.place(0);
  if (place === undefined) {
    builder.setOperandValue(0, BigInt(target));
  } else {
    builder.setPointer(place.number, target - builder.layout.memoryAddress, builder.stackBits);
  }
}

function anyButStackPointer(builder: CaseBuilder): number {
  const choice = builder.choose.below(registerCount(builder.form.mode) - 1);
  return choice >= RSP ? choice + 1 : choice;
}

export const jump: Recipe = {
  cases: CASES,
  noPageFaults: true,
  adjust: setIndirectTarget,
};

export const call: Recipe = {
  cases: CASES,
  noPageFaults: true,
  reserved: [RSP],
  begin: (builder) => pointStackForPush(builder, slotBytes(builder)),
  register: anyButStackPointer,
  adjust: setIndirectTarget,
};

export const ret: Recipe = {
  cases: CASES,
  begin(builder) {
    const bytes = slotBytes(builder);
    const offset = pointStackForPop(builder, bytes);
    builder.setMemory(offset, BigInt(branchTarget(builder, 4096)), bytes);
  },
};
