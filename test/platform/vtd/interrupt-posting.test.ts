import { beforeEach, describe, expect, test } from "vitest";
import { function4, place, VtdBench } from "./vtd-bench.ts";

const control = place.descriptor + 32;
const outstanding = 1n;
const suppressed = 2n;
/** NV F2H, NDST 5 for eight-bit APIC ids. */
const target = (0xf2n << 16n) | (0x500n << 32n);

let bench: VtdBench;
beforeEach(() => {
  bench = new VtdBench();
  bench.enableInterrupts();
  bench.store(control, target);
});

function entry(vector: number, urgent = false): bigint {
  const flags = 1n | (1n << 15n) | (urgent ? 1n << 14n : 0n);
  return flags | (BigInt(vector) << 16n) | (BigInt(place.descriptor) << 32n);
}
function post(vector: number, urgent = false): void {
  const index = vector + (urgent ? 256 : 0);
  bench.setInterruptEntry(index, entry(vector, urgent));
  bench.unit.port(function4).message(0xfee0_0010 + (index << 5), 0);
}
const requested = (vector: number): boolean =>
  ((bench.memory[place.descriptor + (vector >> 3)] ?? 0) & (1 << (vector & 7))) !== 0;

describe("a post", () => {
  test.each([0, 31, 32, 0x51, 255])("of vector %i sets its request, ON, and notifies", (vector) => {
    post(vector);
    expect(requested(vector)).toBe(true);
    expect(bench.load(control)).toBe(target | outstanding);
    expect(bench.sent).toMatchObject([
      { vector: 0xf2, deliveryMode: 0, destination: 5, logical: false, level: false, wide: false },
    ]);
  });

  test("does not notify again while ON is set", () => {
    post(0x51);
    post(0x52);
    post(0x51);
    expect([requested(0x51), requested(0x52)]).toEqual([true, true]);
    expect(bench.sent).toHaveLength(1);
  });

  test("with SN set records the request alone", () => {
    bench.store(control, target | suppressed);
    post(0x51);
    expect(requested(0x51)).toBe(true);
    expect(bench.load(control)).toBe(target | suppressed);
    expect(bench.sent).toEqual([]);
  });

  test("that is urgent notifies although SN is set, but not while ON is", () => {
    bench = new VtdBench();
    bench.enableInterrupts(15);
    bench.store(control, target | suppressed);
    post(0x51, true);
    expect(bench.load(control)).toBe(target | suppressed | outstanding);
    expect(bench.sent).toHaveLength(1);
    post(0x52, true);
    expect(bench.sent).toHaveLength(1);
  });

  test("notifies a 32-bit destination in extended interrupt mode", () => {
    bench.enableInterrupts(7, true);
    bench.store(control, (0xf2n << 16n) | (0x1_0500n << 32n));
    post(0x51);
    expect(bench.sent).toMatchObject([{ vector: 0xf2, destination: 0x1_0500, wide: true }]);
  });

  test("finds the descriptor above 4 GiB outside RAM, and its own page there", () => {
    bench.setInterruptEntry(3, entry(0x51), 1n << 32n);
    bench.unit.port(function4).message(0xfee0_0070, 0);
    expect(bench.sent).toEqual([]);
    expect(requested(0x51)).toBe(false);
  });

  test("of a source that may not use the entry touches nothing", () => {
    bench.setInterruptEntry(3, entry(0x51), 0x1111n | (1n << 18n));
    bench.unit.port(function4).message(0xfee0_0070, 0);
    expect(requested(0x51)).toBe(false);
    expect(bench.load(control)).toBe(target);
  });

  test("by an I/O APIC goes the same way", () => {
    bench.setInterruptEntry(3, entry(0x51));
    expect(bench.unit.ioapicMessage(0xf0f8, 0x51, (3 << 17) | 0x1_0000)).toBe(true);
    expect(requested(0x51)).toBe(true);
  });

  test("leaves NV and NDST where they are, and is not lost to an entry that is rewritten", () => {
    post(0x51);
    bench.setInterruptEntry(0x51, entry(0x61));
    bench.unit.port(function4).message(0xfee0_0010 + (0x51 << 5), 0);
    // The cached entry counts until it is invalidated.
    expect(requested(0x61)).toBe(false);
    expect(bench.load(control)).toBe(target | outstanding);
  });
});
