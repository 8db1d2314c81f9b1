import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { signed, unsigned } from "../../src/wasm/leb128.ts";

/** The decoding rule of the binary format: seven bits a byte, low bits first, the last byte's bit 6 being the sign. */
function decode(bytes: readonly number[], isSigned: boolean): bigint {
  let value = 0n;
  bytes.forEach((byte, n) => {
    expect(byte >= 0x80).toBe(n < bytes.length - 1);
    value |= BigInt(byte & 0x7f) << BigInt(7 * n);
  });
  return isSigned ? BigInt.asIntN(7 * bytes.length, value) : value;
}

describe("unsigned LEB128", () => {
  it.each([
    [0, [0x00]],
    [1, [0x01]],
    [127, [0x7f]],
    [128, [0x80, 0x01]],
    [624_485, [0xe5, 0x8e, 0x26]],
    [0xffff_ffff, [0xff, 0xff, 0xff, 0xff, 0x0f]],
  ])("of %i", (value, expected) => {
    expect(unsigned(value)).toEqual(expected);
  });

  it("decodes to what was encoded, around the end of the table of small numbers too", () => {
    const values = fc.oneof(fc.nat(0xffff_ffff), fc.integer({ min: 1000, max: 1050 }));
    fc.assert(
      fc.property(values, (value) => {
        expect(decode(unsigned(value), false)).toBe(BigInt(value));
      }),
    );
  });
});

describe("signed LEB128", () => {
  it.each([
    [0, [0x00]],
    [-1, [0x7f]],
    [63, [0x3f]],
    [64, [0xc0, 0x00]],
    [-64, [0x40]],
    [-65, [0xbf, 0x7f]],
    [-123_456, [0xc0, 0xbb, 0x78]],
    [0x8000_0000, [0x80, 0x80, 0x80, 0x80, 0x08]],
    [-(1n << 63n), [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f]],
  ])("of %s", (value, expected) => {
    expect(signed(value)).toEqual(expected);
  });

  it("is the same for a number and a bigint, and decodes to what was encoded", () => {
    const values = fc.oneof(fc.bigInt(-(1n << 63n), (1n << 63n) - 1n), fc.bigInt(-300n, 300n));
    fc.assert(
      fc.property(values, (value) => {
        expect(decode(signed(value), true)).toBe(value);
        if (BigInt(Number(value)) === value) {
          expect(signed(Number(value))).toEqual(signed(value));
        }
      }),
    );
  });

  it("takes an unsigned 64-bit value as its two's complement", () => {
    expect(signed(0xffff_ffff_ffff_fffen)).toEqual(signed(-2n));
  });
});
