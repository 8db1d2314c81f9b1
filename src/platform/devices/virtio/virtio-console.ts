import { bytesOf, readPieces } from "./descriptor-chain.ts";
import { featureBit } from "./virtio-bits.ts";
import type { VirtioModel, VirtioQueues } from "./virtio-model.ts";

/** "Console Device". */
const emergencyWriteFeature = 2;
const emergencyWriteOffset = 8;
const configurationBytes = 12;
const queue = { receive: 0, transmit: 1 } as const;
const queueSize = 64;
/** Longest piece of text taken from one buffer at a time. */
const pieceBytes = 4096;
/** Most bytes of one chain: what it takes must end soon. */
const chainBytesMax = 2 ** 20;

/** A console that only speaks: what the driver transmits is passed on, and nothing is ever received. */
export class VirtioConsole implements VirtioModel {
  readonly deviceType = 3;
  readonly classCode = 0x07_8000;
  readonly features = featureBit(emergencyWriteFeature);
  readonly queueSizes = [queueSize, queueSize];
  readonly configuration = new Uint8Array(configurationBytes);
  readonly #output: (byte: number) => void;
  readonly #buffer = new Uint8Array(pieceBytes);

  constructor(output: (byte: number) => void) {
    this.#output = output;
  }

  step(which: number, queues: VirtioQueues): boolean {
    if (which !== queue.transmit) {
      return false;
    }
    const chain = queues.take(which);
    if (chain === undefined) {
      return false;
    }
    const bytes = Math.min(bytesOf(chain.readable), chainBytesMax);
    for (let done = 0; done < bytes; done += pieceBytes) {
      const piece = this.#buffer.subarray(0, Math.min(pieceBytes, bytes - done));
      if (!readPieces(queues.port, chain.readable, done, piece)) {
        queues.fail();
        return false;
      }
      for (const byte of piece) {
        this.#output(byte);
      }
    }
    queues.give(which, chain, 0);
    return true;
  }

  /** A driver that has not set its queues up can write characters here. */
  configurationWritten(offset: number, _size: number, value: number): void {
    if (offset === emergencyWriteOffset) {
      this.#output(value & 0xff);
    }
  }
}
