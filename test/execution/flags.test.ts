import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  readStatusFlags,
  statusFlag,
  statusFlagsMask,
  writeStatusFlags,
} from "../../src/execution/flags.ts";
import { CoreHarness, compileInterpreter } from "./core-harness.ts";
import { load } from "./program.ts";

const { CF, PF, AF, ZF, SF, OF } = statusFlag;
const allFlags = [CF, PF, AF, ZF, SF, OF];
/** Every combination of the six flags. */
const combinations = Array.from({ length: 64 }, (_, n) =>
  allFlags.reduce((flags, flag, bit) => ((n >> bit) & 1 ? flags | flag : flags), 0),
);
const module = compileInterpreter();

describe("lazy status flags in memory", () => {
  it("hold every combination", () => {
    const u32 = new Uint32Array(64);
    for (const flags of combinations) {
      writeStatusFlags(u32, 0, flags);
      expect(readStatusFlags(u32, 0)).toBe(flags);
    }
  });

  it("take nothing but the status flags from an image of RFLAGS", () => {
    const u32 = new Uint32Array(64);
    writeStatusFlags(u32, 0, 0xffff_ffff);
    expect(readStatusFlags(u32, 0)).toBe(statusFlagsMask);
  });
});

describe("generated code", () => {
  /** The manual's table of condition codes, by the low nibble of the opcode. */
  const conditions: ((flags: number) => boolean)[] = [
    (f) => (f & OF) !== 0,
    (f) => (f & CF) !== 0,
    (f) => (f & ZF) !== 0,
    (f) => (f & (CF | ZF)) !== 0,
    (f) => (f & SF) !== 0,
    (f) => (f & PF) !== 0,
    (f) => ((f & SF) !== 0) !== ((f & OF) !== 0),
    (f) => (f & ZF) !== 0 || ((f & SF) !== 0) !== ((f & OF) !== 0),
  ];

  it("tests every condition on every combination of flags", () => {
    const harness = new CoreHarness({ module });
    for (let code = 0; code < 16; code++) {
      // SETcc AL
      load(harness, `0f 9${code.toString(16)} c0`);
      const start = harness.rip;
      for (const flags of combinations) {
        harness.rip = start;
        harness.rflags = 2 | flags;
        expect(harness.run(1)).toBeUndefined();
        const holds = conditions[code >> 1]?.(flags) !== ((code & 1) === 1);
        expect([code, flags, harness.gpr(0) & 0xffn]).toEqual([code, flags, holds ? 1n : 0n]);
        expect(harness.rflags & statusFlagsMask).toBe(flags);
      }
    }
  });

  it("stores and loads every combination by LAHF and SAHF, but for OF", () => {
    const harness = new CoreHarness({ module });
    load(harness, "9f 9e");
    const start = harness.rip;
    for (const flags of combinations) {
      harness.rip = start;
      harness.rflags = 2 | flags;
      expect(harness.run(1)).toBeUndefined();
      expect((harness.gpr(0) >> 8n) & 0xffn).toBe(BigInt((flags & 0xff) | 2));
      harness.rflags = 2 | (~flags & statusFlagsMask);
      expect(harness.run(1)).toBeUndefined();
      expect(harness.rflags & statusFlagsMask).toBe((flags & 0xff) | (~flags & OF));
    }
  });

  /** Flags of an addition from first principles: as signed and as unsigned numbers of `bits` bits. */
  function flagsOfAddition(a: bigint, b: bigint, carryIn: bigint, bits: number): number {
    const n = BigInt(bits);
    const sum = a + b + carryIn;
    const result = BigInt.asUintN(bits, sum);
    const signedSum = BigInt.asIntN(bits, a) + BigInt.asIntN(bits, b) + carryIn;
    const ones = (result & 0xffn).toString(2).replaceAll("0", "").length;
    return (
      (sum >> n !== 0n ? CF : 0) |
      (ones % 2 === 0 ? PF : 0) |
      ((a & 15n) + (b & 15n) + carryIn > 15n ? AF : 0) |
      (result === 0n ? ZF : 0) |
      (result >> (n - 1n) === 1n ? SF : 0) |
      (signedSum !== BigInt.asIntN(bits, result) ? OF : 0)
    );
  }

  const additions = [
    [8, "00 c8", "10 c8"],
    [16, "66 01 c8", "66 11 c8"],
    [32, "01 c8", "11 c8"],
    [64, "48 01 c8", "48 11 c8"],
  ] as const;
  it.each(additions)("sets the flags of %i-bit ADD and ADC", (bits, add, adc) => {
    const harness = new CoreHarness({ module });
    const value = fc.oneof(
      fc.bigInt(0n, (1n << 64n) - 1n),
      fc.constantFrom(0n, 1n, (1n << BigInt(bits - 1)) - 1n, 1n << BigInt(bits - 1), -1n),
    );
    const check = (code: string, withCarry: boolean): void => {
      load(harness, code);
      const start = harness.rip;
      fc.assert(
        fc.property(value, value, fc.nat(1), (a, b, carry) => {
          harness.rip = start;
          harness.setGpr(0, a);
          harness.setGpr(1, b);
          harness.rflags = 2 | carry;
          expect(harness.run(1)).toBeUndefined();
          const operands = [BigInt.asUintN(bits, a), BigInt.asUintN(bits, b)] as const;
          const expected = flagsOfAddition(...operands, withCarry ? BigInt(carry) : 0n, bits);
          expect(harness.rflags & statusFlagsMask).toBe(expected);
        }),
      );
    };
    check(add, false);
    check(adc, true);
  });
});
