import { describe, expect, test } from "vitest";
import { ApicRegister, registerRules } from "../../../src/cpu/local-apic/registers.ts";
import { ApicHarness } from "./apic-harness.ts";

const errorIllegalRegister = 1 << 7;

function latchedErrors(harness: ApicHarness): number {
  harness.write(ApicRegister.ErrorStatus, 0);
  return harness.read(ApicRegister.ErrorStatus);
}

describe("xAPIC registers", () => {
  test("after reset", () => {
    const harness = new ApicHarness({ apicId: 5 });
    expect(harness.read(ApicRegister.Id)).toBe(5 << 24);
    expect(harness.read(ApicRegister.Version)).toBe(0x0106_0015);
    expect(harness.read(ApicRegister.DestinationFormat)).toBe(0xffff_ffff);
    expect(harness.read(ApicRegister.SpuriousVector)).toBe(0xff);
    for (const register of [0x2f0, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370]) {
      expect(harness.read(register)).toBe(0x1_0000);
    }
    expect(harness.read(ApicRegister.TaskPriority)).toBe(0);
    expect(harness.read(ApicRegister.LogicalDestination)).toBe(0);
  });

  test("reserved bits are dropped, read-only bits kept", () => {
    const harness = new ApicHarness().enable();
    const written = new Map<number, number>([
      [ApicRegister.Id, 0xff00_0000],
      [ApicRegister.TaskPriority, 0xff],
      [ApicRegister.LogicalDestination, 0xff00_0000],
      [ApicRegister.DestinationFormat, 0xffff_ffff],
      [ApicRegister.LvtTimer, 0x7_00ff],
      [ApicRegister.LvtThermal, 0x1_07ff],
      [ApicRegister.LvtLint0, 0x1_a7ff],
      [ApicRegister.LvtError, 0x1_00ff],
      [ApicRegister.DivideConfiguration, 0xb],
      [ApicRegister.CommandHigh, 0xff00_0000],
      [ApicRegister.SpuriousVector, 0x13ff],
    ]);
    for (const [register, kept] of written) {
      harness.write(register, 0xffff_ffff);
      expect([register, harness.read(register)]).toEqual([register, kept]);
    }
    harness.write(ApicRegister.DestinationFormat, 0);
    expect(harness.read(ApicRegister.DestinationFormat)).toBe(0x0fff_ffff);
  });

  test("a read-only register ignores writes", () => {
    const harness = new ApicHarness().enable();
    for (const register of [ApicRegister.Version, ApicRegister.ProcessorPriority, 0x200]) {
      const before = harness.read(register);
      harness.write(register, 0x1234_5678);
      expect(harness.read(register)).toBe(before);
    }
    expect(latchedErrors(harness)).toBe(0);
  });

  test("a reserved offset reads zero and is an error, latched by the next write of the status", () => {
    const harness = new ApicHarness().enable();
    expect(harness.read(0x040)).toBe(0);
    expect(harness.read(ApicRegister.ErrorStatus)).toBe(0);
    expect(latchedErrors(harness)).toBe(errorIllegalRegister);
    expect(latchedErrors(harness)).toBe(0);
    harness.write(0x3f0, 0x40);
    expect(latchedErrors(harness)).toBe(errorIllegalRegister);
  });

  test("an error requests the error vector, once until the status is written", () => {
    const harness = new ApicHarness().enable();
    harness.write(ApicRegister.LvtError, 0xe0);
    harness.read(0x040);
    expect(harness.apic.acknowledge()).toBe(0xe0);
    harness.write(ApicRegister.EndOfInterrupt, 0);
    harness.read(0x040);
    expect(harness.apic.interruptPending()).toBe(false);
    harness.write(ApicRegister.ErrorStatus, 0);
    harness.read(0x040);
    expect(harness.apic.highestPending()).toBe(0xe0);
  });

  test("narrow reads give a part, only whole aligned writes take effect", () => {
    const harness = new ApicHarness({ apicId: 5 });
    expect(harness.apic.readMmio(ApicRegister.Id + 3, 1)).toBe(5);
    expect(harness.apic.readMmio(ApicRegister.Version + 2, 2)).toBe(0x0106);
    expect(harness.apic.readMmio(ApicRegister.Id + 4, 4)).toBe(0);
    harness.apic.writeMmio(ApicRegister.TaskPriority, 1, 0x40);
    harness.apic.writeMmio(ApicRegister.TaskPriority + 4, 4, 0x40);
    expect(harness.read(ApicRegister.TaskPriority)).toBe(0);
  });
});

describe("x2APIC registers", () => {
  const msrOf = (register: number): number => 0x800 + register / 16;

  test("no MSR answers outside x2APIC mode", () => {
    const harness = new ApicHarness();
    expect(harness.apic.readMsr(0x802)).toBeUndefined();
    expect(harness.apic.writeMsr(0x808, 0n)).toBe(false);
  });

  test("every MSR follows its row: readable, writable, or #GP", () => {
    const harness = new ApicHarness().enable().extended();
    for (let msr = 0x800; msr <= 0x8ff; msr++) {
      const access = registerRules.get((msr - 0x800) * 16)?.x2apic ?? "none";
      expect([msr, harness.apic.readMsr(msr) !== undefined]).toEqual([
        msr,
        access === "rw" || access === "ro",
      ]);
      const written = harness.apic.writeMsr(msr, 0n);
      expect([msr, written]).toEqual([msr, access === "rw" || access === "wo"]);
    }
  });

  test("the readable set is the architecture's", () => {
    const harness = new ApicHarness().extended();
    const readable = Array.from({ length: 0x100 }, (_, n) => 0x800 + n).filter(
      (msr) => harness.apic.readMsr(msr) !== undefined,
    );
    const range = (first: number, count: number): number[] =>
      Array.from({ length: count }, (_, n) => first + n);
    expect(readable).toEqual([
      0x802,
      0x803,
      0x808,
      0x80a,
      0x80d,
      0x80f,
      ...range(0x810, 24),
      0x828,
      0x82f,
      0x830,
      ...range(0x832, 8),
      0x83e,
    ]);
  });

  test("a reserved bit is #GP and changes nothing", () => {
    const harness = new ApicHarness().enable().extended();
    const invalid: [number, bigint][] = [
      [ApicRegister.TaskPriority, 0x100n],
      [ApicRegister.TaskPriority, 1n << 32n],
      [ApicRegister.EndOfInterrupt, 1n],
      [ApicRegister.ErrorStatus, 1n],
      [ApicRegister.SpuriousVector, 0x400n],
      [ApicRegister.LvtTimer, 0x8_0000n],
      [ApicRegister.LvtError, 0x100n],
      [ApicRegister.DivideConfiguration, 4n],
      [ApicRegister.CommandLow, 0x2000n],
      [ApicRegister.CommandLow, 0x10_0000n],
      [ApicRegister.SelfIpi, 0x100n],
    ];
    for (const [register, value] of invalid) {
      expect([register, harness.apic.writeMsr(msrOf(register), value)]).toEqual([register, false]);
    }
    expect(harness.sent).toEqual([]);
    expect(harness.apic.readMsr(msrOf(ApicRegister.TaskPriority))).toBe(0n);
  });

  test("writing back a read-only status bit is allowed", () => {
    const harness = new ApicHarness().enable().extended();
    expect(harness.apic.writeMsr(msrOf(ApicRegister.LvtLint0), 0x5040n)).toBe(true);
    expect(harness.apic.readMsr(msrOf(ApicRegister.LvtLint0))).toBe(0x40n);
  });

  test("the interrupt command register is one 64-bit register", () => {
    const harness = new ApicHarness().enable().extended();
    const value = (0x1_0002n << 32n) | 0x4040n;
    expect(harness.apic.writeMsr(msrOf(ApicRegister.CommandLow), value)).toBe(true);
    expect(harness.apic.readMsr(msrOf(ApicRegister.CommandLow))).toBe(value);
    expect(harness.sent[0]).toMatchObject({ destination: 0x1_0002, wide: true, vector: 0x40 });
  });
});

test("CR8 is the class of the task priority", () => {
  const harness = new ApicHarness();
  harness.apic.cr8 = 9;
  expect(harness.read(ApicRegister.TaskPriority)).toBe(0x90);
  harness.write(ApicRegister.TaskPriority, 0x4f);
  expect(harness.apic.cr8).toBe(4);
});
