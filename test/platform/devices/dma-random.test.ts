import fc from "fast-check";
import { expect, test } from "vitest";
import { DmaEngine } from "../../../src/platform/devices/dma-engine.ts";
import { DeviceBench } from "./device-harness.ts";

const ring = 0x1000;
const ringSize = 16;
const ramBytes = 0x1_0000;
const done = 0x8000_0000;

interface Descriptor {
  readonly source: number;
  readonly destination: number;
  readonly length: number;
  readonly flags: number;
}

/** Mostly inside RAM and away from the ring; some across its end, some far away. */
const address = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0x2000, max: 0xd000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0xe000, max: 0x1_1000 }) },
  { weight: 1, arbitrary: fc.constant(0xffff_f000) },
);
const descriptor: fc.Arbitrary<Descriptor> = fc.record({
  source: address,
  destination: address,
  length: fc.oneof(fc.integer({ min: 0, max: 9000 }), fc.constant(0xffff_ffff)),
  flags: fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(0, 1, 2, 3) },
    { weight: 2, arbitrary: fc.constantFrom(0x10, 0x20, 0x12) },
    { weight: 1, arbitrary: fc.constantFrom(0x30, 0x100, 4) },
  ),
});

const operationOf = ({ flags }: Descriptor): number => flags >>> 4;
const isGood = ({ length, flags }: Descriptor): boolean =>
  [0, 0x10, 0x20].includes(flags & ~3) && length >= 1 && length <= 2 ** 20;

/** Bytes from `moved` on that one request takes: to the end of a page on either side. */
function requestAt(each: Descriptor, moved: number): number {
  const room = (at: number): number => 4096 - ((at + moved) % 4096);
  return Math.min(
    each.length - moved,
    operationOf(each) === 1 ? 4096 : room(each.source),
    operationOf(each) === 2 ? 4096 : room(each.destination),
  );
}

/** What the engine is to do, request by request. @returns status and result of each descriptor */
function carryOut(ram: Uint8Array, descriptors: readonly Descriptor[]): [number, number][] {
  let isAbandoned = false;
  return descriptors.map((each) => {
    const [error, result] = isAbandoned ? [4, 0] : isGood(each) ? transfer(ram, each) : [1, 0];
    isAbandoned = error !== 0 && (each.flags & 2) !== 0;
    return [(done | error) >>> 0, result];
  });
}

function transfer(ram: Uint8Array, each: Descriptor): [error: number, result: number] {
  const operation = operationOf(each);
  let moved = 0;
  let sum = 0;
  while (moved < each.length) {
    const count = requestAt(each, moved);
    const from = each.source + moved;
    const to = each.destination + moved;
    if (operation !== 1 && from + count > ramBytes) return [2, operation === 2 ? sum : moved];
    if (operation !== 2 && to + count > ramBytes) return [3, moved];
    const piece =
      operation === 1 ? pattern(each.source, moved, count) : ram.slice(from, from + count);
    if (operation !== 2) ram.set(piece, to);
    for (const byte of piece) sum += byte;
    moved += count;
  }
  return [0, operation === 2 ? sum : moved];
}

/** The source as eight bytes, over and over: the upper four are 0 here. */
function pattern(source: number, offset: number, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, n) => {
    const at = (offset + n) % 8;
    return at < 4 ? source >>> (8 * at) : 0;
  });
}

test("any descriptors do what a plain description of them does, and nothing else", () => {
  fc.assert(
    fc.property(fc.array(descriptor, { minLength: 1, maxLength: ringSize - 1 }), (descriptors) => {
      const bench = new DeviceBench<DmaEngine>((slot, { clock }) => new DmaEngine(slot, clock));
      for (let n = 0x2000; n < ramBytes; n++) bench.ram[n] = (n * 31) >>> 3;
      for (const [n, { source, destination, length, flags }] of descriptors.entries()) {
        bench.view.setBigUint64(ring + 32 * n, BigInt(source), true);
        bench.view.setBigUint64(ring + 32 * n + 8, BigInt(destination), true);
        bench.view.setUint32(ring + 32 * n + 16, length, true);
        bench.view.setUint32(ring + 32 * n + 20, flags, true);
      }
      const expected = bench.ram.slice();
      const view = new DataView(expected.buffer);
      for (const [n, [status, result]] of carryOut(expected, descriptors).entries()) {
        view.setUint32(ring + 32 * n + 24, status, true);
        view.setUint32(ring + 32 * n + 28, result, true);
      }
      bench.write(0x10, ring);
      bench.write(0x18, ringSize);
      bench.write(0x04, 1);
      bench.write(0x20, descriptors.length);
      bench.advance(1e9);
      expect(bench.read(0x1c)).toBe(descriptors.length);
      const first = bench.ram.findIndex((byte, n) => byte !== expected[n]);
      expect(first).toBe(-1);
    }),
    { numRuns: 200 },
  );
});
