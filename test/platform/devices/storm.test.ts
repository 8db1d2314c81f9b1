import { describe, expect, test } from "vitest";
import { Storm } from "../../../src/platform/devices/storm.ts";
import { DeviceBench } from "./device-harness.ts";

const queue = (n: number, register: number): number => 0x1000 + 0x40 * n + register;
const control = 0x00;
const first = 0x04;
const span = 0x08;
const interval = 0x0c;
const burst = 0x10;
const count = 0x14;
const sent = 0x18;
const record = 0x20;
const seed = 0x28;
const dropped = 0x2c;
const blocked = 0x30;
const left = 0x34;
const run = 1;
const counter = (entry: number): number => 0x8000 + 4 * entry;
const running = 0x0c;

function newStorm(queues = 4, entries = queues): DeviceBench<Storm> {
  const bench = new DeviceBench<Storm>(
    (slot, { clock }) => new Storm(slot, { queues, entries, clock }),
  );
  bench.enableMsix(entries, 0x40);
  return bench;
}

describe("a queue", () => {
  test("sends its count, one message per interval, and stops", () => {
    const bench = newStorm();
    bench.write(queue(1, first), 2);
    bench.write(queue(1, interval), 100);
    bench.write(queue(1, count), 3);
    bench.now = 1000;
    bench.write(queue(1, control), run);
    expect(bench.device.deadline()).toBe(1000);
    bench.advance(1199);
    expect(bench.messages).toEqual([0x42, 0x42]);
    expect(bench.read(queue(1, left))).toBe(1);
    expect(bench.read(running)).toBe(1);
    bench.advance(1200);
    expect(bench.messages).toEqual([0x42, 0x42, 0x42]);
    expect(bench.device.deadline()).toBeUndefined();
    expect(bench.read(queue(1, control))).toBe(0);
    expect(bench.read(queue(1, sent))).toBe(3);
    expect(bench.read(counter(2))).toBe(3);
    expect(bench.read(counter(1))).toBe(0);
  });

  test("takes its entries in turn, burst by burst", () => {
    const bench = newStorm(1, 3);
    bench.write(queue(0, span), 3);
    bench.write(queue(0, interval), 50);
    bench.write(queue(0, burst), 2);
    bench.write(queue(0, control), run);
    bench.advance(0);
    expect(bench.messages).toEqual([0x40, 0x41]);
    bench.advance(50);
    expect(bench.messages).toEqual([0x40, 0x41, 0x42, 0x40]);
    bench.write(queue(0, control), 0);
    bench.advance(1000);
    expect(bench.messages).toHaveLength(4);
  });

  test("without an interval lets time move on all the same", () => {
    const bench = newStorm();
    bench.write(queue(0, control), run);
    bench.advance(9);
    expect(bench.messages).toHaveLength(10);
  });

  test("one poll is bounded, whatever is due", () => {
    const bench = newStorm();
    bench.write(queue(0, burst), 0xffff_ffff);
    bench.write(queue(0, control), run);
    bench.device.poll(0);
    expect(bench.messages).toHaveLength(64);
    expect(bench.device.deadline()).toBe(0);
    expect(bench.read(queue(0, burst))).toBe(0xffff);
  });

  test("equal seeds give equal storms", () => {
    const storm = (value: number): readonly [number[], number] => {
      const bench = newStorm();
      bench.write(queue(0, span), 4);
      bench.write(queue(0, interval), 1000);
      bench.write(queue(0, count), 50);
      bench.write(queue(0, seed), value);
      bench.write(queue(0, control), run | 2 | 4);
      bench.advance(1e6);
      return [bench.messages, bench.device.deadline() ?? 0];
    };
    expect(storm(7)).toEqual(storm(7));
    expect(storm(7)).not.toEqual(storm(8));
    expect(new Set(storm(7)[0])).toEqual(new Set([0x40, 0x41, 0x42, 0x43]));
  });

  test("leaves a record before each message", () => {
    const bench = newStorm();
    bench.write(queue(0, span), 2);
    bench.write(queue(0, interval), 10);
    bench.write(queue(0, record), 0x2007);
    bench.write(queue(0, count), 3);
    bench.write(queue(0, control), run);
    bench.advance(100);
    const at = (place: number): readonly bigint[] => [
      bench.view.getBigUint64(0x2000 + 16 * place, true),
      bench.view.getBigUint64(0x2008 + 16 * place, true),
    ];
    expect(at(0)).toEqual([2n, 20n]);
    expect(at(1)).toEqual([1n, 10n]);
    bench.isBlocked = true;
    bench.write(queue(0, control), run);
    bench.advance(200);
    expect(bench.read(queue(0, blocked))).toBe(3);
    expect(at(0)).toEqual([2n, 20n]);
    expect(bench.messages).toHaveLength(6);
  });

  test("whose record lies across the end of RAM counts it as blocked, and sends", () => {
    const bench = newStorm();
    for (const address of [0x1_0000, 0xffff_fff0]) {
      bench.write(queue(0, record), address);
      bench.write(queue(0, count), 1);
      bench.write(queue(0, control), run);
      bench.advance(bench.now + 100);
    }
    expect(bench.read(queue(0, blocked))).toBe(2);
    expect(bench.messages).toHaveLength(2);
    expect(bench.ram.every((byte) => byte === 0)).toBe(true);
  });

  test("whose entry is masked sends one message for all when the mask is lifted", () => {
    const bench = newStorm();
    const control0 = 12;
    const pendingBits = 0x800;
    bench.write(control0, 1, 1);
    bench.write(queue(0, interval), 10);
    bench.write(queue(0, count), 5);
    bench.write(queue(0, control), run);
    bench.advance(1000);
    expect(bench.messages).toEqual([]);
    expect(bench.read(pendingBits, 1)).toBe(1);
    expect(bench.read(queue(0, sent))).toBe(5);
    bench.write(control0, 0, 1);
    expect(bench.messages).toEqual([0x40]);
    expect(bench.read(pendingBits, 1)).toBe(0);
  });

  test("drops what no entry can carry", () => {
    const bench = newStorm();
    bench.write(queue(0, first), 4);
    bench.write(queue(0, count), 2);
    bench.write(queue(0, control), run);
    bench.advance(100);
    expect(bench.messages).toEqual([]);
    expect(bench.read(queue(0, dropped))).toBe(2);
    expect(bench.read(queue(0, sent))).toBe(0);
  });
});

describe("the device", () => {
  test("tells what it is", () => {
    const bench = newStorm(8, 32);
    expect(bench.read(0)).toBe(0x4d52_5453);
    expect(bench.read(4)).toBe(8);
    expect(bench.read(8)).toBe(32);
  });

  test("starts and stops all queues at once, serving those that are due in turn", () => {
    const bench = newStorm(3);
    for (let n = 0; n < 3; n++) {
      bench.write(queue(n, first), n);
      bench.write(queue(n, interval), 10);
    }
    bench.write(0x10, 1);
    bench.advance(10);
    expect(bench.messages).toEqual([0x40, 0x41, 0x42, 0x40, 0x41, 0x42]);
    bench.write(0x10, 2);
    expect(bench.read(running)).toBe(0);
    expect(bench.read(0x14)).toBe(6);
  });

  test("a queue that nobody has is nothing", () => {
    const bench = newStorm(2);
    bench.write(queue(2, control), run);
    expect(bench.read(queue(2, control))).toBe(0);
    expect(bench.device.deadline()).toBeUndefined();
  });

  test("a reset ends everything", () => {
    const bench = newStorm();
    bench.write(queue(0, control), run);
    bench.advance(5);
    bench.device.reset();
    expect(bench.device.deadline()).toBeUndefined();
    expect(bench.read(counter(0))).toBe(0);
  });
});
