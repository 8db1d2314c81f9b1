import { describe, expect, test } from "vitest";
import { ApicMode, ApicRegister } from "../../../src/cpu/local-apic/registers.ts";
import { lpOffset } from "../../../src/execution/lp-window.ts";
import { DeliveryMode } from "../../../src/protocol/interrupt-message.ts";
import { ApicHarness } from "./apic-harness.ts";

const enabled = 0x800n;
const extended = 0x400n;
const base = 0xfee0_0000n;

/** Harness in each of the three modes. */
const inMode = {
  disabled: () => {
    const harness = new ApicHarness();
    harness.apic.writeBaseRegister(base);
    return harness;
  },
  xapic: () => new ApicHarness(),
  x2apic: () => new ApicHarness().extended(),
};

describe("IA32_APIC_BASE", () => {
  test("after reset: enabled, at its usual place, boot processor flagged", () => {
    expect(new ApicHarness({ bootProcessor: true }).apic.baseRegister).toBe(0xfee0_0900n);
    expect(new ApicHarness({ bootProcessor: false }).apic.baseRegister).toBe(0xfee0_0800n);
  });

  test.each([
    ["disabled", 0n, true],
    ["disabled", enabled, true],
    ["disabled", extended, false],
    ["disabled", enabled | extended, false],
    ["xapic", 0n, true],
    ["xapic", enabled, true],
    ["xapic", extended, false],
    ["xapic", enabled | extended, true],
    ["x2apic", 0n, true],
    ["x2apic", enabled, false],
    ["x2apic", extended, false],
    ["x2apic", enabled | extended, true],
  ] as const)("from %s, mode bits %s: allowed %s", (from, bits, allowed) => {
    const { apic } = inMode[from]();
    const before = apic.baseRegister;
    expect(apic.writeBaseRegister(base | bits)).toBe(allowed);
    expect(apic.baseRegister).toBe(allowed ? base | bits : before);
  });

  test("reserved bits: low byte, bit 9, above the physical address width", () => {
    const { apic } = new ApicHarness();
    for (const bit of [0n, 7n, 9n, 46n, 63n]) {
      expect([bit, apic.writeBaseRegister(base | enabled | (1n << bit))]).toEqual([bit, false]);
    }
    expect(apic.writeBaseRegister(enabled | (1n << 45n))).toBe(true);
  });

  test("the extended bit is reserved without x2APIC", () => {
    const { apic } = new ApicHarness({ x2apic: false });
    expect(apic.writeBaseRegister(base | enabled | extended)).toBe(false);
  });

  test("the page follows the base, and is gone outside xAPIC mode", () => {
    const { apic } = new ApicHarness();
    expect(apic.pageAddress).toBe(0xfee0_0000);
    apic.writeBaseRegister(0xfed4_0000n | enabled);
    expect(apic.pageAddress).toBe(0xfed4_0000);
    expect(inMode.x2apic().apic.pageAddress).toBe(-1);
    expect(inMode.disabled().apic.pageAddress).toBe(-1);
  });

  test("disabling and enabling again gives the reset state, the task priority of CR8 kept apart", () => {
    const harness = new ApicHarness({ apicId: 5 }).enable();
    harness.write(ApicRegister.Id, 0x77 << 24);
    harness.write(ApicRegister.LogicalDestination, 0x0100_0000);
    harness.request(0x40);
    harness.apic.writeBaseRegister(base);
    expect(harness.apic.enabled).toBe(false);
    expect(harness.apic.interruptPending()).toBe(false);
    harness.apic.cr8 = 7;
    expect(harness.apic.cr8).toBe(7);
    harness.apic.writeBaseRegister(base | enabled);
    expect(harness.read(ApicRegister.Id)).toBe(5 << 24);
    expect(harness.read(ApicRegister.LogicalDestination)).toBe(0);
    expect(harness.read(ApicRegister.SpuriousVector)).toBe(0xff);
    expect(harness.vectors(ApicRegister.InterruptRequest)).toEqual([]);
    expect(harness.read(ApicRegister.TaskPriority)).toBe(0x70);
  });

  test("a disabled APIC takes no message, INIT included", () => {
    const harness = inMode.disabled();
    expect(harness.receive(DeliveryMode.Init)).toBe(0);
    expect(harness.receive(DeliveryMode.Nmi)).toBe(0);
  });

  test.each([
    [5, 0x0000_0020],
    [0x12, 0x0001_0004],
    [0x1_0234, (0x1023 << 16) | 0x10],
  ])("x2APIC mode: id %i, logical id %i", (apicId, logical) => {
    const { apic } = new ApicHarness({ apicId }).extended();
    expect(apic.readMsr(0x802)).toBe(BigInt(apicId));
    expect(apic.readMsr(0x80d)).toBe(BigInt(logical));
  });

  test("the mode and both ids are published in the window", () => {
    const { state } = new ApicHarness({ apicId: 0x123 }).extended();
    expect(state.read32(lpOffset.apicPage + 0x400)).toBe(ApicMode.X2Apic);
    expect(state.read32(lpOffset.apicPage + 0x404)).toBe(0x123);
  });
});

describe("INIT", () => {
  test("resets the registers but not the ids and the mode", () => {
    const harness = new ApicHarness().enable();
    harness.write(ApicRegister.Id, 9 << 24);
    harness.write(ApicRegister.LvtTimer, 0x40);
    harness.write(ApicRegister.InitialCount, 1000);
    harness.request(0x50);
    harness.apic.initialize();
    expect(harness.read(ApicRegister.Id)).toBe(9 << 24);
    expect(harness.read(ApicRegister.SpuriousVector)).toBe(0xff);
    expect(harness.read(ApicRegister.LvtTimer)).toBe(0x1_0000);
    expect(harness.read(ApicRegister.CurrentCount)).toBe(0);
    expect(harness.apic.interruptPending()).toBe(false);
    expect(harness.apic.baseRegister).toBe(0xfee0_0900n);
  });

  test("in x2APIC mode the logical id stays", () => {
    const { apic } = new ApicHarness({ apicId: 0x12 }).extended();
    apic.initialize();
    expect(apic.mode).toBe(ApicMode.X2Apic);
    expect(apic.readMsr(0x80d)).toBe(0x0001_0004n);
    expect(apic.readMsr(0x802)).toBe(0x12n);
  });
});
