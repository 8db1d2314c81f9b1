import { MEMORY_BYTES } from "../../test/vectors/input-state.ts";
import type { CaseBuilder } from "./case-builder.ts";
import { LAYOUT } from "./layouts.ts";
import type { Recipe } from "./recipe.ts";
import { RAX, RCX, RDI, RSI } from "./registers.ts";

const PAGE_FAULT = 14;
const DIRECTION_FLAG = 0x400n;

/** Bytes per element, from the last letter of the mnemonic. */
function elementSize(builder: CaseBuilder): number {
  const letter = builder.form.mnemonic.at(-1) ?? "";
  return { b: 1, w: 2, d: 4, q: 8 }[letter] ?? 1;
}

function chooseCount(builder: CaseBuilder, size: number): number {
  if (builder.form.variant.repeat === "none") return 1;
  const { choose } = builder;
  return choose.onceIn(8) ? choose.below(MEMORY_BYTES / size) : choose.below(12);
}

/** First element's offset, so that `count` elements in the direction of DF stay inside the area. */
function firstOffset(builder: CaseBuilder, size: number, count: number): number {
  const span = Math.max(count, 1) * size;
  const lowest = builder.choose.below(MEMORY_BYTES - span + 1);
  return builder.state.rflags & DIRECTION_FLAG ? lowest + span - size : lowest;
}

/** When a repetition does nothing, processors differ in whether 32-bit addressing clears the upper halves nevertheless. */
function clearUpperHalves(builder: CaseBuilder): void {
  if (builder.form.mode !== 64 || builder.addressBits !== 32) return;
  for (const register of [RCX, RSI, RDI]) {
    builder.setLow(register, 64, builder.low(register, 32));
  }
}

/** The forward walk that runs into the absent page behind the area. */
function runsOffTheEnd(builder: CaseBuilder, pointers: readonly number[]): boolean {
  const forward = (builder.state.rflags & DIRECTION_FLAG) === 0n;
  const stops = builder.form.variant.repeat === "repe" || builder.form.variant.repeat === "repne";
  if (builder.layoutIndex !== LAYOUT.pageEnd || !forward || stops || !builder.choose.onceIn(2))
    return false;
  const size = elementSize(builder);
  if (builder.form.variant.repeat !== "none") clearUpperHalves(builder);
  const done = builder.form.variant.repeat === "none" ? 0 : builder.choose.below(6);
  const tail = builder.choose.below(size);
  pointers.forEach((register, i) => {
    const elements = i === 0 ? done : done + builder.choose.below(4);
    builder.setPointer(register, MEMORY_BYTES - elements * size - tail, builder.addressBits);
  });
  if (builder.form.variant.repeat !== "none") {
    builder.setLow(RCX, builder.addressBits, BigInt(done + 1 + builder.choose.below(4)));
  }
  builder.expectFault(PAGE_FAULT);
  return true;
}

function usesSource(builder: CaseBuilder): boolean {
  return /^(Movs|Lods|Cmps)/.test(builder.form.mnemonic);
}

function usesDestination(builder: CaseBuilder): boolean {
  return /^(Movs|Stos|Scas|Cmps)/.test(builder.form.mnemonic);
}

function pointersOf(builder: CaseBuilder): number[] {
  return [...(usesDestination(builder) ? [RDI] : []), ...(usesSource(builder) ? [RSI] : [])];
}

/** Makes SCAS find, or keep finding, the byte value that fills most of the area. */
function setScannedValue(builder: CaseBuilder, size: number): void {
  if (!builder.form.mnemonic.startsWith("Scas") || builder.choose.onceIn(4)) return;
  const byte = BigInt(builder.state.memory[builder.choose.below(MEMORY_BYTES)] ?? 0);
  builder.setLow(RAX, size * 8, byte * (0x0101010101010101n & ((1n << BigInt(size * 8)) - 1n)));
}

/** String instructions in both directions, with and without repetition, counts from zero to the whole area. */
function stringRecipe(runs: boolean): Recipe {
  return {
    cases: 48,
    runs,
    begin(builder) {
      const size = elementSize(builder);
      const pointers = pointersOf(builder);
      setScannedValue(builder, size);
      if (runsOffTheEnd(builder, pointers)) return;
      const count = chooseCount(builder, size);
      if (builder.form.variant.repeat !== "none") {
        if (count === 0) clearUpperHalves(builder);
        builder.setLow(RCX, builder.addressBits, BigInt(count));
      }
      for (const register of pointers) {
        builder.setPointer(register, firstOffset(builder, size, count), builder.addressBits);
      }
    },
  };
}

export const stringMove = stringRecipe(false);
export const stringCompare = stringRecipe(true);
