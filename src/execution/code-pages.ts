import { type MemoryLayout, pageBytes, pageInformationBytes } from "../memory/physical-memory.ts";

/**
 * Which bytes of RAM have been decoded, shared by all LPs: per page a generation, a count of stores, and a mask of the
 * 64-byte lines that hold decoded instructions. A page with a non-empty mask has no write permission in any TLB, so every store to it (by an LP or a
 * device) comes through `written`.
 */
export class CodePages {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #ramBytes: number;

  constructor(memory: WebAssembly.Memory, layout: MemoryLayout) {
    this.#words = new Int32Array(memory.buffer);
    this.#base = layout.pageInformation >>> 2;
    this.#ramBytes = layout.ramBytes;
  }

  #at(physical: number): number {
    return this.#base + Math.floor(physical / pageBytes) * (pageInformationBytes >> 2);
  }
  #isRam(physical: number): boolean {
    return physical >= 0 && physical < this.#ramBytes;
  }

  /** Changes with every store to the page while it holds code, also where none was decoded yet. */
  version(physical: number): number {
    const at = this.#at(physical);
    return Atomics.load(this.#words, at) + Atomics.load(this.#words, at + 1);
  }
  generation(physical: number): number {
    return this.#isRam(physical) ? Atomics.load(this.#words, this.#at(physical)) : 0;
  }
  /** The page holds decoded code. */
  holdsCode(physical: number): boolean {
    if (!this.#isRam(physical)) {
      return false;
    }
    const at = this.#at(physical);
    return (Atomics.load(this.#words, at + 2) | Atomics.load(this.#words, at + 3)) !== 0;
  }
  /** Marks the lines of `bytes` bytes from `physical`, which lie in one page. */
  mark(physical: number, bytes: number): void {
    const { low, high } = lines(physical, bytes);
    const at = this.#at(physical);
    Atomics.or(this.#words, at + 2, low);
    Atomics.or(this.#words, at + 3, high);
  }
  /**
   * A store is about to have happened. @returns true when it touches decoded code: the page then counts as free of code
   * again, and whoever holds decoded instructions of it must drop them.
   */
  written(physical: number, bytes: number): boolean {
    if (!this.holdsCode(physical)) {
      return false;
    }
    const at = this.#at(physical);
    // Copies of the page's bytes that decoders keep are out of date, whatever was decoded of them.
    Atomics.add(this.#words, at + 1, 1);
    const { low, high } = lines(physical, bytes);
    if (
      ((Atomics.load(this.#words, at + 2) & low) | (Atomics.load(this.#words, at + 3) & high)) ===
      0
    ) {
      return false;
    }
    Atomics.add(this.#words, at, 1);
    Atomics.store(this.#words, at + 2, 0);
    Atomics.store(this.#words, at + 3, 0);
    return true;
  }
}

function lines(physical: number, bytes: number): { low: number; high: number } {
  const first = (physical % pageBytes) >>> 6;
  const last = Math.min(63, ((physical % pageBytes) + bytes - 1) >>> 6);
  let low = 0;
  let high = 0;
  for (let line = first; line <= last; line++) {
    if (line < 32) {
      low |= 1 << line;
    } else {
      high |= 1 << (line - 32);
    }
  }
  return { low, high };
}

/** How an LP tells the others about code pages; the drivers implement it. */
export interface CodePagePort {
  /** The page is about to be decoded: when this returns no other LP's TLB allows stores to it. */
  claim(physicalPage: number): void;
  /** Decoded code of the page was overwritten: every other LP must drop it (`Pending.CodeChanged`). */
  changed(physicalPage: number): void;
}
