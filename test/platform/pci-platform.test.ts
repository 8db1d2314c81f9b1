import { beforeEach, describe, expect, test } from "vitest";
import { Platform } from "../../src/platform/platform.ts";
import { serverCapabilities } from "../../src/platform/vtd/capabilities.ts";
import { FaultReason } from "../../src/platform/vtd/fault-reasons.ts";
import { GlobalBit, VtdRegister, vtdAddress } from "../../src/platform/vtd/registers.ts";
import type { InterruptMessage } from "../../src/protocol/interrupt-message.ts";

const ramBytes = 2 * 2 ** 20;
const edu = { kind: "edu", parameters: {} };
const register = { raise: 0x60, acknowledge: 0x64, source: 0x80, count: 0x90, command: 0x98 };
/** Windows of the devices, and the I/O APIC pins that their slots 4 and 5 share with others. */
const windows = [0xe000_0000, 0xe010_0000, 0xe020_0000];
const pins = [10, 11, 10];
const masterAndMemory = 6;
/** Where the tables are. */
const place = { root: 0x1000, context: 0x2000, interrupts: 0x3000 };

let sent: InterruptMessage[];
let ram: Uint8Array;
let view: DataView;
let platform: Platform;

/** A platform with three teaching devices, their windows placed, allowed to master the bus. */
function build(hasIommu: boolean): void {
  sent = [];
  ram = new Uint8Array(new SharedArrayBuffer(ramBytes));
  view = new DataView(ram.buffer);
  platform = new Platform({
    clock: { frequencyHz: 1e9, now: () => 0 },
    fabric: { send: (message) => sent.push(message), drivePin: () => undefined },
    memory: {
      read: (address, into) => {
        if (address + into.length > ramBytes) return false;
        into.set(ram.subarray(address, address + into.length));
        return true;
      },
      write: (address, from) => {
        if (address + from.length > ramBytes) return false;
        ram.set(from, address);
        return true;
      },
    },
    ramBytes,
    apicIds: [0],
    epochSeconds: 0,
    acpiBase: 0xe_0000,
    serialOutput: () => undefined,
    debugOutput: () => undefined,
    exit: () => undefined,
    testDevice: true,
    devices: [edu, edu, edu],
    ...(hasIommu
      ? { iommu: { capabilities: serverCapabilities, words: new Int32Array(ram.buffer) } }
      : {}),
  });
  platform.initializeAsFirmware();
  for (const device of [4, 5, 6]) configuration(device, 4, masterAndMemory);
}

function configuration(device: number, offset: number, value: number): void {
  platform.writePort(0xcf8, 4, (0x8000_0000 | (device << 11) | offset) >>> 0);
  platform.writePort(0xcfc, 4, value);
}
function readConfiguration(device: number, offset: number): number {
  platform.writePort(0xcf8, 4, (0x8000_0000 | (device << 11) | offset) >>> 0);
  return platform.readPort(0xcfc, 4);
}
function setEntry(pin: number, low: number, high = 0): void {
  for (const [index, value] of [low, high].entries()) {
    platform.writeMmio(0xfec0_0000, 4, 0x10 + pin * 2 + index);
    platform.writeMmio(0xfec0_0010, 4, value >>> 0);
  }
}
function write(n: number, offset: number, value: number): void {
  platform.writeMmio((windows[n] ?? 0) + offset, 4, value);
}
/** The device reads four bytes into its buffer, or writes them from there. */
function transfer(n: number, address: number, toMemory: boolean): void {
  const buffer = 0x4_0000;
  const [source, destination] = toMemory ? [buffer, address] : [address, buffer];
  write(n, register.source, source);
  write(n, register.source + 8, destination);
  write(n, register.count, 4);
  write(n, register.command, toMemory ? 3 : 1);
}
const vtd = {
  read: (offset: number): number => platform.readMmio(vtdAddress + offset, 4),
  write: (offset: number, value: number): void =>
    platform.writeMmio(vtdAddress + offset, 4, value >>> 0),
};
const reason = (): number => vtd.read(VtdRegister.FaultRecord + 12) & 0xff;

describe("devices without a VT-d unit", () => {
  beforeEach(() => build(false));

  test("have windows, lines, and memory as it is", () => {
    expect([4, 5, 6].map((device) => readConfiguration(device, 0x10))).toEqual(windows);
    expect([4, 5, 6].map((device) => readConfiguration(device, 0x3c) & 0xff)).toEqual(pins);
    view.setUint32(0x100, 0x1234_5678, true);
    transfer(1, 0x100, false);
    transfer(1, 0x200, true);
    expect(view.getUint32(0x200, true)).toBe(0x1234_5678);
    expect(vtd.read(0)).toBe(0xffff_ffff);
  });

  test("send messages to the bus as they are", () => {
    configuration(4, 0x44, 0xfee0_3000);
    configuration(4, 0x4c, 0x41);
    configuration(4, 0x40, 0x0001_0000);
    write(0, register.raise, 1);
    expect(sent).toMatchObject([{ vector: 0x41, destination: 3 }]);
  });

  test("that share a line hold it together", () => {
    const level = 1 << 15;
    setEntry(10, 0x61 | level);
    write(0, register.raise, 1);
    write(2, register.raise, 1);
    expect(sent).toHaveLength(1);
    write(0, register.acknowledge, 1);
    platform.endOfInterrupt(0x61);
    expect(sent).toHaveLength(2);
    write(2, register.acknowledge, 1);
    platform.endOfInterrupt(0x61);
    expect(sent).toHaveLength(2);
  });

  test("a reset takes their lines and windows back", () => {
    setEntry(11, 0x61);
    write(1, register.raise, 1);
    platform.reset();
    expect(readConfiguration(5, 0x10)).toBe(0);
    platform.initializeAsFirmware();
    configuration(5, 4, masterAndMemory);
    setEntry(11, 0x62);
    write(1, register.raise, 1);
    expect(sent.map((each) => each.vector)).toEqual([0x61, 0x62]);
  });
});

describe("devices behind a VT-d unit", () => {
  beforeEach(() => build(true));

  test("reach what their context entry lets them", () => {
    view.setBigUint64(place.root, BigInt(place.context) | 1n, true);
    // Slot 4 passes through; slot 5 has no entry.
    view.setBigUint64(place.context + (4 << 3) * 16, 9n, true);
    view.setBigUint64(place.context + (4 << 3) * 16 + 8, 2n, true);
    vtd.write(VtdRegister.RootTable, place.root);
    vtd.write(VtdRegister.GlobalCommand, GlobalBit.RootTable | GlobalBit.Translation);
    view.setUint32(0x100, 0x1234_5678, true);
    transfer(0, 0x100, false);
    transfer(0, 0x200, true);
    expect(view.getUint32(0x200, true)).toBe(0x1234_5678);
    expect(vtd.read(VtdRegister.FaultStatus)).toBe(0);
    transfer(1, 0x300, true);
    expect(reason()).toBe(FaultReason.ContextNotPresent);
    expect(vtd.read(VtdRegister.FaultRecord + 8)).toBe(5 << 3);
  });

  test("have their messages and pins remapped, each by entries of its own", () => {
    const entryOf = (index: number, vector: number, source: number): void => {
      const at = place.interrupts + index * 16;
      view.setBigUint64(at, 1n | (BigInt(vector) << 16n) | (2n << 40n), true);
      view.setBigUint64(at + 8, BigInt(source) | (1n << 18n), true);
    };
    entryOf(1, 0x71, 4 << 3);
    entryOf(2, 0x72, 0xf0f8);
    entryOf(3, 0x73, 6 << 3);
    vtd.write(VtdRegister.InterruptTable, place.interrupts | 7);
    vtd.write(VtdRegister.GlobalCommand, GlobalBit.InterruptTable | GlobalBit.InterruptRemapping);
    for (const [index, vector] of [
      [1, 0x71],
      [2, 0x72],
      [3, undefined],
    ] as const) {
      sent.length = 0;
      setEntry(10, 0x50, (index << 17) | 0x1_0000);
      write(0, register.raise, 1);
      write(0, register.acknowledge, 1);
      expect(sent.map((each) => each.vector)).toEqual(vector === undefined ? [] : [vector]);
    }
    expect(reason()).toBe(FaultReason.SourceNotValid);
    // Slot 5 sends a message with the handle of slot 4's entry.
    sent.length = 0;
    configuration(5, 0x44, 0xfee0_0030);
    configuration(5, 0x40, 0x0001_0000);
    write(1, register.raise, 1);
    expect(sent).toEqual([]);
    configuration(4, 0x44, 0xfee0_0030);
    configuration(4, 0x40, 0x0001_0000);
    write(0, register.raise, 1);
    expect(sent).toMatchObject([{ vector: 0x71, destination: 2 }]);
  });

  test("a level-triggered pin owes its EOI as without remapping", () => {
    view.setBigUint64(place.interrupts + 16, 1n | (1n << 4n) | (0x71n << 16n), true);
    vtd.write(VtdRegister.InterruptTable, place.interrupts | 7);
    vtd.write(VtdRegister.GlobalCommand, GlobalBit.InterruptTable | GlobalBit.InterruptRemapping);
    setEntry(10, 0x71 | (1 << 15), (1 << 17) | 0x1_0000);
    write(0, register.raise, 1);
    platform.endOfInterrupt(0x70);
    expect(sent).toMatchObject([{ vector: 0x71, level: true }]);
    platform.endOfInterrupt(0x71);
    expect(sent).toHaveLength(2);
  });

  test("a reset switches the unit off", () => {
    vtd.write(VtdRegister.GlobalCommand, GlobalBit.Translation);
    platform.reset();
    expect(vtd.read(VtdRegister.GlobalStatus)).toBe(0);
  });
});
