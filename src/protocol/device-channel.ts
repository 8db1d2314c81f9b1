import { assert } from "../base/assert.ts";
import { RecordRing, recordRingBytes, recordWords } from "./record-ring.ts";
import { SharedRemapping, sharedRemappingBytes } from "./shared-remapping.ts";

/**
 * Between the platform and a device that lives on a thread of its own.
 *
 * ```
 *              read, write, readConfiguration, writeConfiguration, reset
 *   platform ────────────────────────────────────────────────────────────▶ device
 *            ◀────────────────────────────────────────────────────────────
 *              answer, message, line, output, dmaRead, dmaWrite
 * ```
 *
 * Both directions keep their order; messages that the device remaps itself go before. So what a device has written and sent before it answers is in memory and on its way before
 * the answer, as PCI has it. Whoever waits for an answer is named by a tag; a write without one is posted.
 *
 * A device has one DMA request under way at a time, with the data in a buffer that both see:
 *
 * ```
 *         device asks                platform has done it, or was refused
 *   idle ─────────────▶ requested ────────────────────────────────────────▶ done, refused
 *    ▲                                                                          │
 *    └──────────────────────────────────────────────────────────────────────────┘
 *                                  device goes on
 * ```
 */
export type ToDevice =
  | ({ readonly type: "read"; readonly tag: number } & RegisterPlace)
  | ({ readonly type: "write"; readonly tag: number; readonly value: number } & RegisterPlace)
  | ({ readonly type: "readConfiguration"; readonly tag: number } & ConfigurationPlace)
  | ({
      readonly type: "writeConfiguration";
      readonly tag: number;
      readonly value: number;
    } & ConfigurationPlace)
  | { readonly type: "reset" };

export type FromDevice =
  | { readonly type: "answer"; readonly tag: number; readonly value: number }
  | { readonly type: "message"; readonly address: number | bigint; readonly data: number }
  | { readonly type: "line"; readonly high: boolean }
  /** At most `outputBytesMax` bytes. */
  | { readonly type: "output"; readonly bytes: Uint8Array }
  /** The data is in the channel's buffer, or is to be put there. */
  | { readonly type: "dmaRead"; readonly address: number | bigint; readonly bytes: number }
  | { readonly type: "dmaWrite"; readonly address: number | bigint; readonly bytes: number };

export interface ConfigurationPlace {
  readonly offset: number;
  readonly size: number;
}
export interface RegisterPlace extends ConfigurationPlace {
  /** Number of the base address register. */
  readonly bar: number;
}

/** Nobody waits for an answer. */
export const noTag = -1;
export const outputBytesMax = 4 * (recordWords - 2);
/** Most data of one DMA request. */
export const dmaBytesMax = 65536;

export const DmaState = { Idle: 0, Requested: 1, Done: 2, Refused: 3 } as const;
export type DmaState = (typeof DmaState)[keyof typeof DmaState];

/** Whether one state may follow another. A device and a platform that disagree have corrupted the channel. */
export function isDmaStep(from: number, to: DmaState): boolean {
  switch (from) {
    case DmaState.Idle:
      return to === DmaState.Requested;
    case DmaState.Requested:
      return to === DmaState.Done || to === DmaState.Refused;
    default:
      return to === DmaState.Idle;
  }
}

const toDeviceKind = { read: 0, write: 1, readConfiguration: 2, writeConfiguration: 3, reset: 4 };
const fromDeviceKind = { answer: 0, message: 1, line: 2, output: 3, dmaRead: 4, dmaWrite: 5 };

const downCapacity = 256;
/** Enough to go on with while the other thread is not being run. */
const upCapacity = 4096;
const lineBytes = 64;
const place = {
  down: 0,
  up: recordRingBytes(downCapacity),
  dma: recordRingBytes(downCapacity) + recordRingBytes(upCapacity),
  remapping: recordRingBytes(downCapacity) + recordRingBytes(upCapacity) + lineBytes,
  data:
    recordRingBytes(downCapacity) + recordRingBytes(upCapacity) + lineBytes + sharedRemappingBytes,
} as const;
const channelBytes = place.data + dmaBytesMax;

export function createChannelMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(channelBytes);
}

/** One channel, seen from either side. */
export class DeviceChannel {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #record = new Int32Array(recordWords);
  /** To the device. */
  readonly down: RecordRing;
  /** To the platform. */
  readonly up: RecordRing;
  /** What the device needs to know to remap its messages itself. */
  readonly remapping: SharedRemapping;
  /** The data of a DMA request. */
  readonly data: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.down = new RecordRing(this.#words, place.down, downCapacity);
    this.up = new RecordRing(this.#words, place.up, upCapacity);
    this.remapping = new SharedRemapping(this.#words, place.remapping);
    this.data = new Uint8Array(memory, place.data, dmaBytesMax);
  }

  /** The platform. @returns false: the device is behind, nothing has happened */
  tell(message: ToDevice): boolean {
    if (!this.down.put(encodeToDevice(message))) return false;
    this.down.ring();
    return true;
  }

  /** The device's next message, if there is one. */
  nextForDevice(): ToDevice | undefined {
    return this.down.take(this.#record) ? decodeToDevice(this.#record) : undefined;
  }

  /** The device; it rings the platform's doorbell itself. @returns false: the platform is behind, nothing has happened */
  report(message: FromDevice): boolean {
    return this.up.put(encodeFromDevice(message));
  }

  /** The platform's next message, if there is one. */
  nextForPlatform(): FromDevice | undefined {
    return this.up.take(this.#record) ? decodeFromDevice(this.#record) : undefined;
  }

  get dmaState(): number {
    return Atomics.load(this.#words, place.dma / 4);
  }
  moveDma(to: DmaState): void {
    const before = Atomics.exchange(this.#words, place.dma / 4, to);
    assert(isDmaStep(before, to), "a DMA request changed hands");
    if (to !== DmaState.Idle) Atomics.notify(this.#words, place.dma / 4);
  }
  /** The device: sleeps while its request is under way. */
  awaitDma(timeoutMs: number): void {
    Atomics.wait(this.#words, place.dma / 4, DmaState.Requested, timeoutMs);
  }
}

function encodeToDevice(message: ToDevice): number[] {
  const kind = toDeviceKind[message.type];
  switch (message.type) {
    case "read":
      return [kind, message.tag, message.bar, message.offset, message.size];
    case "write":
      return [kind, message.tag, message.bar, message.offset, message.size, message.value];
    case "readConfiguration":
      return [kind, message.tag, 0, message.offset, message.size];
    case "writeConfiguration":
      return [kind, message.tag, 0, message.offset, message.size, message.value];
    case "reset":
      return [kind];
  }
}

function decodeToDevice(record: Int32Array): ToDevice {
  const [kind = 0, tag = 0, bar = 0, low = 0, size = 0, signed = 0] = record;
  const offset = low >>> 0;
  const value = signed >>> 0;
  switch (kind) {
    case toDeviceKind.read:
      return { type: "read", tag, bar, offset, size };
    case toDeviceKind.write:
      return { type: "write", tag, bar, offset, size, value };
    case toDeviceKind.readConfiguration:
      return { type: "readConfiguration", tag, offset, size };
    case toDeviceKind.writeConfiguration:
      return { type: "writeConfiguration", tag, offset, size, value };
    default:
      assert(kind === toDeviceKind.reset, "a device was told nothing known");
      return { type: "reset" };
  }
}

function encodeFromDevice(message: FromDevice): number[] {
  const kind = fromDeviceKind[message.type];
  switch (message.type) {
    case "answer":
      return [kind, message.tag, message.value];
    case "message":
      return [kind, ...halves(message.address), message.data];
    case "line":
      return [kind, message.high ? 1 : 0];
    case "output": {
      const words = new Int32Array(recordWords - 2);
      new Uint8Array(words.buffer).set(message.bytes);
      return [kind, message.bytes.length, ...words];
    }
    case "dmaRead":
    case "dmaWrite":
      return [kind, ...halves(message.address), message.bytes];
  }
}

function decodeFromDevice(record: Int32Array): FromDevice {
  const [kind = 0, first = 0, second = 0, third = 0] = record;
  switch (kind) {
    case fromDeviceKind.answer:
      return { type: "answer", tag: first, value: second >>> 0 };
    case fromDeviceKind.message:
      return { type: "message", address: whole(first, second), data: third >>> 0 };
    case fromDeviceKind.line:
      return { type: "line", high: first !== 0 };
    case fromDeviceKind.output: {
      const bytes = new Uint8Array(record.slice(2).buffer, 0, first);
      return { type: "output", bytes };
    }
    case fromDeviceKind.dmaRead:
      return { type: "dmaRead", address: whole(first, second), bytes: third };
    default:
      assert(kind === fromDeviceKind.dmaWrite, "a device has said nothing known");
      return { type: "dmaWrite", address: whole(first, second), bytes: third };
  }
}

function halves(address: number | bigint): readonly [low: number, high: number] {
  if (typeof address === "bigint") {
    return [Number(address & 0xffff_ffffn), Number((address >> 32n) & 0xffff_ffffn)];
  }
  // A number that large has been rounded, and must not come round to 0.
  if (address >= 2 ** 64) return [0xffff_ffff, 0xffff_ffff];
  return [address % 2 ** 32, Math.floor(address / 2 ** 32)];
}

/** A number where it is exact. */
function whole(low: number, high: number): number | bigint {
  return high >>> 0 < 2 ** 21
    ? (low >>> 0) + (high >>> 0) * 2 ** 32
    : (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
