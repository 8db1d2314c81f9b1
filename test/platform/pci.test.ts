import { describe, expect, test } from "vitest";
import { chipsetFunctions } from "../../src/platform/chipset.ts";
import { PciBus } from "../../src/platform/pci.ts";
import { type PciBar, PciFunction } from "../../src/platform/pci-function.ts";

const window = (space: "io" | "memory", bytes: number): PciBar => ({
  space,
  bytes,
  read: (offset) => offset,
  write: () => undefined,
});

function newBus(): PciBus {
  const device = new PciFunction({
    bus: 0,
    device: 5,
    function: 0,
    vendorId: 0x1b36,
    deviceId: 5,
    classCode: 0xff_0000,
    interruptPin: 1,
    bars: [window("memory", 4096), window("io", 256)],
  });
  return new PciBus([...chipsetFunctions(), device]);
}

const address = (device: number, fn: number, register: number): number =>
  (0x8000_0000 | (device << 11) | (fn << 8) | register) >>> 0;

function read(bus: PciBus, device: number, fn: number, register: number): number {
  bus.writePort(0xcf8, 4, address(device, fn, register));
  return bus.readPort(0xcfc, 4);
}
function write(bus: PciBus, device: number, fn: number, register: number, value: number): void {
  bus.writePort(0xcf8, 4, address(device, fn, register));
  bus.writePort(0xcfc, 4, value);
}

describe("configuration mechanism 1", () => {
  test("finds the chipset", () => {
    const bus = newBus();
    expect(read(bus, 0, 0, 0)).toBe(0x1237_8086);
    expect(read(bus, 1, 0, 0)).toBe(0x7000_8086);
    expect(read(bus, 1, 3, 0)).toBe(0x7113_8086);
    expect(read(bus, 0, 0, 8) >>> 16).toBe(0x0600);
    expect((read(bus, 1, 0, 0x0c) >>> 16) & 0x80).toBe(0x80);
    expect(read(bus, 1, 3, 0x40) & 0xffff).toBe(0x601);
  });

  test("an absent function, and a disabled address register, read all ones", () => {
    const bus = newBus();
    expect(read(bus, 2, 0, 0)).toBe(0xffff_ffff);
    bus.writePort(0xcf8, 4, 0);
    expect(bus.readPort(0xcfc, 4)).toBe(0xffff_ffff);
    expect(bus.readPort(0xcfc, 1)).toBe(0xff);
  });

  test("narrow accesses take their part, the address register only whole ones", () => {
    const bus = newBus();
    bus.writePort(0xcf8, 4, address(0, 0, 0));
    expect(bus.readPort(0xcfc + 2, 2)).toBe(0x1237);
    expect(bus.readPort(0xcfc + 1, 1)).toBe(0x80);
    bus.writePort(0xcf8, 2, 0);
    expect(bus.readPort(0xcf8, 4)).toBe(address(0, 0, 0));
  });

  test("identity is read-only, the interrupt line is not", () => {
    const bus = newBus();
    write(bus, 5, 0, 0, 0);
    expect(read(bus, 5, 0, 0)).toBe(0x0005_1b36);
    write(bus, 5, 0, 0x3c, 0xffff_ff0b);
    expect(read(bus, 5, 0, 0x3c)).toBe(0x0000_010b);
  });
});

describe("base address registers", () => {
  test("tell their size when written all ones", () => {
    const bus = newBus();
    for (const [register, size] of [
      [0x10, 0xffff_f000],
      [0x14, 0xffff_ff01],
      [0x18, 0],
    ] as const) {
      write(bus, 5, 0, register, 0xffff_ffff);
      expect(read(bus, 5, 0, register)).toBe(size);
    }
  });

  test("place their window, once decoding is enabled", () => {
    const bus = newBus();
    write(bus, 5, 0, 0x10, 0xe000_0000);
    write(bus, 5, 0, 0x14, 0xc000);
    expect(bus.decode("memory", 0xe000_0000)).toBeUndefined();
    write(bus, 5, 0, 0x04, 3);
    expect(bus.decode("memory", 0xe000_0ffc)?.offset).toBe(0xffc);
    expect(bus.decode("memory", 0xe000_1000)).toBeUndefined();
    expect(bus.decode("io", 0xc0ff)?.offset).toBe(0xff);
    expect(bus.decode("io", 0xc100)).toBeUndefined();
    expect(bus.decode("io", 0xbfff)).toBeUndefined();
    bus.reset();
    expect(bus.decode("io", 0xc0ff)).toBeUndefined();
  });
});
