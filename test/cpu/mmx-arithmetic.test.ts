import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { cr0Bit, cr4Bit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { readMmx, resetFpu, writeMmx } from "../../src/cpu/x87/register-stack.ts";
import { lpOffset } from "../../src/execution/lp-window.ts";
import { mm0, mm1 } from "../../src/isa/assembler-operands.ts";
import { BareProcessor, place } from "./bare-processor.ts";

/** Recorded natively; see `recorded/mmx-vectors.c`. */
const vectors = readFileSync(new URL("recorded/mmx-vectors.txt", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => line.split(" "));

const hex = (value: bigint, digits = 16): string => value.toString(16).padStart(digits, "0");

function processor(): BareProcessor {
  const lp = new BareProcessor();
  lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.OSFXSR);
  lp.core.codeContextChanged();
  resetFpu(lp.state);
  return lp;
}

describe("MMX arithmetic against the recorded CPU", () => {
  const lp = processor();
  const { state } = lp;
  const codes = [...new Set(vectors.map(([code = ""]) => code))];

  it.each(codes)("%s", (code) => {
    for (const [, a = "", b = "", rax, result, memory] of vectors.filter(([c]) => c === code)) {
      writeMmx(state, 0, BigInt(`0x${a}`));
      writeMmx(state, 1, BigInt(`0x${b}`));
      state.setGpr(0, 0x1122_3344_5566_7788n);
      state.setGpr(7, BigInt(place.data));
      state.u64.fill(BigInt(`0x${b}`), place.data / 8, place.data / 8 + 2);
      expect(lp.executeBytes(Buffer.from(code, "hex"))).toBeUndefined();
      const [low = 0n, high = 0n] = state.u64.subarray(place.data / 8, place.data / 8 + 2);
      expect([hex(state.gpr(0)), hex(readMmx(state, 0)), hex(high) + hex(low)]).toEqual([
        rax,
        result,
        memory,
      ]);
    }
  });
});

describe("an instruction on MMX registers", () => {
  it("leaves the stack's top at 0 and no register empty", () => {
    const lp = processor();
    lp.state.write16(lpOffset.fsw, 3 << 11);
    expect(lp.execute64((asm) => asm.paddb(mm0, mm1))).toBeUndefined();
    expect(lp.state.read16(lpOffset.fsw) & 0x3800).toBe(0);
    // Zero, with the sign and exponent of a written register, or as it was.
    expect(lp.state.read16(lpOffset.ftw)).toBe(0x5556);
  });

  it.each([
    ["CR0.EM", cr0Bit.EM, Vector.UD],
    ["CR0.TS", cr0Bit.TS, Vector.NM],
  ])("faults with %s", (_name, bit, vector) => {
    const lp = processor();
    lp.state.setLow("cr0", (lp.state.low("cr0") | bit) >>> 0);
    lp.core.codeContextChanged();
    expect(lp.execute64((asm) => asm.paddb(mm0, mm1))).toMatchObject({ vector });
  });

  it("waits for pending x87 exceptions", () => {
    const lp = processor();
    lp.state.write16(lpOffset.fcw, 0x37e);
    lp.state.write16(lpOffset.fsw, 0x8081);
    expect(lp.execute64((asm) => asm.paddb(mm0, mm1))).toMatchObject({ vector: Vector.MF });
  });
});
