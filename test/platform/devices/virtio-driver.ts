import type { VirtioPci } from "../../../src/platform/devices/virtio/virtio-pci.ts";
import type { DeviceBench } from "./device-harness.ts";

/** Offsets of the common configuration, as the specification has them. */
export const common = {
  deviceFeatureSelect: 0x00,
  deviceFeature: 0x04,
  driverFeatureSelect: 0x08,
  driverFeature: 0x0c,
  configurationVector: 0x10,
  queueCount: 0x12,
  status: 0x14,
  queueSelect: 0x16,
  queueSize: 0x18,
  queueVector: 0x1a,
  queueEnable: 0x1c,
  notifyOffset: 0x1e,
  descriptors: 0x20,
  driver: 0x28,
  device: 0x30,
} as const;
export const version1 = 1n << 32n;
export const accessPlatform = 1n << 33n;
export const indirect = 1n << 28n;
export const eventIndex = 1n << 29n;
export const next = 1;
export const write = 2;
export const inTable = 4;

export interface Piece {
  readonly address: number;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
}

/** Where the queues of these tests lie: queue n at n × 4 KiB from here, size 8. */
const queuesAt = 0x1000;
export const queueSize = 8;
const area = { driver: 0x100, device: 0x200 } as const;

/** A driver as the specification describes it, for the device on a bench. */
export class VirtioDriver {
  readonly #bench: DeviceBench<VirtioPci>;
  readonly #common: number;
  readonly #notify: number;
  readonly #stride: number;
  readonly interruptStatus: number;
  readonly configuration: number;
  readonly #available: number[] = [];

  constructor(bench: DeviceBench<VirtioPci>) {
    this.#bench = bench;
    this.#common = this.#find(1);
    this.#notify = this.#find(2);
    this.interruptStatus = this.#find(3);
    this.configuration = this.#find(4);
    const capability = this.#capability(2);
    this.#stride = bench.device.function.readConfiguration(capability + 16, 4);
  }

  read(field: number, size = 4): number {
    return this.#bench.read(this.#common + field, 0, size);
  }
  write(field: number, value: number, size = 4): void {
    this.#bench.write(this.#common + field, value, 0, size);
  }
  get status(): number {
    return this.read(common.status, 1);
  }

  offered(): bigint {
    let features = 0n;
    for (const half of [0, 1]) {
      this.write(common.deviceFeatureSelect, half);
      features |= BigInt(this.read(common.deviceFeature)) << BigInt(32 * half);
    }
    return features;
  }

  /** Up to FEATURES_OK. @returns whether the device agrees */
  negotiate(features: bigint): boolean {
    this.write(common.status, 0, 1);
    this.write(common.status, 1, 1);
    this.write(common.status, 3, 1);
    for (const half of [0, 1]) {
      this.write(common.driverFeatureSelect, half);
      this.write(common.driverFeature, Number((features >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    this.write(common.status, 11, 1);
    return (this.status & 8) !== 0;
  }

  /** The whole initialization; queue n interrupts through entry n + 1, the configuration through entry 0. */
  start(features = version1 | accessPlatform, queues = this.read(common.queueCount, 2)): void {
    this.negotiate(features);
    this.write(common.configurationVector, 0, 2);
    for (let n = 0; n < queues; n++) {
      this.write(common.queueSelect, n, 2);
      this.write(common.queueSize, queueSize, 2);
      this.write(common.queueVector, n + 1, 2);
      this.write(common.descriptors, this.descriptors(n));
      this.write(common.driver, this.driver(n));
      this.write(common.device, this.device(n));
      this.write(common.queueEnable, 1, 2);
      this.#available[n] = 0;
    }
    this.write(common.status, 15, 1);
  }

  descriptors(queue: number): number {
    return queuesAt + 0x1000 * queue;
  }
  driver(queue: number): number {
    return this.descriptors(queue) + area.driver;
  }
  device(queue: number): number {
    return this.descriptors(queue) + area.device;
  }

  /** Writes a descriptor table, each piece followed by the next unless it says otherwise. */
  describe(table: number, pieces: readonly Piece[], first = 0): void {
    for (const [n, piece] of pieces.entries()) {
      const at = table + 16 * (first + n);
      const isLast = n === pieces.length - 1;
      const { view } = this.#bench;
      view.setBigUint64(at, BigInt(piece.address), true);
      view.setUint32(at + 8, piece.length, true);
      view.setUint16(at + 12, (piece.flags ?? 0) | (isLast ? 0 : next), true);
      view.setUint16(at + 14, piece.next ?? first + n + 1, true);
    }
  }

  /** Makes a chain available without telling the device. */
  offer(queue: number, head: number): void {
    const index = this.#available[queue] ?? 0;
    const { view } = this.#bench;
    view.setUint16(this.driver(queue) + 4 + 2 * (index % queueSize), head, true);
    this.#available[queue] = (index + 1) & 0xffff;
    view.setUint16(this.driver(queue) + 2, (index + 1) & 0xffff, true);
  }

  notify(queue: number): void {
    this.write(common.queueSelect, queue, 2);
    const offset = this.#stride * this.read(common.notifyOffset, 2);
    this.#bench.write(this.#notify + offset, queue, 0, 2);
    this.#bench.advance(this.#bench.now + 1e6);
  }

  /** Describes, offers and notifies: one chain from descriptor `first` on. */
  send(queue: number, pieces: readonly Piece[], first = 0): void {
    this.describe(this.descriptors(queue), pieces, first);
    this.offer(queue, first);
    this.notify(queue);
  }

  usedIndex(queue: number): number {
    return this.#bench.view.getUint16(this.device(queue) + 2, true);
  }
  /** A used element: the head and the bytes written. */
  used(queue: number, n: number): readonly [number, number] {
    const at = this.device(queue) + 4 + 8 * (n % queueSize);
    return [this.#bench.view.getUint32(at, true), this.#bench.view.getUint32(at + 4, true)];
  }

  #capability(structure: number): number {
    for (let n = 0; ; n++) {
      const at = this.#bench.capability(9, n);
      if (this.#bench.device.function.readConfiguration(at + 3, 1) === structure) return at;
    }
  }
  #find(structure: number): number {
    const at = this.#capability(structure);
    return this.#bench.device.function.readConfiguration(at + 8, 4);
  }
}
