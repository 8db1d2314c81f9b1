import type { RequesterPort } from "../requester.ts";
import { type DmaDescriptor, DmaError, DmaOperation } from "./dma-descriptor.ts";

/** A request on the bus: at most so many bytes, and within one page at either end. */
const requestBytes = 4096;

/** One good descriptor being carried out, piece by piece. */
export class DmaTransfer {
  readonly descriptor: DmaDescriptor;
  readonly #port: RequesterPort;
  readonly #buffer: Uint8Array;
  #done = 0;
  #sum = 0;
  error: DmaError = DmaError.None;

  /** @param buffer of at least 4096 bytes, used in `step` alone */
  constructor(descriptor: DmaDescriptor, port: RequesterPort, buffer: Uint8Array) {
    this.descriptor = descriptor;
    this.#port = port;
    this.#buffer = buffer;
  }

  get isFinished(): boolean {
    return this.error !== DmaError.None || this.#done === this.descriptor.length;
  }
  get bytesDone(): number {
    return this.#done;
  }
  /** What the write-back tells: the sum for a transfer that only reads, else the bytes moved. */
  get result(): number {
    return this.descriptor.operation === DmaOperation.Sum ? this.#sum : this.#done;
  }

  /** Moves the next piece. What is blocked moves nothing. */
  step(): void {
    const { source, destination, operation } = this.descriptor;
    const from = BigInt.asUintN(64, source + BigInt(this.#done));
    const to = BigInt.asUintN(64, destination + BigInt(this.#done));
    const reads = operation !== DmaOperation.Fill;
    const writes = operation !== DmaOperation.Sum;
    const room = Math.min(
      reads ? roomInPage(from) : requestBytes,
      writes ? roomInPage(to) : requestBytes,
    );
    const piece = this.#buffer.subarray(0, Math.min(room, this.descriptor.length - this.#done));
    if (!reads) {
      this.#pattern(piece);
    } else if (!this.#port.read(from, piece)) {
      this.error = DmaError.SourceBlocked;
      return;
    }
    if (!writes) {
      for (const byte of piece) {
        this.#sum = (this.#sum + byte) >>> 0;
      }
    } else if (!this.#port.write(to, piece)) {
      this.error = DmaError.DestinationBlocked;
      return;
    }
    this.#done += piece.length;
  }

  /** The eight bytes of the source field over and over. */
  #pattern(piece: Uint8Array): void {
    const eight = new Uint8Array(8);
    new DataView(eight.buffer).setBigUint64(0, this.descriptor.source, true);
    for (let n = 0; n < piece.length; n++) {
      piece[n] = eight[(this.#done + n) % 8] ?? 0;
    }
  }
}

function roomInPage(address: bigint): number {
  return requestBytes - Number(address % BigInt(requestBytes));
}
