import { beforeEach, describe, expect, test } from "vitest";
import { Outpost } from "../../src/machine/device-actors/outpost.ts";
import type { InterruptMessage } from "../../src/protocol/interrupt-message.ts";
import { SharedRemapping, sharedRemappingBytes } from "../../src/protocol/shared-remapping.ts";
import { descriptor, function4, place, ramBytes, VtdBench } from "../platform/vtd/vtd-bench.ts";

const control = place.descriptor + 32;
const target = (0xf2n << 16n) | (0x500n << 32n);
const remappable = (index: number): number => 0xfee0_0010 + (index << 5);
const posted = (vector: number): bigint =>
  1n | (1n << 15n) | (BigInt(vector) << 16n) | (BigInt(place.descriptor) << 32n);
const remapped = (vector: number, destination: number): bigint =>
  1n | (BigInt(vector) << 16n) | (BigInt(destination) << 40n);

let shared: SharedRemapping;
let bench: VtdBench;
let outpost: Outpost;
let sent: InterruptMessage[];
beforeEach(() => {
  shared = new SharedRemapping(new Int32Array(new SharedArrayBuffer(sharedRemappingBytes)), 0);
  const giveUp = (): void => {
    throw new Error("the device is busy for ever");
  };
  const link = {
    close: () => shared.close(giveUp),
    open: (state: SharedRemapping["state"]) => shared.open(state),
  };
  bench = new VtdBench({}, {}, [link]);
  sent = [];
  outpost = new Outpost({
    ...{ requester: function4, shared, words: bench.words, ramBytes, posting: true },
    fabric: { send: (message) => sent.push(message) },
  });
});

describe("a device that remaps its messages itself", () => {
  test("sends them as they are while remapping is off", () => {
    expect(outpost.message(0xfee0_3000, 0x41)).toBe(true);
    expect(sent).toMatchObject([{ vector: 0x41, destination: 3 }]);
  });

  test("remaps and posts as the unit does", () => {
    bench.enableInterrupts();
    bench.store(control, target);
    bench.setInterruptEntry(2, remapped(0x66, 7));
    bench.setInterruptEntry(3, posted(0x51));
    expect(outpost.message(remappable(2), 0)).toBe(true);
    expect(outpost.message(remappable(3), 0)).toBe(true);
    expect(outpost.message(remappable(3), 0)).toBe(true);
    expect(sent).toMatchObject([
      { vector: 0x66, destination: 7 },
      { vector: 0xf2, destination: 5 },
    ]);
    expect(bench.load(control)).toBe(target | 1n);
    expect(bench.sent).toEqual([]);
  });

  test("takes 32-bit destinations from the table's register", () => {
    bench.enableInterrupts(7, true);
    bench.setInterruptEntry(2, 1n | (0x66n << 16n) | (0x1_0007n << 32n));
    expect(outpost.message(remappable(2), 0)).toBe(true);
    expect(sent).toMatchObject([{ destination: 0x1_0007, wide: true }]);
  });

  test.each([
    ["an entry that is not there", () => remappable(9)],
    ["an index beyond the table", () => remappable(0x7000)],
    ["the format without an index", () => 0xfee0_0000],
    ["what is no interrupt", () => 0x1000],
  ])("leaves %s to the unit, which reports it", (_name, address) => {
    bench.enableInterrupts();
    expect(outpost.message(address(), 0)).toBe(false);
    expect(sent).toEqual([]);
    expect(bench.takeFaults()).toEqual([]);
  });

  test("uses an entry until it is invalidated, and not afterwards", () => {
    bench.enableInterrupts();
    bench.enableQueue();
    bench.setInterruptEntry(2, remapped(0x66, 7));
    outpost.message(remappable(2), 0);
    bench.setInterruptEntry(2, remapped(0x77, 8));
    outpost.message(remappable(2), 0);
    bench.submit(descriptor.interruptEntries(2), descriptor.wait(place.status, 1));
    outpost.message(remappable(2), 0);
    expect(sent.map(({ vector }) => vector)).toEqual([0x66, 0x66, 0x77]);
    expect(bench.load(place.status)).toBe(1n);
  });

  test("leaves everything to the unit while a change is being made", () => {
    shared.close(() => undefined);
    expect(outpost.message(0xfee0_3000, 0x41)).toBe(false);
    shared.open(shared.state);
    expect(outpost.message(0xfee0_3000, 0x41)).toBe(true);
  });

  test("is told to rest when nobody has noticed its posts for long", () => {
    bench.enableInterrupts();
    bench.store(control, target);
    bench.setInterruptEntry(3, posted(0x51));
    const hints = Array.from({ length: 250 }, () => {
      outpost.message(remappable(3), 0);
      return outpost.takeHint();
    });
    expect(hints.filter((isHint) => isHint)).toHaveLength(2);
    bench.store(control, target);
    outpost.message(remappable(3), 0);
    expect(sent).toHaveLength(2);
  });
});
