import type { DmaMemory } from "../device.ts";

/** Memory as the unit itself uses it. */
export interface VtdMemory extends DmaMemory {
  /** The shared memory in 32-bit words, RAM from its beginning. */
  readonly words: Int32Array<ArrayBufferLike>;
  readonly ramBytes: number;
}

/**
 * Reads table entries. What an LP writes in one access is read as one: the words are read again until they stand still.
 * A read fails for what is not RAM.
 */
export class TableMemory {
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #ramBytes: number;

  constructor({ words, ramBytes }: Pick<VtdMemory, "words" | "ramBytes">) {
    this.#words = words;
    this.#ramBytes = ramBytes;
  }

  /** Halves of the last quadword read, as 32 bits. */
  low = 0;
  high = 0;

  /** Reads the aligned quadword at `address` into `low` and `high`. */
  quadword(address: number): boolean {
    if (!(address + 8 <= this.#ramBytes)) {
      return false;
    }
    const words = this.#words;
    const at = address / 4;
    let high: number;
    do {
      high = Atomics.load(words, at + 1);
      this.low = Atomics.load(words, at);
    } while (Atomics.load(words, at + 1) !== high);
    this.high = high;
    return true;
  }

  /** Reads the four words at `address`, aligned to 16 bytes, as one. */
  octoword(address: number, into: Int32Array, at: number): boolean {
    if (!(address + 16 <= this.#ramBytes)) {
      return false;
    }
    const words = this.#words;
    const from = address / 4;
    for (let differs = true; differs; ) {
      for (let n = 0; n < 4; n++) {
        into[at + n] = Atomics.load(words, from + n);
      }
      differs = false;
      for (let n = 0; n < 4; n++) {
        differs ||= Atomics.load(words, from + n) !== into[at + n];
      }
    }
    return true;
  }
}
