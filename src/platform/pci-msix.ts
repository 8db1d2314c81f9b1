import { assert } from "../base/assert.ts";
import {
  littleEndian,
  littleEndianAt,
  type PciCapability,
  PciCapabilityId,
} from "./pci-capability.ts";
import type { PciBar } from "./pci-function.ts";
import type { RequesterPort } from "./requester.ts";

const msixControlOffset = 2;
const controlBit = { functionMask: 1 << 14, enable: 1 << 15 } as const;
/** Words of a table entry: message address, its upper half, message data, vector control. */
const entryWords = 4;
const entryWord = { low: 0, high: 1, data: 2, control: 3 } as const;
const vectorMasked = 1;
export const msixVectorsMax = 2048;
/** A vector's table entry after reset: masked. */
const resetEntry = [0, 0, 0, vectorMasked] as const;
const smallestHalf = 2048;

export interface MsixOptions {
  /** 1 to 2048. */
  readonly vectors: number;
  /** Which base address register places `bar`. */
  readonly barIndex: number;
}

/**
 * "MSI-X Capability": a table of messages in memory space, each with a mask, and a bit array that tells which of them wait for
 * their mask to be lifted. Both lie in a window of their own: the table first, the pending bits in the upper half.
 */
export class MsixCapability implements PciCapability {
  readonly id = PciCapabilityId.Msix;
  readonly values: readonly number[];
  readonly writable: readonly number[];
  /** The window that holds the table and the pending bits. */
  readonly bar: PciBar;
  readonly #vectors: number;
  readonly #table: Uint32Array;
  readonly #pending: Uint32Array;
  #body: Uint8Array = new Uint8Array(12);
  #port: RequesterPort | undefined;
  #isEnabled = false;
  #isMasked = false;

  constructor({ vectors, barIndex }: MsixOptions) {
    assert(vectors >= 1 && vectors <= msixVectorsMax, "MSI-X vectors are 1 to 2048");
    const half = Math.max(smallestHalf, 2 ** Math.ceil(Math.log2(vectors * entryWords * 4)));
    this.values = [
      ...littleEndian(vectors - 1, 2),
      ...littleEndian(barIndex, 4),
      ...littleEndian(half | barIndex, 4),
    ];
    this.writable = [0, (controlBit.enable | controlBit.functionMask) >>> 8, ...littleEndian(0, 8)];
    this.#vectors = vectors;
    this.#table = new Uint32Array(vectors * entryWords);
    this.#pending = new Uint32Array(Math.ceil(vectors / 64) * 2);
    this.bar = {
      space: "memory",
      bytes: 2 * half,
      read: (offset, size) => this.#read(offset, size, half),
      write: (offset, size, value) => {
        if (size === 4 && offset % 4 === 0 && offset < half) {
          this.#writeTable(offset / 4, value);
        }
      },
    };
    this.reset();
  }

  attach(body: Uint8Array, port: RequesterPort): void {
    this.#body = body;
    this.#port = port;
  }

  reset(): void {
    for (let n = 0; n < this.#vectors; n++) {
      this.#table.set(resetEntry, n * entryWords);
    }
    this.#pending.fill(0);
    this.#isEnabled = false;
    this.#isMasked = false;
  }

  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  /**
   * Sends vector `n`, or leaves it pending while it or the whole function is masked.
   * @returns false: MSI-X is off, nothing has happened
   */
  signal(n: number): boolean {
    if (!this.#isEnabled || n >= this.#vectors) {
      return false;
    }
    if (this.#isMasked || this.#isVectorMasked(n)) {
      this.#pending[n >>> 5] = (this.#pending[n >>> 5] ?? 0) | (1 << (n & 31));
    } else {
      this.#send(n);
    }
    return true;
  }

  /** The control word may have changed. */
  written(): void {
    const control = littleEndianAt(this.#body, msixControlOffset, 2);
    this.#isEnabled = (control & controlBit.enable) !== 0;
    this.#isMasked = (control & controlBit.functionMask) !== 0;
    for (let group = 0; group < this.#pending.length; group++) {
      const first = group * 32;
      for (let n = first; this.#pending[group] !== 0 && n < first + 32; n++) {
        this.#release(n);
      }
    }
  }

  #isVectorMasked(n: number): boolean {
    return ((this.#table[n * entryWords + entryWord.control] ?? 0) & vectorMasked) !== 0;
  }

  /** Sends what waits for vector `n`, if nothing masks it. */
  #release(n: number): void {
    const bit = 1 << (n & 31);
    const waits = ((this.#pending[n >>> 5] ?? 0) & bit) !== 0;
    if (waits && this.#isEnabled && !this.#isMasked && !this.#isVectorMasked(n)) {
      this.#pending[n >>> 5] = (this.#pending[n >>> 5] ?? 0) & ~bit;
      this.#send(n);
    }
  }

  #send(n: number): void {
    const at = n * entryWords;
    const low = this.#table[at + entryWord.low] ?? 0;
    const high = this.#table[at + entryWord.high] ?? 0;
    const address = high === 0 ? low : (BigInt(high) << 32n) | BigInt(low);
    this.#port?.message(address, this.#table[at + entryWord.data] ?? 0);
  }

  #read(offset: number, size: number, half: number): number {
    const words = offset < half ? this.#table : this.#pending;
    const word = words[(offset % half) >>> 2] ?? 0;
    return size === 4 ? word : word >>> (8 * (offset & 3));
  }

  #writeTable(word: number, value: number): void {
    if (word >= this.#table.length) {
      return;
    }
    const field = word % entryWords;
    this.#table[word] = field === entryWord.control ? value & vectorMasked : value;
    if (field === entryWord.low) {
      this.#table[word] = (value & ~3) >>> 0;
    }
    this.#release(Math.floor(word / entryWords));
  }
}
