import { assert } from "../base/assert.ts";

/** Words of a record, and of the two counters before the records, each on a cache line of its own. */
export const recordWords = 8;
const counterWords = 16;
const headerWords = 2 * counterWords;

/** Bytes a ring takes. @param capacity records: a power of two */
export function recordRingBytes(capacity: number): number {
  return 4 * (headerWords + capacity * recordWords);
}

/**
 * Records of eight words from one thread to another, in order. `taken` and `put` only grow (modulo 2^32); the ring is empty when they
 * are equal and full when `put` is `capacity` ahead. Each is written by one side alone, and is the bell of the other.
 */
export class RecordRing {
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #taken: number;
  readonly #put: number;
  readonly #records: number;
  readonly #capacity: number;

  /** @param address byte address of the ring, whose memory is zero before first use */
  constructor(words: Int32Array<ArrayBufferLike>, address: number, capacity: number) {
    assert((capacity & (capacity - 1)) === 0, "a ring's capacity is a power of two");
    this.#words = words;
    this.#taken = address / 4;
    this.#put = this.#taken + counterWords;
    this.#records = this.#taken + headerWords;
    this.#capacity = capacity;
  }

  /** The sender. @returns false: the ring is full, nothing has happened */
  put(record: readonly number[]): boolean {
    const put = Atomics.load(this.#words, this.#put);
    if (((put - Atomics.load(this.#words, this.#taken)) | 0) >= this.#capacity) return false;
    const at = this.#place(put);
    for (let n = 0; n < record.length; n++) this.#words[at + n] = (record[n] ?? 0) | 0;
    Atomics.store(this.#words, this.#put, (put + 1) | 0);
    return true;
  }

  /** The receiver. @returns false: the ring is empty */
  take(into: Int32Array): boolean {
    const taken = Atomics.load(this.#words, this.#taken);
    if (taken === Atomics.load(this.#words, this.#put)) return false;
    const at = this.#place(taken);
    for (let n = 0; n < recordWords; n++) into[n] = this.#words[at + n] ?? 0;
    Atomics.store(this.#words, this.#taken, (taken + 1) | 0);
    return true;
  }

  /** The sender has put records: wakes the receiver. */
  ring(): void {
    Atomics.notify(this.#words, this.#put);
  }
  /** The receiver has taken records: wakes the sender. */
  release(): void {
    Atomics.notify(this.#words, this.#taken);
  }
  /** The receiver: sleeps while the ring is empty. */
  awaitRecord(timeoutMs: number): void {
    const put = Atomics.load(this.#words, this.#put);
    if (put === Atomics.load(this.#words, this.#taken)) {
      Atomics.wait(this.#words, this.#put, put, timeoutMs);
    }
  }
  /** The sender: sleeps while the ring is full. */
  awaitRoom(timeoutMs: number): void {
    const taken = Atomics.load(this.#words, this.#taken);
    if (((Atomics.load(this.#words, this.#put) - taken) | 0) >= this.#capacity) {
      Atomics.wait(this.#words, this.#taken, taken, timeoutMs);
    }
  }

  #place(counter: number): number {
    return this.#records + (counter & (this.#capacity - 1)) * recordWords;
  }
}
