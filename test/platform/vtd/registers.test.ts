import { beforeEach, describe, expect, test } from "vitest";
import {
  FaultStatusBit,
  GlobalBit,
  VtdRegister,
  vtdAddress,
} from "../../../src/platform/vtd/registers.ts";
import { function4, VtdBench } from "./vtd-bench.ts";

let bench: VtdBench;
beforeEach(() => {
  bench = new VtdBench();
});

/** Offset, what it reads after reset, and after all ones were written. */
const registers: readonly (readonly [string, number, number, number])[] = [
  ["VER", 0x00, 0x10, 0x10],
  ["CAP", 0x08, 0x2278_0e06, 0x2278_0e06],
  ["CAP high", 0x0c, 0x08d2_078c, 0x08d2_078c],
  ["ECAP", 0x10, 0x00f0_0fdf, 0x00f0_0fdf],
  ["ECAP high", 0x14, 0, 0],
  ["RTADDR", 0x20, 0, 0xffff_f000],
  ["RTADDR high", 0x24, 0, 0x3fff],
  ["CCMD", 0x28, 0, 0xffff_ffff],
  ["FEDATA", 0x3c, 0, 0xffff],
  ["FEADDR", 0x40, 0, 0xffff_fffc],
  ["FEUADDR", 0x44, 0, 0xffff_ffff],
  ["IQH", 0x80, 0, 0],
  ["IQH high", 0x84, 0, 0],
  ["IQT", 0x88, 0, 0x7_fff0],
  ["IQT high", 0x8c, 0, 0],
  ["IQA", 0x90, 0, 0xffff_f007],
  ["IQA high", 0x94, 0, 0x3fff],
  ["ICS", 0x9c, 0, 0],
  ["IEDATA", 0xa4, 0, 0xffff],
  ["IEADDR", 0xa8, 0, 0xffff_fffc],
  ["IEUADDR", 0xac, 0, 0xffff_ffff],
  ["IQERCD", 0xb0, 0, 0],
  ["IRTA", 0xb8, 0, 0xffff_f80f],
  ["IRTA high", 0xbc, 0, 0x3fff],
  ["IVA", 0xf0, 0, 0],
  ["IVA high", 0xf4, 0, 0],
  ["IOTLB", 0xf8, 0, 0],
];
const notOffered: readonly (readonly [string, number])[] = [
  ["AFLOG", 0x58],
  ["PMEN", 0x64],
  ["PLMBASE", 0x68],
  ["PLMLIMIT", 0x6c],
  ["PHMBASE", 0x70],
  ["PHMLIMIT", 0x78],
  ["PQH", 0xc0],
  ["PQT", 0xc8],
  ["PQA", 0xd0],
  ["PRS", 0xdc],
  ["PECTL", 0xe0],
  ["PEDATA", 0xe4],
  ["PEADDR", 0xe8],
  ["PEUADDR", 0xec],
  ["MTRRCAP", 0x100],
  ["MTRRDEF", 0x108],
  ["nothing", 0xffc],
];

describe("each register", () => {
  test.each(registers)("%s: reset value and writable bits", (_, offset, reset, written) => {
    expect(bench.read(offset)).toBe(reset);
    bench.write(offset, 0xffff_ffff);
    expect(bench.read(offset)).toBe(written);
    bench.unit.reset();
    expect(bench.read(offset)).toBe(reset);
  });

  test.each(notOffered)("%s is not offered: 0, and writes do nothing", (_, offset) => {
    bench.write(offset, 0xffff_ffff);
    expect(bench.read(offset)).toBe(0);
  });

  test("accesses other than aligned doublewords do nothing", () => {
    bench.unit.writeMmio(vtdAddress + VtdRegister.FaultEventAddress, 2, 0xffff);
    bench.unit.writeMmio(vtdAddress + VtdRegister.FaultEventAddress + 2, 4, 0xffff);
    expect(bench.read(VtdRegister.FaultEventAddress)).toBe(0);
    expect(bench.unit.readMmio(vtdAddress, 1)).toBe(0xff);
    expect(bench.unit.readMmio(vtdAddress + 2, 4)).toBe(0xffff_ffff);
  });

  test("the capability registers follow the model", () => {
    const small = new VtdBench({
      levels: [4],
      largePages: false,
      faultRegisters: 1,
      interruptPosting: false,
      snoopControl: false,
      deviceTlb: false,
      passThrough: false,
      extendedInterruptMode: false,
    });
    const capability = small.readWide(VtdRegister.Capability);
    expect((capability >> 8n) & 0x1fn).toBe(0b100n);
    expect((capability >> 16n) & 0x3fn).toBe(47n);
    expect((capability >> 34n) & 0xfn).toBe(0n);
    expect((capability >> 40n) & 0xffn).toBe(0n);
    expect((capability >> 59n) & 1n).toBe(0n);
    expect(small.read(VtdRegister.ExtendedCapability) & 0xdf).toBe(0x0b);
    small.write(VtdRegister.InterruptTable, 0xffff_ffff);
    expect(small.read(VtdRegister.InterruptTable)).toBe(0xffff_f00f);
  });
});

describe("global command", () => {
  const status = (): number => bench.read(VtdRegister.GlobalStatus);

  test("each change shows in the status; pointers stay set", () => {
    expect(status()).toBe(0);
    let expected = 0;
    for (const bit of Object.values(GlobalBit)) {
      bench.command(bit);
      expected = (expected | bit) >>> 0;
      expect(status()).toBe(expected);
    }
    for (const bit of [GlobalBit.Translation, GlobalBit.Queue, GlobalBit.InterruptRemapping]) {
      bench.command(bit, false);
      expected = (expected & ~bit) >>> 0;
      expect(status()).toBe(expected);
    }
    expect(expected & GlobalBit.RootTable).not.toBe(0);
  });

  test("it cannot be read, nor the status written", () => {
    bench.write(VtdRegister.GlobalCommand, GlobalBit.Translation);
    expect(bench.read(VtdRegister.GlobalCommand)).toBe(0);
    bench.write(VtdRegister.GlobalStatus, 0);
    expect(status()).toBe(GlobalBit.Translation);
  });

  test("bits for what the unit does not have stay 0", () => {
    bench.write(VtdRegister.GlobalCommand, 0x387f_ffff);
    expect(status()).toBe(0);
  });

  test("table addresses count when they are taken over, not when they are written", () => {
    bench.setContext(function4, { kind: 2 });
    bench.enableTranslation();
    bench.memory[0x3000] = 0x33;
    expect(bench.dmaRead(0x3000)).toBe(0x33);
    bench.writeWide(VtdRegister.RootTable, 0xf000n);
    bench.writeWide(VtdRegister.ContextCommand, 0xa000_0000_0000_0000n);
    expect(bench.dmaRead(0x3000)).toBe(0x33);
    bench.command(GlobalBit.RootTable);
    // What is cached stays until it is invalidated.
    expect(bench.dmaRead(0x3000)).toBe(0x33);
    bench.writeWide(VtdRegister.ContextCommand, 0xa000_0000_0000_0000n);
    expect(bench.dmaRead(0x3000)).toBeUndefined();
  });

  test("switched off, addresses are physical again", () => {
    bench.enableTranslation();
    expect(bench.dmaRead(0x3000)).toBeUndefined();
    bench.command(GlobalBit.Translation, false);
    expect(bench.dmaRead(0x3000)).toBe(0);
  });
});

describe("the fault log", () => {
  /** A fault of the function with that number: root entry not present. */
  const fault = (requester: number): void => {
    bench.dmaRead(requester * 4096, requester);
  };

  beforeEach(() => bench.enableTranslation());

  test("records in order; the first pending record is named", () => {
    for (const requester of [7, 3, 5]) fault(requester);
    expect(bench.status).toBe(FaultStatusBit.Pending);
    expect(bench.takeFaults().map((each) => each.requester)).toEqual([7, 3, 5]);
    expect(bench.status).toBe(0);
    fault(9);
    expect(bench.status).toBe(FaultStatusBit.Pending | (3 << 8));
    fault(10);
    bench.write(VtdRegister.FaultRecord + 3 * 16 + 12, 0x8000_0000);
    expect(bench.status).toBe(FaultStatusBit.Pending | (4 << 8));
  });

  test("is full: the fault is lost and overflow told, until software clears it", () => {
    for (let requester = 1; requester <= 9; requester++) fault(requester);
    expect(bench.status).toBe(FaultStatusBit.Pending | FaultStatusBit.Overflow);
    bench.write(VtdRegister.FaultRecord + 12, 0x8000_0000);
    fault(20);
    expect(bench.read(VtdRegister.FaultRecord + 12) >>> 31).toBe(0);
    bench.write(VtdRegister.FaultStatus, FaultStatusBit.Overflow);
    fault(21);
    expect(bench.takeFaults().map((each) => each.requester)).toEqual([2, 3, 4, 5, 6, 7, 8, 21]);
    expect(bench.status).toBe(0);
  });

  test("a record changes by its F bit alone, which only a one clears", () => {
    fault(7);
    const at = VtdRegister.FaultRecord;
    const words = (): number[] => [0, 4, 8, 12].map((offset) => bench.read(at + offset));
    const before = words();
    for (const offset of [0, 4, 8]) bench.write(at + offset, 0xffff_ffff);
    bench.write(at + 12, 0x7fff_ffff);
    expect(words()).toEqual(before);
    bench.write(at + 12, 0x8000_0000);
    expect(words()[3]).toBe((before[3] ?? 0) & 0x7fff_ffff);
  });

  test("pending and first record are not software's to write", () => {
    fault(7);
    bench.write(VtdRegister.FaultStatus, 0xffff_ffff);
    expect(bench.status).toBe(FaultStatusBit.Pending);
  });

  test("the first cause brings an interrupt, the next ones none until all are attended to", () => {
    bench.write(VtdRegister.FaultEventData, 0x4031);
    bench.write(VtdRegister.FaultEventAddress, 0xfee0_6004);
    bench.write(VtdRegister.FaultEventControl, 0);
    fault(1);
    fault(2);
    expect(bench.sent).toMatchObject([{ vector: 0x31, destination: 6, logical: true }]);
    bench.takeFaults();
    fault(3);
    expect(bench.sent).toHaveLength(2);
  });

  test("masked it waits, and goes out when the mask is lifted, or never if attended to before", () => {
    expect(bench.read(VtdRegister.FaultEventControl)).toBe(0x8000_0000);
    fault(1);
    expect(bench.read(VtdRegister.FaultEventControl)).toBe(0xc000_0000);
    bench.write(VtdRegister.FaultEventControl, 0xffff_ffff);
    expect(bench.sent).toEqual([]);
    bench.write(VtdRegister.FaultEventControl, 0);
    expect(bench.sent).toHaveLength(1);
    expect(bench.read(VtdRegister.FaultEventControl)).toBe(0);
    bench.takeFaults();
    bench.write(VtdRegister.FaultEventControl, 0x8000_0000);
    fault(2);
    bench.takeFaults();
    expect(bench.read(VtdRegister.FaultEventControl)).toBe(0x8000_0000);
    bench.write(VtdRegister.FaultEventControl, 0);
    expect(bench.sent).toHaveLength(1);
  });

  test("its interrupt has a 32-bit destination in extended interrupt mode, and is not remapped", () => {
    bench.enableInterrupts(7, true);
    bench.write(VtdRegister.FaultEventData, 0x31);
    bench.write(VtdRegister.FaultEventAddress, 0xfee7_8000);
    bench.write(VtdRegister.FaultEventAddressHigh, 0x1234_5600);
    bench.write(VtdRegister.FaultEventControl, 0);
    fault(1);
    expect(bench.sent).toMatchObject([{ vector: 0x31, destination: 0x1234_5678, wide: true }]);
  });
});
