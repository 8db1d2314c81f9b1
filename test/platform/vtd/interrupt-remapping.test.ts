import { beforeEach, describe, expect, test } from "vitest";
import { FaultReason } from "../../../src/platform/vtd/fault-reasons.ts";
import { GlobalBit, VtdRegister } from "../../../src/platform/vtd/registers.ts";
import { DeliveryMode, type InterruptMessage } from "../../../src/protocol/interrupt-message.ts";
import { descriptor, function4, place, ramBytes, VtdBench } from "./vtd-bench.ts";

let bench: VtdBench;
beforeEach(() => {
  bench = new VtdBench();
});

const ioapic = 0xf0f8;
const present = 1n;
const vector = (value: number): bigint => BigInt(value) << 16n;
/** Destination with eight bits. */
const to = (id: number): bigint => BigInt(id) << 40n;

/** The address of a message in the remappable format. */
function remappable(handle: number, subhandleValid = false): number {
  const low = (handle & 0x7fff) << 5;
  return (0xfee0_0010 | low | (handle >>> 15 ? 4 : 0) | (subhandleValid ? 8 : 0)) >>> 0;
}
function message(
  address: number,
  data: number,
  requester = function4,
): InterruptMessage | undefined {
  bench.sent.length = 0;
  bench.unit.port(requester).message(address, data);
  return bench.sent[0];
}

const fixed: InterruptMessage = {
  vector: 0x51,
  deliveryMode: DeliveryMode.Fixed,
  logical: false,
  level: false,
  assert: true,
  shorthand: 0,
  destination: 3,
  wide: false,
  source: -1,
};

describe("compatibility format", () => {
  const address = 0xfee0_3000;

  test("passes while remapping is off", () => {
    expect(message(address, 0x51)).toEqual(fixed);
    expect(message(address + 4, 0x0151)).toMatchObject({ logical: true, deliveryMode: 1 });
    expect(message(address + 0xc, 0x51)).toMatchObject({
      deliveryMode: DeliveryMode.LowestPriority,
    });
    expect(message(address + 8, 0x51)).toMatchObject({ deliveryMode: DeliveryMode.Fixed });
    expect(message(address, 0xc051)).toMatchObject({ level: true, assert: true });
    expect(message(address, 0x8051)).toMatchObject({ level: true, assert: false });
  });

  test("modes that devices cannot ask for are dropped", () => {
    expect(message(address, 0x0351)).toBeUndefined();
    expect(message(address, 0x0651)).toBeUndefined();
  });

  test("is blocked under remapping, unless it is let through", () => {
    bench.enableInterrupts();
    expect(message(address, 0x51)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.CompatibilityBlocked);
    bench.command(GlobalBit.CompatibilityFormat);
    expect(message(address, 0x51)).toEqual(fixed);
  });

  test("is blocked in extended interrupt mode whatever is said", () => {
    bench.enableInterrupts(7, true);
    bench.command(GlobalBit.CompatibilityFormat);
    expect(message(address, 0x51)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.CompatibilityBlocked);
    expect(bench.unit.ioapicMessage(ioapic, 0x51, 0)).toBe(true);
    expect(bench.takeReason()).toBe(FaultReason.CompatibilityBlocked);
  });
});

describe("remappable format", () => {
  test("the entry says what the interrupt is", () => {
    bench.enableInterrupts();
    bench.setInterruptEntry(9, present | vector(0x51) | to(3));
    expect(message(remappable(9), 0)).toEqual(fixed);
    bench.setInterruptEntry(10, present | (0b0011_1110n << 1n) | vector(0x52) | to(0x81));
    expect(message(remappable(10), 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.InterruptEntryReserved);
    bench.setInterruptEntry(
      11,
      present | (1n << 2n) | (1n << 3n) | (1n << 4n) | vector(0x52) | to(0x81),
    );
    expect(message(remappable(11), 0)).toMatchObject({
      deliveryMode: DeliveryMode.LowestPriority,
      logical: true,
      level: true,
      destination: 0x81,
    });
  });

  test("handle and subhandle add up; the handle has sixteen bits", () => {
    bench.enableInterrupts(15);
    bench.setInterruptEntry(7, present | vector(0x47) | to(3));
    expect(message(remappable(5, true), 2)?.vector).toBe(0x47);
    expect(message(remappable(7, false), 2)?.vector).toBe(0x47);
    bench.setInterruptEntry(0xffff, present | vector(0x48) | to(3));
    expect(message(remappable(0xffff), 0)?.vector).toBe(0x48);
    expect(message(remappable(0xffff, true), 1)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.InterruptIndex);
  });

  test("destinations have 32 bits in extended interrupt mode", () => {
    bench.enableInterrupts(7, true);
    bench.setInterruptEntry(9, present | vector(0x51) | (0x1234_5678n << 32n));
    expect(message(remappable(9), 0)).toMatchObject({ destination: 0x1234_5678, wide: true });
  });
});

describe("an I/O APIC's entry", () => {
  const high = (index: number): number => (((index & 0x7fff) << 17) | 0x1_0000) >>> 0;
  const low = (index: number): number => 0x51 | (index >>> 15 ? 0x800 : 0);

  test("is the I/O APIC's own business without remapping, or where its format is let through", () => {
    expect(bench.unit.ioapicMessage(ioapic, 0x51, high(3))).toBe(false);
    bench.enableInterrupts();
    bench.command(GlobalBit.CompatibilityFormat);
    expect(bench.unit.ioapicMessage(ioapic, 0x51, 0)).toBe(false);
    expect(bench.sent).toEqual([]);
  });

  test("names a table entry", () => {
    bench.enableInterrupts(15);
    bench.setInterruptEntry(0x8003, present | vector(0x51) | to(3));
    expect(bench.unit.ioapicMessage(ioapic, low(0x8003), high(0x8003))).toBe(true);
    expect(bench.sent).toEqual([fixed]);
  });

  test("is blocked when bits 10:8 are not 0", () => {
    bench.enableInterrupts();
    expect(bench.unit.ioapicMessage(ioapic, 0x151, high(3))).toBe(true);
    expect(bench.takeReason()).toBe(FaultReason.InterruptRequestReserved);
  });

  test("may be the I/O APIC's, or that of the function whose pin it serves, nobody else's", () => {
    bench.enableInterrupts();
    const source = (id: number): bigint => BigInt(id) | (1n << 18n);
    const entries = [ioapic, function4, function4 + 8].entries();
    for (const [index, id] of entries) {
      bench.setInterruptEntry(index, present | vector(0x60 + index) | to(3), source(id));
      bench.unit.ioapicMessage(ioapic, low(index), high(index), function4);
    }
    expect(bench.sent.map((each) => each.vector)).toEqual([0x60, 0x61]);
    expect(bench.takeFaults()).toMatchObject([
      { reason: FaultReason.SourceNotValid, requester: ioapic, information: 2n << 48n },
    ]);
  });
});

describe("every reason to block an interrupt", () => {
  const good = present | vector(0x51) | to(3);
  const posted = present | (1n << 15n) | vector(0x51) | (BigInt(place.descriptor) << 32n);
  const reserved: readonly [string, bigint, bigint][] = [
    ...[12, 13, 14, 24, 31, 32, 39, 48, 63].map((bit): [string, bigint, bigint] => [
      `remapped entry ${bit}`,
      good | (1n << BigInt(bit)),
      0n,
    ]),
    ...[84, 95, 96, 127].map((bit): [string, bigint, bigint] => [
      `remapped entry ${bit}`,
      good,
      1n << BigInt(bit - 64),
    ]),
    ["reserved delivery mode", good | (3n << 5n), 0n],
    ["start-up IPI", good | (6n << 5n), 0n],
    ["reserved source validation type", good, 3n << 18n],
    ...[2, 7, 12, 13, 24, 31, 32, 37].map((bit): [string, bigint, bigint] => [
      `posted entry ${bit}`,
      posted | (1n << BigInt(bit)),
      0n,
    ]),
    ["posted entry 84", posted, 1n << 20n],
    ["posted entry 95", posted, 1n << 31n],
  ];

  beforeEach(() => bench.enableInterrupts());

  test.each(reserved)("reserved: %s", (_, lowHalf, highHalf) => {
    bench.setInterruptEntry(9, lowHalf, highHalf);
    expect(message(remappable(9), 0)).toBeUndefined();
    expect(bench.takeFaults()).toEqual([
      {
        reason: FaultReason.InterruptEntryReserved,
        requester: function4,
        information: 9n << 48n,
        isRead: false,
        addressType: 0,
      },
    ]);
  });

  test("reserved bits of the request", () => {
    bench.setInterruptEntry(9, good);
    expect(message(remappable(9), 0x1_0000)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.InterruptRequestReserved);
  });

  test("index beyond the table", () => {
    expect(message(remappable(255), 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.InterruptEntryNotPresent);
    expect(message(remappable(256), 0)).toBeUndefined();
    expect(bench.takeFaults()).toMatchObject([
      { reason: FaultReason.InterruptIndex, information: 256n << 48n },
    ]);
  });

  test("entry not present", () => {
    bench.setInterruptEntry(9, good & ~present);
    expect(message(remappable(9), 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.InterruptEntryNotPresent);
  });

  test("table outside RAM", () => {
    bench.writeWide(VtdRegister.InterruptTable, BigInt(ramBytes) | 7n);
    bench.command(GlobalBit.InterruptTable);
    expect(message(remappable(9), 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.InterruptEntryAccess);
  });

  test("descriptor outside RAM", () => {
    bench.setInterruptEntry(9, posted, 1n << 32n);
    expect(message(remappable(9), 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.DescriptorAccess);
  });

  test.each([258, 271, 280, 287, 320, 511])("descriptor bit %i", (bit) => {
    bench.setInterruptEntry(9, posted);
    bench.store(place.descriptor + Math.floor(bit / 64) * 8, 1n << BigInt(bit % 64));
    expect(message(remappable(9), 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.DescriptorReserved);
    expect(bench.load(place.descriptor + 8)).toBe(0n);
  });

  test("a unit that does not post has no posted entries", () => {
    bench = new VtdBench({ interruptPosting: false });
    bench.enableInterrupts();
    bench.setInterruptEntry(9, posted);
    expect(message(remappable(9), 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.InterruptEntryReserved);
  });

  test("with FPD nothing is recorded, also where the entry is not present", () => {
    for (const entry of [good | 2n | (1n << 24n), (good | 2n) & ~present]) {
      bench.setInterruptEntry(9, entry);
      expect(message(remappable(9), 0)).toBeUndefined();
    }
    expect(bench.status).toBe(0);
  });
});

describe("validation of the source", () => {
  const source = (id: number, qualifier: number, type: number): bigint =>
    BigInt(id) | (BigInt(qualifier) << 16n) | (BigInt(type) << 18n);

  test.each([
    ["none", source(0x1234, 0, 0), 0x0020, true],
    ["the id", source(0x0020, 0, 1), 0x0020, true],
    ["another id", source(0x0021, 0, 1), 0x0020, false],
    ["without bit 2", source(0x0024, 1, 1), 0x0020, true],
    ["without bit 2, other bit", source(0x0022, 1, 1), 0x0020, false],
    ["without bits 2:1", source(0x0026, 2, 1), 0x0020, true],
    ["without bits 2:1, other bit", source(0x0021, 2, 1), 0x0020, false],
    ["without bits 2:0", source(0x0027, 3, 1), 0x0020, true],
    ["without bits 2:0, other bit", source(0x0028, 3, 1), 0x0020, false],
    ["first bus of the range", source(0x0305, 0, 2), 0x0320, true],
    ["last bus of the range", source(0x0305, 0, 2), 0x05ff, true],
    ["before the range", source(0x0305, 0, 2), 0x02ff, false],
    ["after the range", source(0x0305, 0, 2), 0x0600, false],
  ])("%s", (_, high, requester, passes) => {
    bench.enableInterrupts();
    bench.setInterruptEntry(9, present | vector(0x51) | to(3), high);
    expect(message(remappable(9), 0, requester) !== undefined).toBe(passes);
    expect(bench.takeReason()).toBe(passes ? undefined : FaultReason.SourceNotValid);
  });
});

describe("the interrupt entry cache", () => {
  const entry = (value: number): bigint => present | vector(value) | to(3);

  beforeEach(() => {
    bench.enableQueue();
    bench.enableInterrupts(15);
    for (const index of [4, 5, 6, 7, 8]) {
      bench.setInterruptEntry(index, entry(0x40 + index));
      message(remappable(index), 0);
      bench.setInterruptEntry(index, entry(0x80 + index));
    }
  });
  const vectors = (): (number | undefined)[] =>
    [4, 5, 6, 7, 8].map((index) => message(remappable(index), 0)?.vector);

  test("keeps entries until they are invalidated", () => {
    expect(vectors()).toEqual([0x44, 0x45, 0x46, 0x47, 0x48]);
    bench.submit(descriptor.interruptEntries(5));
    expect(vectors()).toEqual([0x44, 0x85, 0x46, 0x47, 0x48]);
    bench.submit(descriptor.interruptEntries(7, 1));
    expect(vectors()).toEqual([0x44, 0x85, 0x86, 0x87, 0x48]);
    bench.submit(descriptor.interruptEntries());
    expect(vectors()).toEqual([0x84, 0x85, 0x86, 0x87, 0x88]);
  });

  test("a new table does not empty it", () => {
    bench.command(GlobalBit.InterruptTable);
    expect(vectors()[0]).toBe(0x44);
  });

  test("an entry that cannot be used is not kept", () => {
    bench.setInterruptEntry(9, 0n);
    expect(message(remappable(9), 0)).toBeUndefined();
    bench.setInterruptEntry(9, entry(0x99));
    expect(message(remappable(9), 0)?.vector).toBe(0x99);
  });

  test("another entry may push one out", () => {
    expect(message(remappable(4 + 1024), 0)).toBeUndefined();
    expect(vectors()[0]).toBe(0x84);
  });
});

describe("fetching an entry", () => {
  test("at once: never half old and half new; in halves: so it can be", () => {
    const change = (): void => {
      bench.setInterruptEntry(9, present | vector(0x52) | to(3), 0xdeadn | (1n << 18n));
    };
    bench = new VtdBench({}, { betweenHalves: change });
    bench.enableInterrupts();
    bench.setInterruptEntry(9, present | vector(0x51) | to(3), BigInt(function4) | (1n << 18n));
    // The lower half is the old entry's, the upper half with the source the new one's.
    expect(message(remappable(9), 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.SourceNotValid);
  });
});
