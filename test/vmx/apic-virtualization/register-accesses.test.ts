import { describe, expect, it } from "vitest";
import {
  type AccessControls,
  isReadVirtualized,
  isWriteVirtualized,
} from "../../../src/vmx/apic-virtualization/register-accesses.ts";

/** Offsets in hexadecimal; `a-b` in steps of 10H. */
function offsets(text: string): number[] {
  return text.split(" ").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map((each) => Number.parseInt(each, 16));
    return Array.from({ length: (last - first) / 16 + 1 }, (_, n) => first + n * 16);
  });
}

const controls = (text: string): AccessControls => ({
  registerVirtualization: text.includes("registers"),
  interruptDelivery: text.includes("delivery"),
  ipiVirtualization: text.includes("ipis"),
});

const virtualReads = "20-30 80 b0 d0-f0 100-170 180-1f0 200-270 280 300-380 3e0";
const virtualWrites = "20 80 b0 d0-f0 280 300-380 3e0";

/** Which registers an aligned 32-bit access finds virtualized, by controls beside the TPR shadow. */
const rows: readonly (readonly [controls: string, reads: string, writes: string])[] = [
  ["none", "80", "80"],
  ["delivery", "80", "80 b0 300"],
  ["ipis", "80", "80 300"],
  ["registers", virtualReads, virtualWrites],
  ["registers, delivery", virtualReads, virtualWrites],
];
const registers = offsets("0-ff0");

describe.each(rows)("with %s beside the TPR shadow", (text, reads, writes) => {
  it("the virtualized registers are those of the manual", () => {
    const read = registers.filter((offset) => isReadVirtualized(controls(text), offset, 4));
    const written = registers.filter((offset) => isWriteVirtualized(controls(text), offset, 4));
    expect(read).toEqual(offsets(reads));
    expect(written).toEqual(offsets(writes));
  });
});

/** Access by offset and size: virtualized without and with APIC-register virtualization. */
const shapes: readonly (readonly [offset: number, size: number, plain: boolean, all: boolean])[] = [
  [0x80, 1, true, true],
  [0x80, 2, true, true],
  [0x80, 8, false, false],
  [0x80, 16, false, false],
  [0x81, 1, false, true],
  [0x82, 2, false, true],
  [0x82, 4, false, false],
  [0x83, 2, false, false],
  [0x84, 1, false, false],
  [0x84, 4, false, false],
  [0x88, 4, false, false],
  [0x7f, 2, false, false],
  [0x310, 4, false, true],
  [0x313, 1, false, true],
  [0x314, 1, false, false],
];

describe.each(shapes)("an access at offset %i of %i bytes", (offset, size, plain, all) => {
  it("is virtualized if it lies within the low four bytes of a virtual register", () => {
    expect(isReadVirtualized(controls("none"), offset, size)).toBe(plain);
    expect(isWriteVirtualized(controls("none"), offset, size)).toBe(plain);
    expect(isReadVirtualized(controls("registers"), offset, size)).toBe(all);
    expect(isWriteVirtualized(controls("registers"), offset, size)).toBe(all);
  });
});
