import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { cr4Bit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { readMmx, resetFpu, writeMmx } from "../../src/cpu/x87/register-stack.ts";
import { lpOffset } from "../../src/execution/lp-window.ts";
import { rax, xmm0, xmm1, xmm2 } from "../../src/isa/assembler-operands.ts";
import { BareProcessor, place } from "./bare-processor.ts";
import { place as machinePlace, TestMachine } from "./test-machine.ts";

/** Recorded natively; see `recorded/sse-float.c`. */
const vectors = readFileSync(new URL("recorded/sse-float.txt", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => {
    const [
      code = "",
      mxcsr = "",
      a = "",
      b = "",
      fault = "",
      result = "",
      rax = "",
      flags = "",
      after = "",
    ] = line.split(" ");
    return { line, code, mxcsr, a, b, fault: Number(fault), result, rax, flags, after };
  });

const hex = (value: bigint | number, digits: number): string =>
  value.toString(16).padStart(digits, "0");
/** Conversions to MMX registers: 0F 2C, 0F 2D without a prefix, or with 66. */
const toMmx = /^(66)?0f2[cd]/;

function processor(): BareProcessor {
  const lp = new BareProcessor();
  lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.OSFXSR | cr4Bit.OSXMMEXCPT);
  lp.core.codeContextChanged();
  return lp;
}

describe("SSE and SSE2 floating-point instructions against the recorded CPU", () => {
  const lp = processor();
  const { state } = lp;
  const write = (register: number, value: string): void => {
    state.write64(lpOffset.xmm + register * 16, BigInt(`0x${value.slice(16)}`));
    state.write64(lpOffset.xmm + register * 16 + 8, BigInt(`0x${value.slice(0, 16)}`));
  };
  const read = (register: number): string =>
    hex(state.read64(lpOffset.xmm + register * 16 + 8), 16) +
    hex(state.read64(lpOffset.xmm + register * 16), 16);

  function run({ code, mxcsr, a, b }: (typeof vectors)[number], sticky: number) {
    resetFpu(state);
    write(0, a);
    write(1, b);
    const low = BigInt(`0x${b.slice(16)}`);
    writeMmx(state, 0, low);
    writeMmx(state, 1, low);
    state.setGpr(0, low);
    state.setGpr(7, BigInt(place.data));
    state.u64.set([low, BigInt(`0x${b.slice(0, 16)}`)], place.data / 8);
    state.write32(lpOffset.mxcsr, Number.parseInt(mxcsr, 16) | sticky);
    lp.writeFlags(0);
    const fault = lp.executeBytes(Buffer.from(code, "hex"));
    const isMmx = toMmx.test(code) && fault === undefined;
    return {
      fault: fault?.vector ?? 0,
      result: isMmx ? hex(readMmx(state, 0), 32) : read(0),
      rax: hex(state.gpr(0), 16),
      flags: hex(fault === undefined ? lp.readFlags() & 0x8d5 : 0, 3),
      after: hex(state.read32(lpOffset.mxcsr), 4),
    };
  }

  it.each([...new Set(vectors.map(({ code }) => code))])("%s", (code) => {
    for (const vector of vectors.filter((each) => each.code === code)) {
      const { line, fault, rax, flags, after } = vector;
      const result = toMmx.test(code) && fault !== 0 ? vector.a : vector.result;
      // With inexact results recorded already the core does by itself what it can.
      for (const sticky of [0, 0x20]) {
        const expected = {
          fault,
          result,
          rax,
          flags,
          after: hex(Number.parseInt(after, 16) | sticky, 4),
        };
        const isChanged = sticky !== 0 && fault !== 0;
        const actual = run(vector, isChanged ? 0 : sticky);
        expect({ line, ...actual }).toEqual({
          line,
          ...(isChanged ? { ...expected, after } : expected),
        });
      }
    }
  });
});

describe("a floating-point exception that is not masked", () => {
  it.each([
    ["#XM with CR4.OSXMMEXCPT", cr4Bit.OSXMMEXCPT, Vector.XM],
    ["#UD without", 0, Vector.UD],
  ])("raises %s", (_name, bit, vector) => {
    const lp = processor();
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.OSFXSR | bit);
    lp.core.codeContextChanged();
    lp.state.write32(lpOffset.mxcsr, 0x1d80);
    lp.state.write64(lpOffset.xmm, 0x3ff0_0000_0000_0000n);
    lp.state.write64(lpOffset.xmm + 16, 0n);
    expect(lp.execute64((asm) => asm.divsd(xmm0, xmm1))).toMatchObject({ vector });
    expect(lp.state.read32(lpOffset.mxcsr)).toBe(0x1d84);
    expect(lp.state.read64(lpOffset.xmm)).toBe(0x3ff0_0000_0000_0000n);
  });
});

describe("an instruction in the middle of a block that the core hands over", () => {
  it("is executed once, and counted once", () => {
    const m = new TestMachine().long64();
    m.state.write32(lpOffset.mxcsr, 0x1f80);
    // 1 / 3, then 1 / 0: inexact, then a division by zero.
    m.state.write64(lpOffset.xmm, 0x3ff0_0000_0000_0000n);
    m.state.write64(lpOffset.xmm + 16, 0x4008_0000_0000_0000n);
    m.state.write64(lpOffset.xmm + 32, 0n);
    const before = m.lp.core.retired;
    m.run(64, (asm) => {
      asm.inc(rax);
      asm.divsd(xmm0, xmm1);
      asm.inc(rax);
      asm.divsd(xmm0, xmm1);
      asm.divsd(xmm0, xmm2);
      asm.inc(rax);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.lp.core.retired - before).toBe(7);
    expect(m.state.gpr(0)).toBe(3n);
    expect(m.state.read64(lpOffset.xmm)).toBe(0x7ff0_0000_0000_0000n);
    expect(m.state.read32(lpOffset.mxcsr)).toBe(0x1fa4);
  });

  it("that faults is found at its own address, with the count of those before it", () => {
    const m = new TestMachine().long64();
    m.state.setLow("cr4", m.state.low("cr4") | cr4Bit.OSXMMEXCPT);
    m.lp.loadControlState();
    m.state.write32(lpOffset.mxcsr, 0x1d80);
    m.state.write64(lpOffset.xmm, 0x3ff0_0000_0000_0000n);
    m.state.write64(lpOffset.xmm + 16, 0n);
    const before = m.lp.core.retired;
    m.run(64, (asm) => {
      asm.inc(rax);
      asm.divsd(xmm0, xmm1);
      asm.inc(rax);
      asm.hlt();
    });
    expect(m.trap()).toMatchObject({ vector: Vector.XM, rip: BigInt(machinePlace.code + 3) });
    expect(m.state.gpr(0)).toBe(1n);
    // INC, and the HLT of the handler.
    expect(m.lp.core.retired - before).toBe(2);
  });
});
