import { describe, expect, test } from "vitest";
import {
  FaultStatusBit,
  GlobalBit,
  VtdRegister,
  vtdAddress,
} from "../../../src/platform/vtd/registers.ts";
import { runGuest } from "../../machine/run-guest.ts";
import { peerGuest, printedWords, type Step } from "./peer-guest.ts";
import { hasQemu, minute, runOnQemu } from "./run-on-qemu.ts";

const megabytes = 32;

/** The teaching device, as slot 4 of bus 0, with its window where both machines have room for it. */
const edu = { slot: 4, window: 0xe000_0000, requester: 0x20 } as const;
const eduRegister = {
  raise: 0x60,
  acknowledge: 0x64,
  source: 0x80,
  target: 0x88,
  count: 0x90,
  command: 0x98,
} as const;
const eduBuffer = 0x4_0000;
const lapic = 0xfee0_0000;
const place = {
  root: 0x20_0000,
  context: 0x20_1000,
  tables: 0x20_2000,
  interrupts: 0x20_8000,
  queue: 0x20_9000,
  status: 0x20_a000,
  data: 0x40_0000,
} as const;
const beyondRam = 0x1000_0000;

const store = (address: number, value: bigint): Step[] => [
  ["write", address, Number(value & 0xffff_ffffn)],
  ["write", address + 4, Number(value >> 32n)],
];
const register = (offset: number, value: bigint | number): Step[] =>
  typeof value === "bigint"
    ? store(vtdAddress + offset, value)
    : [["write", vtdAddress + offset, value]];
const configuration = (offset: number, value: number): Step[] => [
  ["port", 0xcf8, (0x8000_0000 | (edu.slot << 11) | offset) >>> 0],
  ["port", 0xcfc, value],
];
const device = (offset: number, value: number): Step => ["write", edu.window + offset, value];

const start: readonly Step[] = [
  ...configuration(0x10, edu.window),
  ...configuration(0x04, 6),
  ["write", lapic + 0xf0, 0x1ff],
];

/** Contents and permissions of one entry of each table that a request for page 0 goes through. */
interface Tables {
  readonly root: bigint;
  readonly contextLow: bigint;
  readonly contextHigh: bigint;
  readonly third: bigint;
  readonly second: bigint;
  readonly first: bigint;
}
const good: Tables = {
  root: BigInt(place.context) | 1n,
  contextLow: BigInt(place.tables) | 1n,
  contextHigh: 1n | (7n << 8n),
  third: BigInt(place.tables + 0x1000) | 3n,
  second: BigInt(place.tables + 0x2000) | 3n,
  first: BigInt(place.data) | 3n,
};

const dmaCases: readonly (readonly [string, Partial<Tables>, "read" | "write"])[] = [
  ["everything is as it should be", {}, "write"],
  ["read", {}, "read"],
  ["no root entry", { root: 0n }, "write"],
  ["root entry: reserved bit", { root: good.root | 4n }, "write"],
  ["no context entry", { contextLow: 0n }, "read"],
  ["context entry: reserved bit 4", { contextLow: good.contextLow | 16n }, "write"],
  ["context entry: reserved bit 100", { contextHigh: good.contextHigh | (1n << 36n) }, "write"],
  ["context entry: reserved type", { contextLow: good.contextLow | 12n }, "write"],
  ["context entry: reserved width", { contextHigh: 7n << 8n }, "write"],
  ["context entry: pass-through", { contextLow: good.contextLow | 8n }, "write"],
  ["context entry: quiet", { contextLow: good.contextLow | 2n, first: 0n }, "write"],
  ["table outside RAM", { second: BigInt(beyondRam) | 3n }, "write"],
  ["third level not present", { third: 0n }, "write"],
  ["second level not present", { second: 0n }, "read"],
  ["page not present", { first: 0n }, "write"],
  ["page only to read", { first: BigInt(place.data) | 1n }, "write"],
  ["page only to write", { first: BigInt(place.data) | 2n }, "read"],
  ["table only to read", { third: good.third & ~2n }, "write"],
  ["page: reserved address bit", { first: good.first | (1n << 50n) }, "write"],
  ["page: software's bits", { first: good.first | (0x3ffn << 52n) | 0x300n }, "write"],
  ["table: reserved address bit", { third: good.third | (1n << 49n) }, "write"],
  ["large page of 2 MiB", { second: BigInt(place.data) | 0x83n }, "write"],
  ["large page of 2 MiB, not aligned", { second: BigInt(place.data) | 0x1083n }, "write"],
  ["large page of 1 GiB", { third: 0x83n }, "write"],
  ["four levels", { contextHigh: 2n | (7n << 8n), first: 0n }, "write"],
];

/** Invalidates everything, lets the device move a word, and prints what has become of it and the fault. */
function dmaCase(overrides: Partial<Tables>, direction: "read" | "write"): Step[] {
  const tables = { ...good, ...overrides };
  const isWrite = direction === "write";
  const iova = 0x10;
  return [
    ...store(place.root, tables.root),
    ...store(place.context + edu.requester * 16, tables.contextLow),
    ...store(place.context + edu.requester * 16 + 8, tables.contextHigh),
    ...store(place.tables, tables.third),
    ...store(place.tables + 0x1000, tables.second),
    ...store(place.tables + 0x2000, tables.first),
    ...register(VtdRegister.ContextCommand, 0xa000_0000_0000_0000n),
    ...register(VtdRegister.IotlbInvalidate, 0x9000_0000_0000_0000n),
    ["write", place.data + iova, 0],
    ["write", iova, 0],
    device(eduRegister.source, isWrite ? eduBuffer : iova),
    device(eduRegister.target, isWrite ? iova : eduBuffer + 64),
    device(eduRegister.count, 4),
    device(eduRegister.command, isWrite ? 3 : 1),
    ["await", edu.window + eduRegister.command, 1],
    ["print", place.data + iova],
    ["print", iova],
    ["print", vtdAddress + VtdRegister.FaultStatus],
    ...recordWords.map((n): Step => ["print", vtdAddress + VtdRegister.FaultRecord + 4 * n]),
    ...recordWords
      .filter((n) => n % 4 === 3)
      .flatMap((n) => register(VtdRegister.FaultRecord + 4 * n, 0x8000_0000)),
  ];
}
/** Our unit has eight records and goes round, theirs has one. */
const recordWords = Array.from({ length: 8 * 4 }, (_, n) => n);
const linesOfDmaCase = 3 + recordWords.length;

/** Puts a word into the device's buffer, then goes through the cases. */
const dmaScript: readonly Step[] = [
  ...start,
  ["write", 0x30_0000, 0x1234_5678],
  device(eduRegister.source, 0x30_0000),
  device(eduRegister.target, eduBuffer),
  device(eduRegister.count, 4),
  device(eduRegister.command, 1),
  ["await", edu.window + eduRegister.command, 1],
  ...register(VtdRegister.RootTable, BigInt(place.root)),
  ...register(VtdRegister.GlobalCommand, GlobalBit.RootTable),
  ...register(VtdRegister.GlobalCommand, GlobalBit.Translation),
  ...dmaCases.flatMap(([, tables, direction]) => dmaCase(tables, direction)),
];

interface InterruptCase {
  readonly low: bigint;
  readonly high?: bigint;
  readonly address?: number;
  readonly data?: number;
}
const entry = (vector: number): bigint => 1n | (BigInt(vector) << 16n);
const source = (id: number, qualifier = 0, type = 1): bigint =>
  BigInt(id) | (BigInt(qualifier) << 16n) | (BigInt(type) << 18n);
const handle = (index: number): number => (0xfee0_0010 | (index << 5)) >>> 0;

/**
 * Vectors 60H to 7FH, so that one register of the local APIC shows what has come. Not compared: the compatibility format, which
 * this peer lets through whether or not software has said so.
 */
const interruptCases: readonly (readonly [string, InterruptCase])[] = [
  ["an entry", { low: entry(0x60) }],
  ["an entry that is not present", { low: entry(0x61) & ~1n }],
  ["an entry for another source", { low: entry(0x62), high: source(0x28) }],
  ["an entry for this source", { low: entry(0x63), high: source(0x20) }],
  ["an entry for a function with another bit 2", { low: entry(0x64), high: source(0x24, 1) }],
  ["an entry for one with other bits 2:0", { low: entry(0x65), high: source(0x27, 3) }],
  ["an entry for one with another bit 3", { low: entry(0x66), high: source(0x28, 3) }],
  ["an entry for its bus", { low: entry(0x67), high: source(0x0000, 0, 2) }],
  ["an entry for another bus", { low: entry(0x68), high: source(0x0101, 0, 2) }],
  ["an entry with a reserved bit", { low: entry(0x69) | (1n << 12n) }],
  ["an index beyond the table", { low: entry(0x6a), address: handle(300) }],
  ["a handle with a subhandle", { low: entry(0x6b), address: handle(3) | 8, data: 2 }],
  ["an entry of the kind level", { low: entry(0x6c) | (1n << 4n) }],
];

/** Entry 5 is the case's; the device raises an interrupt, and the requests of the local APIC are printed. */
const interruptScript: readonly Step[] = [
  ...start,
  ...register(VtdRegister.InterruptTable, BigInt(place.interrupts) | 7n),
  ...register(VtdRegister.GlobalCommand, GlobalBit.InterruptTable),
  ...register(VtdRegister.QueueAddress, BigInt(place.queue)),
  ...register(VtdRegister.GlobalCommand, GlobalBit.Queue),
  ...register(VtdRegister.GlobalCommand, GlobalBit.Queue + GlobalBit.InterruptRemapping),
  ...configuration(0x40, 0x0001_0000),
  ...interruptCases.flatMap(([, { low, high = 0n, address = handle(5), data = 0 }], n): Step[] => [
    ...store(place.interrupts + 5 * 16, low),
    ...store(place.interrupts + 5 * 16 + 8, high),
    ...store(place.queue + n * 16, 4n),
    ...store(place.queue + n * 16 + 8, 0n),
    ...register(VtdRegister.QueueTail, (n + 1) * 16),
    ...configuration(0x44, address),
    ...configuration(0x4c, data),
    device(eduRegister.raise, 1),
    device(eduRegister.acknowledge, 1),
    ["print", lapic + 0x230],
  ]),
];

/** A queue with good and bad descriptors: head, status word, fault status and completion status after each. */
const queueScript: readonly Step[] = [
  ...register(VtdRegister.QueueAddress, BigInt(place.queue)),
  ...register(VtdRegister.GlobalCommand, GlobalBit.Queue),
  ...(
    [
      [1n | (1n << 4n), 0n],
      [2n | (1n << 4n), 0n],
      [4n, 0n],
      [5n | (1n << 5n) | (0x1111_2222n << 32n), BigInt(place.status)],
      [5n | (1n << 4n), 0n],
      [0n, 0n],
      [2n, 0n],
      [5n | (1n << 5n) | (0x3333_4444n << 32n), BigInt(place.status)],
    ] as const
  ).flatMap(([low, high], n): Step[] => {
    const at = place.queue + n * 16;
    const tail = register(VtdRegister.QueueTail, (n + 1) * 16);
    return [
      ...store(at, low),
      ...store(at + 8, high),
      ...tail,
      ...[VtdRegister.QueueHead, VtdRegister.FaultStatus, VtdRegister.CompletionStatus].map(
        (offset): Step => ["print", vtdAddress + offset],
      ),
      ["print", place.status],
      // A bad descriptor is made good, and the error cleared.
      ...store(at, 4n),
      ...store(at + 8, 0n),
      ...register(VtdRegister.FaultStatus, FaultStatusBit.QueueError),
      ...tail,
      ["print", vtdAddress + VtdRegister.QueueHead],
    ];
  }),
];

/** What the script prints on this machine. */
async function onVmxon(script: readonly Step[]): Promise<number[]> {
  const { result, serial } = await runGuest(peerGuest(script), {
    driver: "deterministic",
    ramBytes: megabytes * 2 ** 20,
    iommu: true,
    devices: [{ kind: "edu", parameters: {} }],
  });
  expect(result.ending).toEqual({ type: "exit", value: 0 });
  return printedWords(serial);
}

const onQemu = (script: readonly Step[]): Promise<number[]> =>
  runOnQemu(peerGuest(script), [
    ...["-machine", "q35,kernel-irqchip=split", "-m", String(megabytes)],
    ...["-device", "intel-iommu,intremap=on,aw-bits=48,eim=off"],
    ...["-device", `edu,addr=${edu.slot},dma_mask=0xffffffffffff`],
  ]);

describe.skipIf(!hasQemu)("QEMU's unit and ours", { timeout: minute }, () => {
  test("translate and block the same requests, and record the same faults", async () => {
    const [ours, theirs] = await Promise.all([onVmxon(dmaScript), onQemu(dmaScript)]);
    expect(theirs).toHaveLength(dmaCases.length * linesOfDmaCase);
    for (const [n, [name]] of dmaCases.entries()) {
      const outcome = (all: number[]): unknown => {
        const [data, low, status = 0, ...record] = all.slice(
          n * linesOfDmaCase,
          (n + 1) * linesOfDmaCase,
        );
        const isRecorded = (status & FaultStatusBit.Pending) !== 0;
        const first = 4 * ((status >>> 8) & 0xff);
        const [page, high, id, last = 0] = record.slice(first, first + 4);
        // Without PP the bits of the PASID field mean nothing.
        const reason = (last & 0xf000_00ff) >>> 0;
        return { name, data, low, record: isRecorded && [page, high, id, reason] };
      };
      expect(outcome(ours)).toEqual(outcome(theirs));
    }
  });

  test("deliver and block the same interrupts", async () => {
    const [ours, theirs] = await Promise.all([onVmxon(interruptScript), onQemu(interruptScript)]);
    const seen = (all: number[]): [string, string | undefined][] =>
      interruptCases.map(([name], n) => [name, all[n]?.toString(16)]);
    expect(theirs).toHaveLength(interruptCases.length);
    expect(seen(ours)).toEqual(seen(theirs));
  });

  test("do the same descriptors, and stop at the same", async () => {
    const [ours, theirs] = await Promise.all([onVmxon(queueScript), onQemu(queueScript)]);
    expect(theirs).toHaveLength(8 * 5);
    expect(ours).toEqual(theirs);
  });
});
