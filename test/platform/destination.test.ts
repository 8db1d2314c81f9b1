import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ApicMode } from "../../src/cpu/local-apic/registers.ts";
import { type ApicIdentity, isDestination } from "../../src/platform/destination.ts";
import {
  DeliveryMode,
  type InterruptMessage,
  Shorthand,
} from "../../src/protocol/interrupt-message.ts";

function message(fields: Partial<InterruptMessage>): InterruptMessage {
  return {
    vector: 0x40,
    deliveryMode: DeliveryMode.Fixed,
    logical: false,
    level: false,
    assert: true,
    shorthand: Shorthand.None,
    destination: 0,
    wide: false,
    source: 0,
    ...fields,
  };
}

const flat = 0xffff_ffff;
const cluster = 0x0fff_ffff;

const xapic = (id: number, logical = 0, format = flat): ApicIdentity => ({
  mode: ApicMode.XApic,
  xapicId: id & 0xff,
  x2apicId: id,
  logicalDestination: (logical << 24) >>> 0,
  destinationFormat: format,
});
const x2apic = (id: number): ApicIdentity => ({
  mode: ApicMode.X2Apic,
  xapicId: id & 0xff,
  x2apicId: id,
  logicalDestination: (((id >>> 4) << 16) | (1 << (id & 15))) >>> 0,
  destinationFormat: flat,
});

const reaches = (fields: Partial<InterruptMessage>, target: ApicIdentity): boolean =>
  isDestination(message(fields), target, 1);

describe("physical destination", () => {
  test("xAPIC: the id, and FFH for all", () => {
    expect(reaches({ destination: 3 }, xapic(3))).toBe(true);
    expect(reaches({ destination: 3 }, xapic(4))).toBe(false);
    expect(reaches({ destination: 0xff }, xapic(4))).toBe(true);
  });

  test("x2APIC: the 32-bit id, and FFFFFFFFH for all; FFH is an id like any other", () => {
    expect(reaches({ wide: true, destination: 0x103 }, x2apic(0x103))).toBe(true);
    expect(reaches({ wide: true, destination: 3 }, x2apic(0x103))).toBe(false);
    expect(reaches({ wide: true, destination: 0xffff_ffff }, x2apic(0x103))).toBe(true);
    expect(reaches({ wide: true, destination: 0xff }, x2apic(3))).toBe(false);
    expect(reaches({ wide: true, destination: 0xff }, x2apic(0xff))).toBe(true);
  });

  test("an 8-bit message reaches an x2APIC by its id, and FFH reaches all", () => {
    expect(reaches({ destination: 3 }, x2apic(3))).toBe(true);
    expect(reaches({ destination: 3 }, x2apic(0x103))).toBe(false);
    expect(reaches({ destination: 0xff }, x2apic(0x103))).toBe(true);
  });

  test("a wide message starts an LP that is still in xAPIC mode, by either id", () => {
    expect(reaches({ wide: true, destination: 3 }, xapic(3))).toBe(true);
    expect(reaches({ wide: true, destination: 0x103 }, xapic(0x103))).toBe(true);
  });

  test("a disabled APIC is nobody's destination", () => {
    const disabled = { ...xapic(3), mode: ApicMode.Disabled };
    expect(reaches({ destination: 3 }, disabled)).toBe(false);
    expect(reaches({ destination: 0xff }, disabled)).toBe(false);
    expect(reaches({ shorthand: Shorthand.AllIncludingSelf }, disabled)).toBe(false);
  });
});

describe("logical destination", () => {
  test("flat: any common bit", () => {
    expect(reaches({ logical: true, destination: 0x06 }, xapic(0, 0x04))).toBe(true);
    expect(reaches({ logical: true, destination: 0x0a }, xapic(0, 0x04))).toBe(false);
    expect(reaches({ logical: true, destination: 0x06 }, xapic(0, 0))).toBe(false);
  });

  test("cluster: the same high nibble and a common bit of the low one", () => {
    expect(reaches({ logical: true, destination: 0x23 }, xapic(0, 0x22, cluster))).toBe(true);
    expect(reaches({ logical: true, destination: 0x13 }, xapic(0, 0x22, cluster))).toBe(false);
    expect(reaches({ logical: true, destination: 0x2d }, xapic(0, 0x22, cluster))).toBe(false);
    // In the flat model the same numbers do meet.
    expect(reaches({ logical: true, destination: 0x2d }, xapic(0, 0x22, flat))).toBe(true);
  });

  test("all ones is broadcast in every model", () => {
    expect(reaches({ logical: true, destination: 0xff }, xapic(0, 0))).toBe(true);
    expect(reaches({ logical: true, destination: 0xff }, xapic(0, 0x22, cluster))).toBe(true);
  });

  test("x2APIC: cluster in the high half, bits in the low half", () => {
    const destination = (0x10 << 16) | 0b1010;
    expect(reaches({ logical: true, wide: true, destination }, x2apic(0x103))).toBe(true);
    expect(reaches({ logical: true, wide: true, destination }, x2apic(0x102))).toBe(false);
    expect(reaches({ logical: true, wide: true, destination }, x2apic(0x113))).toBe(false);
  });

  test("an 8-bit message means cluster 0 to an x2APIC", () => {
    const reached = [0, 1, 2, 3, 16].filter((id) =>
      reaches({ logical: true, destination: 0x0d }, x2apic(id)),
    );
    expect(reached).toEqual([0, 2, 3]);
  });

  test("property: an x2APIC's own logical id reaches it and no other of the ids below 2^20", () => {
    const id = fc.integer({ min: 0, max: 2 ** 20 - 1 });
    fc.assert(
      fc.property(id, id, (own, other) => {
        const destination = x2apic(own).logicalDestination;
        fc.pre(destination !== 0xffff_ffff);
        expect(reaches({ logical: true, wide: true, destination }, x2apic(other))).toBe(
          own === other,
        );
      }),
    );
  });
});

test("shorthands", () => {
  const target = xapic(9);
  const at = (shorthand: Shorthand, index: number): boolean =>
    isDestination(message({ shorthand, source: 1 }), target, index);
  expect([0, 1].map((index) => at(Shorthand.Self, index))).toEqual([false, true]);
  expect([0, 1].map((index) => at(Shorthand.AllIncludingSelf, index))).toEqual([true, true]);
  expect([0, 1].map((index) => at(Shorthand.AllExcludingSelf, index))).toEqual([true, false]);
});
