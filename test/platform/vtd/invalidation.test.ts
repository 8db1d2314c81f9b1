import { beforeEach, describe, expect, test } from "vitest";
import { FaultReason } from "../../../src/platform/vtd/fault-reasons.ts";
import { FaultStatusBit, GlobalBit, VtdRegister } from "../../../src/platform/vtd/registers.ts";
import { descriptor, function4, place, ramBytes, VtdBench } from "./vtd-bench.ts";

let bench: VtdBench;
/** Functions 4 and 5, each in a domain of its own; pages 5 to 8 of each are mapped. */
const functions = [
  { requester: function4, domain: 1, table: 0 },
  { requester: function4 + 1, domain: 2, table: 0 },
];
const pages = [5, 6, 7, 8];
const before = 0xb0;
const after = 0xa0;

beforeEach(() => {
  bench = new VtdBench();
  bench.memory.fill(before, place.data, place.data + 0x1000);
  bench.memory.fill(after, place.data + 0x1000, place.data + 0x2000);
  for (const each of functions) {
    each.table = bench.newTable();
    bench.setContext(each.requester, each);
    mapAll(each.table, place.data);
  }
  bench.enableTranslation();
  readAll();
});

function mapAll(table: number, frame: number): void {
  for (const page of pages) bench.map(table, 3, BigInt(page), BigInt(frame) | 3n);
}
/** What the functions read, page by page. */
function readAll(): (number | undefined)[][] {
  return functions.map(({ requester }) =>
    pages.map((page) => bench.dmaRead(page * 4096, requester)),
  );
}
const [o, n] = [before, after];

/** The two ways to ask for the same. */
const ways = {
  registers: {
    prepare: () => undefined,
    context: (granularity: number, domain = 0, requester = 0, mask = 0) => {
      const low = BigInt(domain) | (BigInt(requester) << 16n) | (BigInt(mask) << 32n);
      const start = (1n << 63n) | (BigInt(granularity) << 61n);
      bench.writeWide(VtdRegister.ContextCommand, low | start);
      const done = bench.readWide(VtdRegister.ContextCommand);
      expect(done >> 63n).toBe(0n);
      expect((done >> 59n) & 3n).toBe(BigInt(granularity));
    },
    iotlb: (granularity: number, domain = 0, address = 0n, mask = 0) => {
      bench.writeWide(VtdRegister.InvalidateAddress, address | BigInt(mask));
      const what = (BigInt(granularity) << 60n) | (BigInt(domain) << 32n);
      bench.writeWide(VtdRegister.IotlbInvalidate, what | (1n << 63n));
      const done = bench.readWide(VtdRegister.IotlbInvalidate);
      expect(done >> 63n).toBe(0n);
      expect((done >> 57n) & 3n).toBe(BigInt(granularity));
    },
  },
  queue: {
    prepare: () => bench.enableQueue(),
    context: (granularity: number, domain = 0, requester = 0, mask = 0) =>
      bench.submit(descriptor.context(granularity, domain, requester, mask)),
    iotlb: (granularity: number, domain = 0, address = 0n, mask = 0) =>
      bench.submit(descriptor.iotlb(granularity, domain, address, mask)),
  },
};

describe.each(Object.entries(ways))("by %s", (_, way) => {
  beforeEach(() => {
    way.prepare();
    for (const { table } of functions) mapAll(table, place.data + 0x1000);
    expect(readAll()).toEqual([
      [o, o, o, o],
      [o, o, o, o],
    ]);
  });

  test("all translations", () => {
    way.iotlb(1);
    expect(readAll()).toEqual([
      [n, n, n, n],
      [n, n, n, n],
    ]);
  });

  test("a domain's translations", () => {
    way.iotlb(2, 2);
    expect(readAll()).toEqual([
      [o, o, o, o],
      [n, n, n, n],
    ]);
  });

  test("one page, and a naturally aligned group of pages", () => {
    way.iotlb(3, 1, 0x5000n);
    expect(readAll()[0]).toEqual([n, o, o, o]);
    way.iotlb(3, 1, 0x7000n, 1);
    expect(readAll()[0]).toEqual([n, n, n, o]);
    expect(readAll()[1]).toEqual([o, o, o, o]);
    way.iotlb(3, 1, 0n, 18);
    expect(readAll()[0]).toEqual([n, n, n, n]);
  });

  test("a large page goes as a whole", () => {
    const { table, requester } = functions[0] ?? { table: 0, requester: 0 };
    bench.map(table, 3, 512n, BigInt(place.data) | 0x83n, 2);
    const read = (): (number | undefined)[] =>
      [0x20_0000, 0x20_1000].map((address) => bench.dmaRead(address, requester));
    expect(read()).toEqual([o, n]);
    bench.map(table, 3, 512n, 0n, 2);
    expect(read()).toEqual([o, n]);
    way.iotlb(3, 1, 0x20_5000n);
    expect(read()).toEqual([undefined, undefined]);
  });

  test("context entries: all, a domain's, a function's, several functions'", () => {
    // A context entry that goes away is seen when the cached one does.
    const clear = (): void => {
      for (const { requester } of functions) bench.store(place.context + requester * 16, 0n);
    };
    const restore = (): void => {
      for (const each of functions) bench.setContext(each.requester, each);
      way.context(1);
      readAll();
    };
    const reads = (): (number | undefined)[] =>
      functions.map(({ requester }) => bench.dmaRead(0x5000, requester));
    clear();
    expect(reads()).toEqual([o, o]);
    way.context(1);
    expect(reads()).toEqual([undefined, undefined]);
    for (const [ask, expected] of [
      [() => way.context(2, 1), [undefined, o]],
      [() => way.context(3, 2, function4 + 1), [o, undefined]],
      [() => way.context(3, 2, function4), [o, o]],
      [() => way.context(3, 2, function4, 3), [o, undefined]],
      [() => way.context(3, 2, function4 + 4, 1), [o, o]],
    ] as const) {
      restore();
      clear();
      ask();
      expect(reads()).toEqual(expected);
    }
  });
});

describe("the registers' commands", () => {
  test("do nothing for a granularity or mask that there is not, and say so", () => {
    mapAll(functions[0]?.table ?? 0, place.data + 0x1000);
    bench.writeWide(VtdRegister.ContextCommand, 1n << 63n);
    expect(bench.readWide(VtdRegister.ContextCommand) >> 59n).toBe(0n);
    bench.writeWide(VtdRegister.InvalidateAddress, 19n);
    bench.writeWide(VtdRegister.IotlbInvalidate, (1n << 63n) | (3n << 60n) | (1n << 32n));
    expect((bench.readWide(VtdRegister.IotlbInvalidate) >> 57n) & 3n).toBe(0n);
    expect(readAll()[0]).toEqual([o, o, o, o]);
  });

  test("do nothing while the queue is enabled", () => {
    bench.enableQueue();
    mapAll(functions[0]?.table ?? 0, place.data + 0x1000);
    ways.registers.prepare();
    bench.writeWide(VtdRegister.IotlbInvalidate, (1n << 63n) | (1n << 60n));
    expect(readAll()[0]).toEqual([o, o, o, o]);
  });
});

describe("what needs no invalidation", () => {
  test("an entry that was not present, and more permission", () => {
    const { table, requester } = functions[0] ?? { table: 0, requester: 0 };
    expect(bench.dmaRead(0x9000, requester)).toBeUndefined();
    bench.map(table, 3, 9n, BigInt(place.data) | 1n);
    expect(bench.dmaRead(0x9000, requester)).toBe(o);
    expect(bench.dmaWrite(0x9000, 1, requester)).toBe(false);
    bench.map(table, 3, 9n, BigInt(place.data) | 3n);
    expect(bench.dmaWrite(0x9000, o, requester)).toBe(true);
  });
});

describe("the queue", () => {
  const head = (): number => bench.read(VtdRegister.QueueHead);
  const record = (): bigint => bench.readWide(VtdRegister.QueueErrorRecord);
  const statusWord = (): number => bench.view.getUint32(place.status, true);

  beforeEach(() => bench.enableQueue());

  test("head follows the tail, round the end", () => {
    for (let n = 0; n < 300; n++) bench.submit(descriptor.wait(place.status, n));
    expect(head()).toBe(((300 - 256) * 16) % 4096);
    expect(statusWord()).toBe(299);
    expect(bench.status).toBe(0);
  });

  test("a wait finds what is before it done", () => {
    mapAll(functions[0]?.table ?? 0, place.data + 0x1000);
    bench.submit(descriptor.iotlb(1), descriptor.wait(place.status, 0x1234_5678));
    expect(statusWord()).toBe(0x1234_5678);
    expect(readAll()[0]).toEqual([n, n, n, n]);
  });

  test("status goes nowhere when the address is no RAM; the queue goes on", () => {
    bench.submit(
      descriptor.wait(ramBytes, 1),
      descriptor.wait(0xfee0_0000, 2),
      [5n | (1n << 5n), 0xffff_ffff_ffff_fffcn],
      descriptor.wait(place.status, 3),
    );
    expect(statusWord()).toBe(3);
    expect([bench.status, bench.sent.length]).toEqual([0, 0]);
  });

  test("a wait that asks for an interrupt brings one, the next only when the last has been seen", () => {
    bench.write(VtdRegister.CompletionEventData, 0x41);
    bench.write(VtdRegister.CompletionEventAddress, 0xfee0_2000);
    bench.submit(descriptor.waitInterrupt());
    expect(bench.read(VtdRegister.CompletionStatus)).toBe(1);
    expect(bench.read(VtdRegister.CompletionEventControl)).toBe(0xc000_0000);
    bench.write(VtdRegister.CompletionEventControl, 0);
    expect(bench.sent).toMatchObject([{ vector: 0x41, destination: 2 }]);
    bench.submit(descriptor.waitInterrupt());
    expect(bench.sent).toHaveLength(1);
    bench.write(VtdRegister.CompletionStatus, 1);
    bench.submit(descriptor.waitInterrupt());
    expect(bench.sent).toHaveLength(2);
  });

  test("attending to the cause withdraws an interrupt that waits for its mask", () => {
    bench.submit(descriptor.waitInterrupt());
    bench.write(VtdRegister.CompletionStatus, 1);
    bench.write(VtdRegister.CompletionEventControl, 0);
    expect(bench.sent).toEqual([]);
  });

  test.each<[string, [bigint, bigint], number]>([
    ["type 0", [0n, 0n], 3],
    ["type 6, PASID", [6n, 0n], 3],
    ["type 15", [15n, 0n], 3],
    ["context: granularity", [1n, 0n], 4],
    ["context: bit 6", [1n | (1n << 4n) | (1n << 6n), 0n], 4],
    ["context: bit 50", [1n | (1n << 4n) | (1n << 50n), 0n], 4],
    ["context: bit 64", [1n | (1n << 4n), 1n], 4],
    ["IOTLB: granularity", [2n, 0n], 4],
    ["IOTLB: bit 8", [2n | (1n << 4n) | (1n << 8n), 0n], 4],
    ["IOTLB: bit 32", [2n | (1n << 4n) | (1n << 32n), 0n], 4],
    ["IOTLB: bit 71", [2n | (1n << 4n), 1n << 7n], 4],
    ["device TLB: bit 65", [3n, 2n], 4],
    ["interrupt entries: bit 5", [4n | (1n << 5n), 0n], 4],
    ["interrupt entries: mask", [4n | (1n << 4n) | (16n << 27n), 0n], 4],
    ["wait: bit 7", [5n | (1n << 7n), 0n], 4],
    ["wait: bit 64", [5n | (1n << 5n), 1n], 4],
  ])("stops at a bad descriptor: %s", (_, bad, code) => {
    bench.submit(descriptor.iotlb(1), bad, descriptor.wait(place.status, 7));
    expect(bench.status).toBe(FaultStatusBit.QueueError);
    expect(record() & 0xfn).toBe(BigInt(code));
    expect(head()).toBe(16);
    // More descriptors do not move it; mending the bad one and clearing the error does.
    bench.submit(descriptor.wait(place.status, 8));
    expect(head()).toBe(16);
    bench.store(place.queue + 16, 2n | (1n << 4n));
    bench.store(place.queue + 24, 0n);
    bench.write(VtdRegister.FaultStatus, FaultStatusBit.QueueError);
    expect(head()).toBe(64);
    expect([statusWord(), bench.status]).toEqual([8, 0]);
  });

  test("that has stopped and is filled beyond its room does what lies between head and tail, once", () => {
    bench.submit([0n, 0n]);
    expect(bench.status).toBe(FaultStatusBit.QueueError);
    // More than there are places: the tail overtakes the head and comes to stand 44 descriptors behind it.
    for (let n = 0; n < 300; n++) bench.submit(descriptor.wait(place.status, n));
    expect(head()).toBe(0);
    bench.write(VtdRegister.FaultStatus, FaultStatusBit.QueueError);
    expect(head()).toBe((301 - 256) * 16);
    expect([statusWord(), bench.status]).toEqual([299, 0]);
  });

  test("whose tail meets its head is empty, however full it is meant to be", () => {
    bench.submit([0n, 0n]);
    for (let n = 0; n < 255; n++) bench.submit(descriptor.wait(place.status, 7));
    bench.write(VtdRegister.FaultStatus, FaultStatusBit.QueueError);
    expect([head(), statusWord(), bench.status]).toEqual([0, 0, 0]);
  });

  test("an error that is cleared but not mended comes again", () => {
    bench.submit([0n, 0n]);
    bench.write(VtdRegister.FaultStatus, FaultStatusBit.QueueError);
    expect(bench.status).toBe(FaultStatusBit.QueueError);
  });

  test("stops for a tail beyond the queue", () => {
    bench.write(VtdRegister.QueueTail, 4096);
    expect(bench.status).toBe(FaultStatusBit.QueueError);
    expect(record() & 0xfn).toBe(1n);
    expect(head()).toBe(0);
    bench.write(VtdRegister.QueueTail, 0);
    bench.write(VtdRegister.FaultStatus, FaultStatusBit.QueueError);
    expect(bench.status).toBe(0);
  });

  test("stops where it cannot be read", () => {
    bench.command(GlobalBit.Queue, false);
    bench.writeWide(VtdRegister.QueueAddress, BigInt(ramBytes));
    bench.command(GlobalBit.Queue);
    bench.write(VtdRegister.QueueTail, 16);
    expect([bench.status, record() & 0xfn]).toEqual([FaultStatusBit.QueueError, 2n]);
  });

  test("has the size and place of the time when it was enabled; the head returns to 0 when it is not", () => {
    bench.command(GlobalBit.Queue, false);
    bench.write(VtdRegister.QueueTail, 0);
    bench.writeWide(VtdRegister.QueueAddress, BigInt(place.queue) | 1n);
    bench.command(GlobalBit.Queue);
    bench.writeWide(VtdRegister.QueueAddress, 0n);
    for (let at = 0; at < 0x1800; at += 16) bench.store(place.queue + at, 2n | (1n << 4n));
    bench.write(VtdRegister.QueueTail, 0x1800);
    expect([head(), bench.status]).toEqual([0x1800, 0]);
    bench.command(GlobalBit.Queue, false);
    expect(head()).toBe(0);
    bench.write(VtdRegister.QueueTail, 0x40);
    expect(head()).toBe(0);
  });
});

describe("TLBs of functions", () => {
  const status = (): number => bench.view.getUint32(place.status, true);

  beforeEach(() => {
    bench.enableQueue();
    const { table } = functions[0] ?? { table: 0 };
    bench.setContext(function4, { kind: 1, domain: 1, table });
    bench.submit(descriptor.context(1));
  });

  test("answer from what they keep until they are told", () => {
    const { port } = bench.unit.cachingPort(function4);
    const read = (page: number): number | undefined => {
      const byte = new Uint8Array(1);
      return port.read(page * 4096, byte) ? byte[0] : undefined;
    };
    expect(pages.map(read)).toEqual([o, o, o, o]);
    mapAll(functions[0]?.table ?? 0, place.data + 0x1000);
    bench.submit(descriptor.iotlb(1));
    expect(pages.map(read)).toEqual([o, o, o, o]);
    bench.submit(descriptor.deviceTlb(function4, 0x5000n));
    expect(pages.map(read)).toEqual([n, o, o, o]);
    // The lowest 0 of the address is at bit 12: two pages.
    bench.submit(descriptor.deviceTlb(function4, 0x6000n, true));
    expect(pages.map(read)).toEqual([n, n, n, o]);
    bench.submit(descriptor.deviceTlb(function4, 0x7fff_ffff_ffff_f000n, true));
    expect(pages.map(read)).toEqual([n, n, n, n]);
    expect(bench.status).toBe(0);
  });

  test("a page that is not mapped is no fault of a translation request", () => {
    const { port, tlb } = bench.unit.cachingPort(function4);
    expect(port.read(0x9000, new Uint8Array(1))).toBe(false);
    expect(port.read(2 ** 40, new Uint8Array(1))).toBe(false);
    expect([bench.status, tlb.size]).toEqual([0, 0]);
    tlb.enabled = false;
    expect(port.read(0x9000, new Uint8Array(1))).toBe(false);
    expect(bench.takeReason()).toBe(FaultReason.ReadNotPermitted);
  });

  test("a function that may not have one is blocked, when it asks and when it claims to know", () => {
    const { port } = bench.unit.cachingPort(function4 + 1);
    expect(port.read(0x5000, new Uint8Array(1))).toBe(false);
    expect(bench.takeFaults()).toMatchObject([
      { reason: FaultReason.RequestTypeBlocked, requester: function4 + 1, addressType: 1 },
    ]);
    const other = bench.unit.cachingPort(function4).port;
    expect(other.read(0x5000, new Uint8Array(1))).toBe(true);
    bench.setContext(function4, { kind: 0, domain: 1, table: functions[0]?.table ?? 0 });
    bench.submit(descriptor.context(1));
    expect(other.write(0x5000, new Uint8Array(1))).toBe(false);
    expect(bench.takeFaults()).toMatchObject([
      { reason: FaultReason.RequestTypeBlocked, isRead: false, addressType: 2 },
    ]);
  });

  test("a broken table is a fault of a translation request too", () => {
    const { table } = functions[0] ?? { table: 0 };
    bench.map(table, 3, 9n, BigInt(place.data) | (1n << 50n) | 3n);
    expect(bench.unit.cachingPort(function4).port.read(0x9000, new Uint8Array(1))).toBe(false);
    expect(bench.takeFaults()).toMatchObject([
      { reason: FaultReason.PageTableReserved, addressType: 1 },
    ]);
  });

  test("nobody answers: the queue stops behind the descriptor, and goes on when that is cleared", () => {
    bench.submit(descriptor.deviceTlb(0x1234), descriptor.wait(place.status, 9));
    expect(bench.status).toBe(FaultStatusBit.TimeOut);
    expect((bench.readWide(VtdRegister.QueueErrorRecord) >> 32n) & 0xffffn).toBe(0x1234n);
    expect([bench.read(VtdRegister.QueueHead), status()]).toEqual([32, 0]);
    bench.write(VtdRegister.FaultStatus, FaultStatusBit.TimeOut);
    expect([bench.read(VtdRegister.QueueHead), status()]).toEqual([48, 9]);
  });

  test("an answer that nobody asked for", () => {
    bench.unit.attachDeviceTlb(0x1234, { invalidate: () => 2 });
    bench.submit(descriptor.deviceTlb(0x1234));
    expect(bench.status).toBe(FaultStatusBit.CompletionError);
    expect(bench.readWide(VtdRegister.QueueErrorRecord) >> 48n).toBe(0x1234n);
  });

  test("a unit without them does not know the descriptor", () => {
    bench = new VtdBench({ deviceTlb: false });
    bench.enableQueue();
    bench.submit(descriptor.deviceTlb(function4));
    expect(bench.status).toBe(FaultStatusBit.QueueError);
  });
});
