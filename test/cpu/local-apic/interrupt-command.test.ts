import { describe, expect, test } from "vitest";
import { ApicRegister } from "../../../src/cpu/local-apic/registers.ts";
import { DeliveryMode, Shorthand } from "../../../src/protocol/interrupt-message.ts";
import { ApicHarness } from "./apic-harness.ts";

function send(harness: ApicHarness, low: number, high = 0): void {
  harness.write(ApicRegister.CommandHigh, high);
  harness.write(ApicRegister.CommandLow, low);
}

describe("the interrupt command register", () => {
  test("sends what its fields say, with the LP as the source", () => {
    const harness = new ApicHarness();
    send(harness, 0x4041 | (1 << 11), 0x0300_0000);
    expect(harness.sent).toEqual([
      {
        vector: 0x41,
        deliveryMode: DeliveryMode.Fixed,
        logical: true,
        level: false,
        assert: true,
        shorthand: Shorthand.None,
        destination: 3,
        wide: false,
        source: 3,
      },
    ]);
    expect(harness.read(ApicRegister.CommandLow)).toBe(0x4841);
  });

  test("writing the high half alone sends nothing", () => {
    const harness = new ApicHarness();
    harness.write(ApicRegister.CommandHigh, 0x0100_0000);
    expect(harness.sent).toEqual([]);
  });

  test.each(Object.entries(Shorthand))("shorthand %s", (_, shorthand) => {
    const harness = new ApicHarness();
    send(harness, 0x4041 | (shorthand << 18));
    expect(harness.sent[0]?.shorthand).toBe(shorthand);
  });

  test.each([
    DeliveryMode.LowestPriority,
    DeliveryMode.Smi,
    DeliveryMode.Nmi,
    DeliveryMode.Init,
    DeliveryMode.Startup,
  ])("delivery mode %i goes out", (mode) => {
    const harness = new ApicHarness();
    send(harness, 0x4040 | (mode << 8));
    expect(harness.sent[0]).toMatchObject({ deliveryMode: mode, vector: 0x40 });
  });

  test.each([3, 7])("delivery mode %i does not exist between processors", (mode) => {
    const harness = new ApicHarness();
    send(harness, 0x4040 | (mode << 8));
    expect(harness.sent).toEqual([]);
  });

  test("INIT level de-assert is not sent, a level-triggered INIT assert is", () => {
    const harness = new ApicHarness();
    send(harness, 0x8500);
    expect(harness.sent).toEqual([]);
    send(harness, 0xc500);
    expect(harness.sent).toHaveLength(1);
  });

  test("the trigger mode of a fixed interrupt is ignored", () => {
    const harness = new ApicHarness();
    send(harness, 0xc041);
    expect(harness.sent[0]?.level).toBe(false);
  });

  test("an illegal vector is not sent but reported; NMI and start-up have no vector to be illegal", () => {
    const harness = new ApicHarness().enable();
    send(harness, 0x400f);
    expect(harness.sent).toEqual([]);
    harness.write(ApicRegister.ErrorStatus, 0);
    expect(harness.read(ApicRegister.ErrorStatus)).toBe(1 << 5);
    send(harness, 0x4400);
    send(harness, 0x4600);
    expect(harness.sent).toHaveLength(2);
  });

  test("a software-disabled APIC still sends", () => {
    const harness = new ApicHarness();
    send(harness, 0x4041);
    expect(harness.sent).toHaveLength(1);
  });
});

describe("the self-IPI register", () => {
  test("sends a fixed edge to the LP itself", () => {
    const harness = new ApicHarness().enable().extended();
    expect(harness.apic.writeMsr(0x83f, 0x41n)).toBe(true);
    expect(harness.sent[0]).toMatchObject({
      vector: 0x41,
      deliveryMode: DeliveryMode.Fixed,
      shorthand: Shorthand.Self,
      level: false,
      source: 3,
    });
  });

  test("reports an illegal vector", () => {
    const harness = new ApicHarness().enable().extended();
    expect(harness.apic.writeMsr(0x83f, 0xfn)).toBe(true);
    expect(harness.sent).toEqual([]);
    harness.apic.writeMsr(0x828, 0n);
    expect(harness.apic.readMsr(0x828)).toBe(1n << 5n);
  });
});
