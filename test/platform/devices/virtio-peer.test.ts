import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runGuest } from "../../machine/run-guest.ts";
import { peerGuest, printedWords, type Step } from "../vtd/peer-guest.ts";
import { hasQemu, minute, runOnQemu } from "../vtd/run-on-qemu.ts";
import { common, inTable, next, write } from "./virtio-driver.ts";

/** The disk is in slot 4 of both machines; its structures lie at the same offsets of another window. */
const slot = 4;
const window = 0xe000_0000;
const oursBar = 0;
const theirsBar = 4;
const interruptStatus = window + 0x1000;
const notify = window + 0x3000;
const queue = { descriptors: 0x21_0000, driver: 0x21_0400, device: 0x21_0800, size: 8 } as const;
const place = { header: 0x22_0000, status: 0x22_0010, table: 0x22_0100, data: 0x23_0000 } as const;
const megabytes = 32;
const sectors = 8;

const configuration = (offset: number, value: number): Step[] => [
  ["port", 0xcf8, (0x8000_0000 | (slot << 11) | offset) >>> 0],
  ["port", 0xcfc, value],
];
const status = (value: number): Step => ["write8", window + common.status, value];
const set32 = (field: number, value: number): Step => ["write", window + field, value];
const set16 = (field: number, value: number): Step => ["write16", window + field, value];

const reset: readonly Step[] = [status(0), ["awaitValue", window + common.status, 0]];

function initialize(lowFeatures: number): Step[] {
  return [
    ...reset,
    // The rings as they are before anything happened.
    ...[queue.driver, queue.device].map((at): Step => ["write", at, 0]),
    ...[1, 3].map(status),
    set32(common.driverFeatureSelect, 0),
    set32(common.driverFeature, lowFeatures),
    set32(common.driverFeatureSelect, 1),
    set32(common.driverFeature, 1),
    status(11),
    set16(common.queueSelect, 0),
    set16(common.queueSize, queue.size),
    set32(common.descriptors, queue.descriptors),
    set32(common.driver, queue.driver),
    set32(common.device, queue.device),
    set16(common.queueEnable, 1),
    status(15),
  ];
}

type Piece = readonly [address: number, bytes: number, flags: number, next?: number];

const describeAt = (table: number, pieces: readonly Piece[]): Step[] =>
  pieces.flatMap(([address, bytes, flags, following], n): Step[] => [
    ["write", table + 16 * n, address],
    ["write", table + 16 * n + 4, 0],
    ["write", table + 16 * n + 8, bytes],
    ["write", table + 16 * n + 12, flags | ((following ?? n + 1) << 16)],
  ]);

/** Makes descriptor `head` available as number `index`, and rings. */
const offer = (index: number, head = 0, count = index + 1): Step[] => [
  ["write16", queue.driver + 4 + 2 * index, head],
  ["write16", queue.driver + 2, count],
  ["write16", notify, 0],
];

const [read, writes, flush] = [0, 1, 4] as const;
const requests = [
  ["reads a sector", read, 1, 512],
  ["reads several", read, 2, 2048],
  ["writes a sector", writes, 0, 512],
  ["flushes", flush, 0, 0],
  ["reads behind the end", read, sectors, 512],
  ["reads over the end", read, sectors - 1, 1024],
  ["reads a part of a sector", read, 0, 100],
  ["does what nobody knows", 77, 0, 0],
] as const;

function request(index: number, type: number, sector: number, bytes: number): Step[] {
  const data: Piece[] =
    bytes > 0 ? [[place.data, bytes, next | (type === writes ? 0 : write)]] : [];
  return [
    ["write", place.header, type],
    ["write", place.header + 8, sector],
    ["write", place.status, 0xff],
    ...describeAt(queue.descriptors, [[place.header, 16, next], ...data, [place.status, 1, write]]),
    ...offer(index),
    ["awaitValue", queue.device, (index + 1) << 16],
    ["print", place.status],
    ["print", queue.device + 4 + 8 * index],
    ["print", queue.device + 8 + 8 * index],
    ["print", place.data],
    ["printSet8", interruptStatus],
    ["print8", interruptStatus],
  ];
}
const linesOfRequest = 6;

const good: Piece = [place.header, 16, next];
const last: Piece = [place.status, 1, write];
const indirect = 1 << 28;
/** A name, features besides version 1, the descriptors, and how the chain is offered if not as the first. */
const malformed: readonly (readonly [string, number, readonly Piece[], Step[]?])[] = [
  ["a buffer of nothing", 0, [good, [place.data, 0, next | write], last]],
  ["a chain in circles", 0, [good, [place.header, 16, next, 0]]],
  ["a next descriptor outside the table", 0, [[place.header, 16, next, 8]]],
  [
    "a readable buffer behind a writable one",
    0,
    [good, [place.data, 512, next | write], [place.header, 1, 0]],
  ],
  ["no status", 0, [[place.header, 16, 0]]],
  ["no whole header", 0, [[place.header, 15, next], last]],
  ["a head outside the table", 0, [good, last], offer(0, 8)],
  ["more chains than the ring has", 0, [good, last], offer(0, 0, 9)],
  ["half a table", indirect, [[place.table, 24, inTable]]],
  ["an empty table", indirect, [[place.table, 0, inTable]]],
];

function script(bar: number): Step[] {
  const register = 0x10 + 4 * bar;
  return [
    ...configuration(register, window),
    ...(bar === theirsBar ? configuration(register + 4, 0) : []),
    ...configuration(0x04, 6),
    ...reset,
    set16(common.queueSelect, 0),
    ...[common.queueCount, common.queueSize, common.queueVector, common.queueEnable].map(
      (field): Step => ["print16", window + field],
    ),
    set16(common.queueSelect, 1),
    ["print16", window + common.queueSize],
    // The capacity.
    ["print", window + 0x2000],
    ...initialize(0),
    ["print8", window + common.status],
    ["print16", window + common.queueEnable],
    ["print16", window + common.queueSize],
    ...requests.flatMap(([, type, sector, bytes], n) => request(n, type, sector, bytes)),
    ...malformed.flatMap(([, features, pieces, offered = offer(0)]): Step[] => [
      ...initialize(features),
      ["write", place.header, 0],
      ["write", place.header + 8, 0],
      ...describeAt(queue.descriptors, pieces),
      ...offered,
      ["awaitValue", window + common.status, 64 | 15],
      ["print", queue.device],
    ]),
    ...initialize(0),
    ...request(0, read, 1, 512),
  ];
}
const linesBefore = 9;

describe.skipIf(!hasQemu)("QEMU's virtio disk and ours", { timeout: minute }, () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "vmxon-virtio-peer-"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  function newDisk(name: string): string {
    const file = join(folder, name);
    writeFileSync(
      file,
      Uint8Array.from({ length: 512 * sectors }, (_, n) => (n >> 9) * 16 + (n & 3)),
    );
    return file;
  }

  async function onVmxon(file: string): Promise<number[]> {
    const { result, serial } = await runGuest(peerGuest(script(oursBar)), {
      driver: "deterministic",
      ramBytes: megabytes * 2 ** 20,
      devices: [{ kind: "virtio-blk", parameters: { file } }],
    });
    expect(result.ending).toEqual({ type: "exit", value: 0 });
    return printedWords(serial);
  }
  const onQemu = (file: string): Promise<number[]> =>
    runOnQemu(peerGuest(script(theirsBar)), [
      ...["-machine", "q35", "-m", String(megabytes)],
      ...["-drive", `file=${file},if=none,id=disk,format=raw`],
      ...["-device", `virtio-blk-pci,drive=disk,addr=${slot},disable-legacy=on,queue-size=128`],
    ]);

  test("start, serve and break alike", async () => {
    const files = [newDisk("ours"), newDisk("theirs")] as const;
    const [ours, theirs] = await Promise.all([onVmxon(files[0]), onQemu(files[1])]);
    const outcome = (all: number[]): unknown => ({
      setup: all.slice(0, linesBefore),
      requests: requests.map(([name], n) => {
        const at = linesBefore + n * linesOfRequest;
        const [result = 0, head, written, ...rest] = all.slice(at, at + linesOfRequest);
        // Of a request that has failed QEMU counts the room there was as written.
        return [name, result, head, result === 0 ? written : undefined, ...rest];
      }),
      rest: all.slice(linesBefore + requests.length * linesOfRequest),
    });
    expect(theirs).toHaveLength(
      linesBefore + requests.length * linesOfRequest + malformed.length + linesOfRequest,
    );
    expect(outcome(ours)).toEqual(outcome(theirs));
    expect(readFileSync(files[0])).toEqual(readFileSync(files[1]));
  });
});
