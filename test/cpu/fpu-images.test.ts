import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { cr4Bit } from "../../src/cpu/register-bits.ts";
import { resetFpu } from "../../src/cpu/x87/register-stack.ts";
import { createAssembler } from "../../src/isa/assembler.ts";
import { mem, rdi } from "../../src/isa/assembler-operands.ts";
import { BareProcessor, place } from "./bare-processor.ts";

/** Recorded natively; see `recorded/fpu-images.c`. */
const [first = "", ...lines] = readFileSync(
  new URL("recorded/fpu-images.txt", import.meta.url),
  "utf8",
)
  .trim()
  .split("\n");

const memoryBytes = 2048;
const imageAt = place.data + 0x1000;

function apply(differences: string, to: Uint8Array): Uint8Array {
  for (const run of differences === "-" ? [] : differences.split(",")) {
    const [offset = "", bytes = ""] = run.split(":");
    to.set(Buffer.from(bytes, "hex"), Number.parseInt(offset, 16));
  }
  return to;
}
const memoryBefore = apply(first, new Uint8Array(memoryBytes).fill(0x55));

type Range = readonly [from: number, end: number];

/**
 * What is not compared: opcode, pointers and selectors (the recording CPU keeps selectors, and saves pointers only while an
 * exception is pending), and MXCSR_MASK (it has a bit that Intel's lack).
 */
const imageRanges: readonly Range[] = [
  [6, 24],
  [28, 32],
];
const areaRanges: readonly Range[] = imageRanges.map(([from, end]) => [from + 512, end + 512]);
const wideEnvironment: readonly Range[] = [[268, 284]];
const narrowEnvironment: readonly Range[] = [[262, 270]];
const environmentRanges: Readonly<Record<string, readonly Range[]>> = {
  environment: wideEnvironment,
  environment_16: narrowEnvironment,
  save: wideEnvironment,
  save_16: narrowEnvironment,
  environment_back: wideEnvironment,
  save_restore: wideEnvironment,
};

function differences(
  expected: Uint8Array,
  actual: Uint8Array,
  ignored: readonly Range[],
): string[] {
  const found: string[] = [];
  expected.forEach((byte, offset) => {
    const isIgnored = ignored.some(([from, end]) => offset >= from && offset < end);
    if (byte !== actual[offset] && !isIgnored) {
      found.push(
        `${offset.toString(16)}: ${actual[offset]?.toString(16)} for ${byte.toString(16)}`,
      );
    }
  });
  return found;
}

describe("x87, MMX, FXSAVE and XSAVE code against the recorded CPU", () => {
  let lp: BareProcessor;
  let saveImage: Uint8Array;
  beforeAll(() => {
    const asm = createAssembler({ origin: place.code, bits: 64 });
    asm.fxsave64(mem(rdi));
    saveImage = asm.assemble().bytes;
  });

  it.each(lines.map((line) => line.split(" ") as [string, string, string, string, string, string]))(
    "%s",
    (name, code, image, flags, rax, memory) => {
      lp = new BareProcessor();
      const { state } = lp;
      state.setLow("cr4", cr4Bit.PAE | cr4Bit.OSFXSR | cr4Bit.OSXSAVE);
      state.set("xcr0", 3n);
      lp.core.codeContextChanged();
      resetFpu(state);
      state.u8.set(memoryBefore, place.data);
      for (const register of [0, 1, 2]) {
        state.setGpr(register, 0n);
      }
      lp.writeFlags(0x46);
      state.setGpr(7, BigInt(place.data));
      expect(lp.executeBytes(Buffer.from(code, "hex"))).toBeUndefined();
      const status = lp.readFlags() & 0x8d5;
      const accumulator = state.gpr(0);
      const after = state.u8.slice(place.data, place.data + memoryBytes);
      state.setGpr(7, BigInt(imageAt));
      expect(lp.executeBytes(saveImage)).toBeUndefined();
      const saved = state.u8.slice(imageAt, imageAt + 512);
      const recorded = apply(image, new Uint8Array(512));
      expect(differences(recorded, saved, imageRanges)).toEqual([]);
      expect(accumulator.toString(16).padStart(16, "0")).toBe(rax);
      expect(status.toString(16).padStart(3, "0")).toBe(flags);
      const expectedMemory = apply(memory, memoryBefore.slice());
      expect(differences(expectedMemory, after, environmentRanges[name] ?? areaRanges)).toEqual([]);
    },
  );
});
