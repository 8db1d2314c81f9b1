/** Bytes a pipe holds: a power of two. */
const capacity = 4096;
const headerBytes = 128;
/** Word indices of the counters, each on a cache line of its own. */
const word = { taken: 0, put: 16 } as const;

export const createBytePipeMemory = (): SharedArrayBuffer =>
  new SharedArrayBuffer(headerBytes + capacity);

/**
 * Bytes from one thread to another, in order. `taken` and `put` only grow (modulo 2^32), each written by one side alone. Nobody sleeps
 * on it: whoever is to take is told by other means.
 */
export class BytePipe {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, headerBytes / 4);
    this.#bytes = new Uint8Array(memory, headerBytes);
  }

  /** The sender. @returns how many bytes there was room for */
  put(bytes: Uint8Array): number {
    const put = Atomics.load(this.#words, word.put);
    const room = capacity - ((put - Atomics.load(this.#words, word.taken)) | 0);
    const count = Math.min(room, bytes.length);
    for (let n = 0; n < count; n++) this.#bytes[this.#place(put + n)] = bytes[n] ?? 0;
    Atomics.store(this.#words, word.put, (put + count) | 0);
    return count;
  }

  /** The receiver. @returns the next byte, if there is one */
  take(): number | undefined {
    const taken = Atomics.load(this.#words, word.taken);
    if (taken === Atomics.load(this.#words, word.put)) return undefined;
    const byte = this.#bytes[this.#place(taken)];
    Atomics.store(this.#words, word.taken, (taken + 1) | 0);
    return byte;
  }

  #place(counter: number): number {
    return counter & (capacity - 1);
  }
}
