import { littleEndian } from "../../pci-capability.ts";
import type { ByteStore } from "../device-services.ts";
import { bytesOf, type DescriptorChain, readPieces, writePieces } from "./descriptor-chain.ts";
import { featureBit } from "./virtio-bits.ts";
import type { VirtioModel, VirtioQueues } from "./virtio-model.ts";

/** "Block Device": feature bits, request types and the status a request ends with. */
const feature = { segmentMax: 2, readOnly: 5, blockSize: 6, flush: 9 } as const;
const request = { read: 0, write: 1, flush: 4, identify: 8 } as const;
const status = { ok: 0, ioError: 1, unsupported: 2 } as const;

const sectorBytes = 512;
/** Type, a reserved word, sector. */
const headerBytes = 16;
const statusBytes = 1;
const queueSize = 128;
/** A request has a header and a status besides its data. */
const segmentMax = queueSize - 2;
/** Most data of one request: what it takes must end soon. */
const dataBytesMax = 16 * 2 ** 20;
const bufferBytes = 65536;
const identification = "vmxon";
const identificationBytes = 20;

/** Offsets of configuration fields. */
const field = { capacity: 0, segmentMax: 12, blockSize: 20 } as const;
const configurationBytes = 24;

/** A disk: one queue of requests, each a header, data and a status. */
export class VirtioBlk implements VirtioModel {
  readonly deviceType = 2;
  readonly classCode = 0x01_0000;
  readonly features: bigint;
  readonly queueSizes = [queueSize];
  readonly configuration = new Uint8Array(configurationBytes);
  readonly #store: ByteStore;
  readonly #isReadOnly: boolean;
  readonly #sectors: number;
  readonly #header = new Uint8Array(headerBytes);
  readonly #buffer = new Uint8Array(bufferBytes);

  constructor(store: ByteStore, isReadOnly: boolean) {
    this.#store = store;
    this.#isReadOnly = isReadOnly;
    this.#sectors = Math.floor(store.bytes / sectorBytes);
    this.features =
      featureBit(feature.segmentMax) |
      featureBit(feature.blockSize) |
      featureBit(feature.flush) |
      (isReadOnly ? featureBit(feature.readOnly) : 0n);
    const sectors = this.#sectors;
    this.configuration.set(littleEndian(sectors >>> 0, 4), field.capacity);
    this.configuration.set(littleEndian(Math.floor(sectors / 2 ** 32), 4), field.capacity + 4);
    this.configuration.set(littleEndian(segmentMax, 4), field.segmentMax);
    this.configuration.set(littleEndian(sectorBytes, 4), field.blockSize);
  }

  step(queue: number, queues: VirtioQueues): boolean {
    const chain = queues.take(queue);
    if (chain === undefined) {
      return false;
    }
    const room = bytesOf(chain.writable) - statusBytes;
    if (room < 0 || !readPieces(queues.port, chain.readable, 0, this.#header)) {
      // There is nowhere to say what is wrong.
      queues.fail();
      return false;
    }
    const result = this.#serve(chain, room, queues);
    if (!writePieces(queues.port, chain.writable, room, Uint8Array.of(result))) {
      queues.fail();
      return false;
    }
    const type = this.#type();
    const hasData = result === status.ok && (type === request.read || type === request.identify);
    queues.give(queue, chain, hasData ? room + statusBytes : statusBytes);
    return true;
  }

  #type(): number {
    return new DataView(this.#header.buffer).getUint32(0, true);
  }

  /** @returns the status of the request */
  #serve(chain: DescriptorChain, room: number, { port }: VirtioQueues): number {
    switch (this.#type()) {
      case request.read:
        return this.#transfer(room, (offset, data, done) => {
          return this.#store.read(offset, data) && writePieces(port, chain.writable, done, data);
        });
      case request.write: {
        const bytes = bytesOf(chain.readable) - headerBytes;
        if (this.#isReadOnly) {
          return status.ioError;
        }
        return this.#transfer(bytes, (offset, data, done) => {
          const isRead = readPieces(port, chain.readable, headerBytes + done, data);
          return isRead && this.#store.write(offset, data);
        });
      }
      case request.flush:
        return this.#store.flush() ? status.ok : status.ioError;
      case request.identify: {
        const text = new Uint8Array(Math.min(room, identificationBytes));
        text.set([...identification].map((letter) => letter.charCodeAt(0)).slice(0, text.length));
        return writePieces(port, chain.writable, 0, text) ? status.ok : status.ioError;
      }
      default:
        return status.unsupported;
    }
  }

  /** Whole sectors on the disk, in pieces that fit the buffer. Nothing is moved of a request that leaves the disk. */
  #transfer(
    bytes: number,
    move: (offset: number, data: Uint8Array, done: number) => boolean,
  ): number {
    const view = new DataView(this.#header.buffer);
    const sector = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32;
    const count = bytes / sectorBytes;
    if (!Number.isInteger(count) || bytes > dataBytesMax || sector + count > this.#sectors) {
      return status.ioError;
    }
    for (let done = 0; done < bytes; done += bufferBytes) {
      const data = this.#buffer.subarray(0, Math.min(bufferBytes, bytes - done));
      if (!move(sector * sectorBytes + done, data, done)) {
        return status.ioError;
      }
    }
    return status.ok;
  }
}
