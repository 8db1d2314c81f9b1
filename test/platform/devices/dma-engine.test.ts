import { beforeEach, describe, expect, test } from "vitest";
import { DmaEngine } from "../../../src/platform/devices/dma-engine.ts";
import { DeviceBench } from "./device-harness.ts";

const register = {
  control: 0x04,
  status: 0x08,
  ring: 0x10,
  ringHigh: 0x14,
  ringSize: 0x18,
  head: 0x1c,
  tail: 0x20,
  interruptStatus: 0x24,
  interruptEnable: 0x28,
  latency: 0x2c,
  completed: 0x30,
  failed: 0x34,
  bytes: 0x38,
} as const;
const ring = 0x1000;
const done = 0x8000_0000;
const interrupt = 1;
const more = 2;
const fill = 1 << 4;
const sum = 2 << 4;

interface Descriptor {
  readonly source: bigint | number;
  readonly destination: bigint | number;
  readonly length: number;
  readonly flags?: number;
}

let bench: DeviceBench<DmaEngine>;

beforeEach(() => {
  bench = new DeviceBench<DmaEngine>((slot, { clock }) => new DmaEngine(slot, clock));
  bench.enableMsix(2, 0x40);
  bench.write(register.ring, ring);
  bench.write(register.ringSize, 8);
  bench.write(register.interruptEnable, 3);
  bench.write(register.control, 1);
});

function describeTransfer(n: number, descriptor: Descriptor): void {
  const at = ring + 32 * n;
  bench.view.setBigUint64(at, BigInt(descriptor.source), true);
  bench.view.setBigUint64(at + 8, BigInt(descriptor.destination), true);
  bench.view.setUint32(at + 16, descriptor.length, true);
  bench.view.setUint32(at + 20, descriptor.flags ?? 0, true);
}
const statusOf = (n: number): number => bench.view.getUint32(ring + 32 * n + 24, true);
const resultOf = (n: number): number => bench.view.getUint32(ring + 32 * n + 28, true);

function run(...descriptors: Descriptor[]): void {
  for (const [n, descriptor] of descriptors.entries()) describeTransfer(n, descriptor);
  bench.write(register.tail, descriptors.length);
  bench.advance(bench.now + 1e6);
}

describe("the ring", () => {
  test("is worked off up to the tail, each descriptor after its latency", () => {
    bench.ram.set([1, 2, 3, 4], 0x4000);
    describeTransfer(0, { source: 0x4000, destination: 0x5000, length: 2 });
    describeTransfer(1, { source: 0x4002, destination: 0x6000, length: 2, flags: interrupt });
    bench.write(register.latency, 700);
    bench.write(register.tail, 2);
    bench.advance(700);
    expect(bench.read(register.head)).toBe(1);
    expect(bench.read(register.status)).toBe(1);
    expect(bench.messages).toEqual([]);
    bench.advance(1400);
    expect(bench.read(register.head)).toBe(2);
    expect(bench.read(register.status)).toBe(0);
    expect(bench.messages).toEqual([0x40]);
    expect([...bench.ram.subarray(0x5000, 0x5002)]).toEqual([1, 2]);
    expect([...bench.ram.subarray(0x6000, 0x6002)]).toEqual([3, 4]);
    expect([statusOf(0), resultOf(0)]).toEqual([done, 2]);
    expect(bench.read(register.completed)).toBe(2);
    expect(bench.read(register.bytes)).toBe(4);
    expect(bench.device.deadline()).toBeUndefined();
  });

  test("wraps around", () => {
    for (let n = 0; n < 8; n++)
      describeTransfer(n, { source: 0x4000, destination: 0x5000, length: 1 });
    bench.write(register.tail, 7);
    bench.advance(1e6);
    bench.write(register.tail, 3);
    bench.advance(2e6);
    expect(bench.read(register.head)).toBe(3);
    expect(bench.read(register.completed)).toBe(7 + 4);
  });

  test("does not take a tail outside, nor another place while it runs", () => {
    bench.write(register.tail, 8);
    expect(bench.read(register.tail)).toBe(0);
    bench.write(register.ring, 0x2000);
    expect(bench.read(register.ring)).toBe(ring);
    bench.write(register.control, 2);
    bench.write(register.ringSize, 1);
    expect(bench.read(register.ringSize)).toBe(0);
    bench.write(register.control, 1);
    expect(bench.read(register.control)).toBe(0);
  });

  test("that cannot be reached stops the engine until it is enabled again", () => {
    bench.write(register.control, 0);
    bench.write(register.ringHigh, 1);
    bench.write(register.control, 1);
    run({ source: 0, destination: 0, length: 1 });
    expect(bench.read(register.status)).toBe(0x502);
    expect(bench.read(register.control)).toBe(0);
    expect(bench.messages).toEqual([0x41]);
    bench.write(register.ringHigh, 0);
    bench.write(register.control, 1);
    expect(bench.read(register.status)).toBe(0);
  });
});

describe("a transfer", () => {
  test("crosses pages at either end", () => {
    const bytes = Uint8Array.from({ length: 9000 }, (_, n) => n * 7);
    bench.ram.set(bytes, 0x4ffd);
    run({ source: 0x4ffd, destination: 0x8003, length: 9000 });
    expect(bench.ram.subarray(0x8003, 0x8003 + 9000)).toEqual(bytes);
    expect(resultOf(0)).toBe(9000);
  });

  test("fills with the eight bytes of its source", () => {
    run({ source: 0x0807_0605_0403_0201n, destination: 0x5ffc, length: 11, flags: fill });
    expect([...bench.ram.subarray(0x5ffb, 0x6008)]).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 0,
    ]);
  });

  test("adds bytes up without writing", () => {
    bench.ram.fill(0xff, 0x4000, 0x6000);
    run({ source: 0x4000, destination: 0x7000, length: 0x2000, flags: sum });
    expect(resultOf(0)).toBe(0xff * 0x2000);
    expect(bench.ram[0x7000]).toBe(0);
  });

  test.each([
    ["of nothing", { source: 0x4000, destination: 0x5000, length: 0 }, 1],
    ["of more than 1 MiB", { source: 0x4000, destination: 0x5000, length: 2 ** 20 + 1 }, 1],
    ["of no known kind", { source: 0x4000, destination: 0x5000, length: 8, flags: 3 << 4 }, 1],
    ["with a flag nobody knows", { source: 0x4000, destination: 0x5000, length: 8, flags: 4 }, 1],
    ["from where no RAM is", { source: 0x1_0000, destination: 0x5000, length: 8 }, 2],
    [
      "to where no RAM is",
      { source: 0x4000, destination: -1n & 0xffff_ffff_ffff_fff0n, length: 8 },
      3,
    ],
  ] as const)("%s fails and changes nothing", (_, descriptor, error) => {
    bench.ram.fill(0x5a, 0x4000, 0x4010);
    const before = bench.ram.slice(0x2000);
    run(descriptor);
    expect([statusOf(0), resultOf(0)]).toEqual([(done | error) >>> 0, 0]);
    expect(Buffer.compare(bench.ram.subarray(0x2000), before)).toBe(0);
    expect(bench.messages).toEqual([0x41]);
    expect(bench.read(register.failed)).toBe(1);
    expect(bench.read(register.head)).toBe(1);
  });

  test("across the end of RAM goes as far as RAM does, and says how far", () => {
    bench.ram.fill(0x5a, 0x4000, 0x4020);
    run({ source: 0x4000, destination: 0xfff0, length: 0x20 });
    expect([statusOf(0), resultOf(0)]).toEqual([(done | 3) >>> 0, 0x10]);
    expect([...bench.ram.subarray(0xffee, 0xfff2)]).toEqual([0, 0, 0x5a, 0x5a]);
    expect(bench.ram.at(-1)).toBe(0x5a);
  });

  test("that fails takes the rest of its chain with it, and no more", () => {
    run(
      { source: 0x2_0000, destination: 0x5000, length: 8, flags: more },
      { source: 0x4000, destination: 0x5000, length: 8, flags: more },
      { source: 0x4000, destination: 0x5000, length: 8 },
      { source: 0x4000, destination: 0x5000, length: 8, flags: interrupt },
    );
    expect([0, 1, 2, 3].map((n) => statusOf(n) - done)).toEqual([2, 4, 4, 0]);
    expect(bench.messages).toEqual([0x41, 0x41, 0x41, 0x40]);
  });
});

test("without MSI-X the line is held until software has seen the cause", () => {
  bench.device.function.writeConfiguration(bench.capability(0x11) + 2, 2, 0);
  run({ source: 0x4000, destination: 0x5000, length: 1, flags: interrupt });
  expect(bench.line).toBe(true);
  expect(bench.read(register.interruptStatus)).toBe(1);
  bench.write(register.interruptStatus, 1);
  expect(bench.line).toBe(false);
});
