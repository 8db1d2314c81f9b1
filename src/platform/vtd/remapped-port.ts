import { isInterruptAddress } from "../msi-message.ts";
import type { RequesterPort } from "../requester.ts";
import type { InterruptRemapping } from "./interrupt-remapping.ts";
import { Permission } from "./second-stage.ts";
import type { VtdMemory } from "./table-memory.ts";

const pageBytes = 4096;
/** A function addresses 64 bits. */
const pagesMax = 2 ** 52;

/** Page of an address, NaN for what is no address. */
export function pageOfAddress(address: number | bigint): number {
  if (typeof address === "number") {
    return address >= 0 && address < pagesMax * pageBytes
      ? Math.floor(address / pageBytes)
      : Number.NaN;
  }
  return address >= 0n && address >> 64n === 0n ? Number(address >> 12n) : Number.NaN;
}
export function offsetOfAddress(address: number | bigint): number {
  return typeof address === "number" ? address % pageBytes : Number(address & 0xfffn);
}

export interface RemappedPortOptions {
  readonly requester: number;
  readonly memory: VtdMemory;
  /** @returns number of the page of the host, or -1 for a page that the function may not reach */
  readonly translate: (page: number, need: number) => number;
  readonly interrupts: InterruptRemapping;
}

/**
 * A function's way to memory through the unit. A request that spans pages is several requests to the unit, but touches memory
 * only if all of them may.
 */
export class RemappedPort implements RequesterPort {
  readonly #requester: number;
  readonly #memory: VtdMemory;
  readonly #translateDma: (page: number, need: number) => number;
  readonly #interrupts: InterruptRemapping;
  readonly #word = new Uint8Array(4);
  /** Host pages of a request that spans several. */
  readonly #frames: number[] = [];

  constructor({ requester, memory, translate, interrupts }: RemappedPortOptions) {
    this.#requester = requester;
    this.#memory = memory;
    this.#translateDma = translate;
    this.#interrupts = interrupts;
  }

  read(address: number | bigint, into: Uint8Array): boolean {
    const page = pageOfAddress(address);
    const offset = offsetOfAddress(address);
    if (Number.isNaN(page)) {
      return false;
    }
    const need = into.length === 0 ? 0 : Permission.Read;
    if (offset + into.length <= pageBytes) {
      const frame = this.#translate(page, need);
      return frame >= 0 && this.#memory.read(frame * pageBytes + offset, into);
    }
    if (!this.#translateAll(page, offset + into.length, need)) {
      return false;
    }
    this.#pieces(offset, into, (at, piece) => this.#memory.read(at, piece));
    return true;
  }

  write(address: number | bigint, from: Uint8Array): boolean {
    const page = pageOfAddress(address);
    const offset = offsetOfAddress(address);
    if (Number.isNaN(page)) {
      return false;
    }
    if (isInterruptAddress(page * pageBytes)) {
      return this.#interruptWrite(page * pageBytes + offset, from);
    }
    if (offset + from.length <= pageBytes) {
      const frame = this.#translate(page, Permission.Write);
      return frame >= 0 && this.#memory.write(frame * pageBytes + offset, from);
    }
    if (!this.#translateAll(page, offset + from.length, Permission.Write)) {
      return false;
    }
    this.#pieces(offset, from, (at, piece) => this.#memory.write(at, piece));
    return true;
  }

  message(address: number | bigint, data: number): void {
    const at = Number(address);
    if (isInterruptAddress(at)) {
      this.#interrupts.message(this.#requester, at, data);
    } else {
      new DataView(this.#word.buffer).setUint32(0, data, true);
      this.write(address, this.#word);
    }
  }

  /** In the interrupt range only an aligned doubleword means something; anything else is aborted. */
  #interruptWrite(address: number, from: Uint8Array): boolean {
    if (from.length !== 4 || address % 4 !== 0) {
      return false;
    }
    const data = new DataView(from.buffer, from.byteOffset, 4).getUint32(0, true);
    this.#interrupts.message(this.#requester, address, data);
    return true;
  }

  /** @returns -1 for a page that the function may not reach; nobody reads or writes through the interrupt range */
  #translate(page: number, need: number): number {
    if (isInterruptAddress(page * pageBytes)) {
      return -1;
    }
    return this.#translateDma(page, need);
  }

  /** Fills `#frames`. @param bytes from the beginning of the first page on */
  #translateAll(page: number, bytes: number, need: number): boolean {
    const count = Math.ceil(bytes / pageBytes);
    const ramPages = this.#memory.ramBytes / pageBytes;
    this.#frames.length = 0;
    for (let n = 0; n < count; n++) {
      const frame = this.#translate(page + n, need);
      if (frame < 0 || frame >= ramPages) {
        return false;
      }
      this.#frames.push(frame);
    }
    return true;
  }

  #pieces(
    offset: number,
    bytes: Uint8Array,
    transfer: (address: number, piece: Uint8Array) => boolean,
  ): void {
    let done = 0;
    for (const frame of this.#frames) {
      const start = done === 0 ? offset : 0;
      const length = Math.min(pageBytes - start, bytes.length - done);
      transfer(frame * pageBytes + start, bytes.subarray(done, done + length));
      done += length;
    }
  }
}
