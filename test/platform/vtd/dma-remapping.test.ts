import { beforeEach, describe, expect, test } from "vitest";
import { FaultReason } from "../../../src/platform/vtd/fault-reasons.ts";
import { VtdRegister } from "../../../src/platform/vtd/registers.ts";
import { function4, place, ramBytes, VtdBench } from "./vtd-bench.ts";

let bench: VtdBench;
let table: number;
/** The context entry of function 00:04.0. */
let context: number;
/** The entry that maps page 5. */
let leaf: number;

/** Page 5 of the function is the first data page, which holds 0xab. */
beforeEach(() => {
  bench = new VtdBench();
  table = bench.newTable();
  context = bench.setContext(function4, { table });
  leaf = bench.map(table, 3, 5n, BigInt(place.data) | 3n);
  bench.memory[place.data] = 0xab;
  bench.enableTranslation();
});

describe("a request that is translated", () => {
  test("without remapping addresses are physical", () => {
    const other = new VtdBench();
    other.memory[0x5000] = 0x17;
    expect(other.dmaRead(0x5000)).toBe(0x17);
    expect(other.dmaRead(ramBytes)).toBeUndefined();
    expect(other.takeFaults()).toEqual([]);
  });

  test("reads and writes the page of the host", () => {
    expect(bench.dmaRead(0x5000)).toBe(0xab);
    expect(bench.dmaWrite(0x5fffn, 0x77)).toBe(true);
    expect(bench.memory[place.data + 0xfff]).toBe(0x77);
    expect(bench.status).toBe(0);
  });

  test.each([
    [3, 1, 2n ** 39n],
    [4, 2, 2n ** 48n],
    [5, 3, 2n ** 57n],
  ])("of %i levels reaches as far as they do", (levels, width, end) => {
    const top = bench.newTable();
    bench.setContext(function4 + 1, { table: top, width, domain: 2 });
    bench.map(top, levels, end / 4096n - 1n, BigInt(place.data) | 3n);
    expect(bench.dmaRead(end - 4096n, function4 + 1)).toBe(0xab);
    expect(bench.dmaRead(end, function4 + 1)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.AddressBeyondWidth);
  });

  test.each([
    [2, 0x20_0000n],
    [3, 0x4000_0000n],
  ])("by a large page of level %i", (level, bytes) => {
    const base = level === 2 ? BigInt(place.data) : 0n;
    bench.map(table, 3, (8n * bytes) / 4096n, base | 0x83n, level);
    const offset = BigInt(place.data) - base;
    expect(bench.dmaRead(8n * bytes + offset)).toBe(0xab);
  });

  test("passes through where the context entry says so, up to the host's width", () => {
    bench.setContext(function4 + 1, { kind: 2, width: 2, domain: 2 });
    expect(bench.dmaRead(place.data, function4 + 1)).toBe(0xab);
    expect(bench.dmaRead(2n ** 46n - 1n, function4 + 1)).toBeUndefined();
    expect(bench.takeFaults()).toEqual([]);
    expect(bench.dmaRead(2n ** 46n, function4 + 1)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.AddressBeyondWidth);
  });

  test("spans pages that lie apart", () => {
    bench.map(table, 3, 6n, BigInt(place.data + 0x7000) | 3n);
    const bytes = Uint8Array.from({ length: 0x1800 }, (_, n) => n % 251);
    expect(bench.unit.port(function4).write(0x5400, bytes)).toBe(true);
    const first = bench.memory.slice(place.data + 0x400, place.data + 0x1000);
    const second = bench.memory.slice(place.data + 0x7000, place.data + 0x7c00);
    expect([...first, ...second]).toEqual([...bytes]);
    const back = new Uint8Array(0x1800);
    expect(bench.unit.port(function4).read(0x5400, back)).toBe(true);
    expect(back).toEqual(bytes);
  });

  test("a message outside the interrupt range is a write like any other", () => {
    bench.unit.port(function4).message(0x5008, 0x1234_5678);
    expect(bench.view.getUint32(place.data + 8, true)).toBe(0x1234_5678);
    bench.unit.port(function4).message(0x1_0000_fee0_0000n, 0x41);
    expect(bench.takeReason()).toBe(FaultReason.AddressBeyondWidth);
    expect(bench.sent).toEqual([]);
  });

  test("a read of no bytes needs some permission, whichever", () => {
    bench.store(leaf, BigInt(place.data) | 2n);
    const port = bench.unit.port(function4);
    expect(port.read(0x5000, new Uint8Array(0))).toBe(true);
    expect(port.read(0x9000, new Uint8Array(0))).toBe(false);
    expect(bench.takeReason()).toBe(FaultReason.ReadNotPermitted);
  });
});

describe("a request that touches nothing", () => {
  test("of several pages when one of them is blocked", () => {
    const bytes = new Uint8Array(0x2000).fill(0x55);
    expect(bench.unit.port(function4).write(0x5000, bytes)).toBe(false);
    expect(bench.memory[place.data]).toBe(0xab);
    expect(bench.takeReason()).toBe(FaultReason.WriteNotPermitted);
    expect(bench.unit.port(function4).read(0x5000, bytes)).toBe(false);
    expect(bytes[0]).toBe(0x55);
  });

  test("across the end of RAM", () => {
    bench.map(table, 3, 6n, BigInt(ramBytes - 4096) | 3n);
    bench.map(table, 3, 7n, BigInt(ramBytes) | 3n);
    const bytes = new Uint8Array(64).fill(0x55);
    expect(bench.unit.port(function4).write(0x7000 - 32, bytes)).toBe(false);
    expect(bench.memory[ramBytes - 1]).toBe(0);
    expect(bench.unit.port(function4).write(0x7000, bytes)).toBe(false);
    expect(bench.takeFaults()).toEqual([]);
  });

  test("with an address that is none", () => {
    for (const address of [-1, -1n, Number.NaN, Number.POSITIVE_INFINITY, 2n ** 64n]) {
      expect(bench.dmaRead(address)).toBeUndefined();
      expect(bench.unit.port(function4).write(address, new Uint8Array(5000))).toBe(false);
    }
  });

  test("in the interrupt range, but for the writes that are interrupts", () => {
    expect(bench.dmaRead(0xfee0_0000)).toBeUndefined();
    expect(bench.dmaWrite(0xfeef_ffff, 1)).toBe(false);
    expect(bench.unit.port(function4).write(0xfedf_fffc, new Uint8Array(8))).toBe(false);
    expect(bench.sent).toEqual([]);
    expect(bench.unit.port(function4).write(0xfee0_0000, Uint8Array.of(0x31, 0, 0, 0))).toBe(true);
    expect(bench.sent[0]?.vector).toBe(0x31);
  });
});

describe("every reason to block a request", () => {
  const root = place.root;
  const set = (address: number, bits: bigint): void =>
    bench.store(address, bench.load(address) | bits);
  const upper = (): number => context + 8;

  const cases: readonly [string, number, () => void][] = [
    ["root entry not present", FaultReason.RootNotPresent, () => bench.store(root, 0n)],
    ["context entry not present", FaultReason.ContextNotPresent, () => bench.store(context, 0n)],
    ["reserved translation type", FaultReason.ContextInvalid, () => set(context, 3n << 2n)],
    ["reserved address width", FaultReason.ContextInvalid, () => bench.store(upper(), 0x100n)],
    ["width of no table", FaultReason.ContextInvalid, () => bench.store(upper(), 0x104n)],
    ["leaf not present", FaultReason.ReadNotPermitted, () => bench.store(leaf, 0n)],
    [
      "leaf only to write",
      FaultReason.ReadNotPermitted,
      () => bench.store(leaf, BigInt(place.data) | 2n),
    ],
    ["table above only to write", FaultReason.ReadNotPermitted, () => clear(table, 1n)],
    [
      "table outside RAM",
      FaultReason.PageTableAccess,
      () => bench.store(table, BigInt(ramBytes) | 3n),
    ],
    [
      "highest table outside RAM",
      FaultReason.PageTableAccess,
      () => bench.store(context, BigInt(ramBytes) | 1n),
    ],
    ["context table outside RAM", FaultReason.ContextTableAccess, () => set(root, 1n << 40n)],
    ["root entry 1", FaultReason.RootReserved, () => set(root, 2n)],
    ["root entry 11", FaultReason.RootReserved, () => set(root, 1n << 11n)],
    ["root entry beyond the host's width", FaultReason.RootReserved, () => set(root, 1n << 46n)],
    ["root entry 64", FaultReason.RootReserved, () => set(root + 8, 1n)],
    ["root entry 127", FaultReason.RootReserved, () => set(root + 8, 1n << 63n)],
    ["context entry 4", FaultReason.ContextReserved, () => set(context, 1n << 4n)],
    ["context entry 11", FaultReason.ContextReserved, () => set(context, 1n << 11n)],
    ["context entry beyond the width", FaultReason.ContextReserved, () => set(context, 1n << 63n)],
    ["context entry 71", FaultReason.ContextReserved, () => set(upper(), 1n << 7n)],
    ["context entry 88", FaultReason.ContextReserved, () => set(upper(), 1n << 24n)],
    ["context entry 127", FaultReason.ContextReserved, () => set(upper(), 1n << 63n)],
    ["leaf beyond the host's width", FaultReason.PageTableReserved, () => set(leaf, 1n << 46n)],
    ["leaf 51", FaultReason.PageTableReserved, () => set(leaf, 1n << 51n)],
    ["SNP of a table", FaultReason.PageTableReserved, () => set(table, 1n << 11n)],
    [
      "large page that is not aligned",
      FaultReason.PageTableReserved,
      () => bench.store(table, 0x4000_1083n),
    ],
  ];
  const clear = (address: number, bits: bigint): void =>
    bench.store(address, bench.load(address) & ~bits);

  test.each(cases)("%s", (_, reason, spoil) => {
    spoil();
    expect(bench.dmaRead(0x5123)).toBeUndefined();
    expect(bench.takeFaults()).toEqual([
      { reason, requester: function4, information: 0x5000n, isRead: true, addressType: 0 },
    ]);
  });

  test("a large page above level 3", () => {
    const top = bench.newTable();
    bench.setContext(function4, { table: top, width: 2 });
    bench.store(top, 0x83n);
    expect(bench.dmaRead(0x5000)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.PageTableReserved);
  });

  test("root table outside RAM", () => {
    bench.writeWide(VtdRegister.RootTable, BigInt(ramBytes));
    bench.command(0x4000_0000);
    expect(bench.dmaRead(0x5000)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.RootTableAccess);
  });

  test("a write where only reads are permitted", () => {
    bench.store(leaf, BigInt(place.data) | 1n);
    expect(bench.dmaWrite(0x5000, 1)).toBe(false);
    expect(bench.takeFaults()).toEqual([
      {
        reason: FaultReason.WriteNotPermitted,
        requester: function4,
        information: 0x5000n,
        isRead: false,
        addressType: 0,
      },
    ]);
    expect(bench.dmaRead(0x5000)).toBe(0xab);
  });

  test("an address has 64 bits, and the record has them all", () => {
    expect(bench.dmaRead(0xffff_ffff_ffff_f123n)).toBeUndefined();
    const [fault] = bench.takeFaults();
    expect(fault?.reason).toBe(FaultReason.AddressBeyondWidth);
    expect(fault?.information).toBe(0xffff_ffff_ffff_f000n);
  });

  test("bits that software may use do no harm", () => {
    set(leaf, (0x3ffn << 52n) | (1n << 62n) | (1n << 11n) | 0x77cn);
    expect(bench.dmaRead(0x5000)).toBe(0xab);
    set(upper(), 0x78n);
    bench.writeWide(VtdRegister.ContextCommand, 0xa000_0000_0000_0000n);
    expect(bench.dmaRead(0x5000)).toBe(0xab);
  });

  test("a requester nobody owns is blocked like any other", () => {
    expect(bench.dmaRead(0x5000, 0xffff)).toBeUndefined();
    expect(bench.takeFaults()[0]).toMatchObject({
      reason: FaultReason.RootNotPresent,
      requester: 0xffff,
    });
  });

  test("with FPD the request is blocked and nothing recorded, also where the entry is not present", () => {
    set(context, 2n);
    bench.store(leaf, 0n);
    expect(bench.dmaRead(0x5000)).toBeUndefined();
    bench.store(context, 2n);
    bench.writeWide(VtdRegister.ContextCommand, 0xa000_0000_0000_0000n);
    expect(bench.dmaRead(0x5000)).toBeUndefined();
    expect(bench.status).toBe(0);
  });
});

describe("tables in circles", () => {
  test("a table that leads to itself at every level ends as a page of itself", () => {
    const circle = bench.newTable();
    bench.store(circle, BigInt(circle) | 3n);
    bench.setContext(function4, { table: circle });
    bench.memory[circle + 0x123] = 0x5c;
    expect(bench.dmaRead(0x123)).toBe(0x5c);
    expect(bench.takeFaults()).toEqual([]);
  });

  test("two tables that lead to each other", () => {
    const [one, other] = [bench.newTable(), bench.newTable()];
    bench.store(one, BigInt(other) | 3n);
    bench.store(other, BigInt(one) | 3n);
    bench.setContext(function4, { table: one });
    bench.memory[one + 8] = 0x21;
    bench.memory[other + 8] = 0x42;
    // Three levels: one, other, one; its entry is the page.
    expect(bench.dmaRead(8)).toBe(0x42);
    expect(bench.takeFaults()).toEqual([]);
  });

  test("a root table that is its own context table", () => {
    bench.store(place.root, BigInt(place.root) | 1n);
    bench.store(place.root + 8, 0n);
    expect(bench.dmaRead(0, 0)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.ContextInvalid);
    expect(bench.dmaRead(0, function4)).toBeUndefined();
    expect(bench.takeReason()).toBe(FaultReason.ContextNotPresent);
  });
});

describe("what the unit does not offer is reserved", () => {
  test("snoop control, large pages, pass-through, five levels", () => {
    const small = new VtdBench({
      snoopControl: false,
      largePages: false,
      passThrough: false,
      deviceTlb: false,
      levels: [3, 4],
    });
    const top = small.newTable();
    small.enableTranslation();
    const reasonOf = (entry: bigint, level = 1, fields = {}): number | undefined => {
      small.setContext(function4, { table: top, ...fields });
      small.map(top, 3, 5n, entry, level);
      small.writeWide(VtdRegister.ContextCommand, 0xa000_0000_0000_0000n);
      expect(small.dmaRead(0x5000)).toBeUndefined();
      return small.takeReason();
    };
    expect(reasonOf(BigInt(place.data) | 0x803n)).toBe(FaultReason.PageTableReserved);
    expect(reasonOf(BigInt(place.data) | 0x83n, 2)).toBe(FaultReason.PageTableReserved);
    expect(reasonOf(0n, 2, { kind: 2 })).toBe(FaultReason.ContextInvalid);
    expect(reasonOf(0n, 2, { kind: 1 })).toBe(FaultReason.ContextInvalid);
    expect(reasonOf(0n, 2, { width: 3 })).toBe(FaultReason.ContextInvalid);
  });
});
