import { type MemoryLayout, pageBytes, pageInformationBytes } from "../memory/physical-memory.ts";

/** State of a page, in the two low bits of its generation. */
const PageState = {
  /** Nobody may rely on hearing of stores to the page. */
  Free: 0,
  /** No TLB lets stores to the page through: it may be decoded. */
  Claimed: 1,
  /** A store has hit decoded code; whoever made it is about to free the page. */
  Changing: 2,
} as const;
const stateMask = 3;
const generationStep = 4;

/**
 * Which bytes of RAM have been decoded, shared by all LPs: per page a generation with the page's state, a count of stores, and
 * a mask of the 64-byte lines that hold decoded instructions. A page with a non-empty mask gets no write permission in any TLB,
 * so every store to it (by an LP or a device) comes through `written`.
 *
 * Three races are decided by the order of what each side does. In all of them both sides first say what they do and then look
 * at what the other one says, with a full barrier in between: at least one of them sees the other.
 *
 * - Decoding against a store. The decoder marks the lines, then looks whether they still hold the bytes it has decoded; the
 *   storer writes, then looks at the mask.
 * - Claiming against a TLB fill. The claimer marks a line, then looks through the TLBs for write permission, and has it
 *   dropped; the filler enters its permission, then looks at the mask, and takes it back when the page is marked.
 * - Freeing against claiming. A page is freed by one storer at a time, in the state `Changing`, in which nobody claims it. A mark
 *   made before, and wiped out with the others, is void because the generation has changed: its maker compares. The LPs are
 *   told before the mask is cleared: who gets write permission afterwards stores to nothing that still counts as decoded.
 */
export class CodePages {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #ramBytes: number;
  /** Nobody else's: an atomic operation on it is a barrier and waits for no cache line. */
  readonly #barrier = new Int32Array(new SharedArrayBuffer(4));

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
  /**
   * Makes sure that stores to the page are heard of until its generation changes.
   * @param physical within the page; its line is marked
   * @param dropPermissions takes the write permission for the page out of every TLB
   * @returns the generation
   */
  claim(physical: number, dropPermissions: () => void): number {
    const at = this.#at(physical);
    for (;;) {
      const generation = Atomics.load(this.#words, at);
      const state = generation & stateMask;
      if (state === PageState.Claimed) {
        return generation;
      }
      if (state === PageState.Free) {
        this.mark(physical, 1);
        dropPermissions();
        const claimed = generation | PageState.Claimed;
        if (Atomics.compareExchange(this.#words, at, generation, claimed) === generation) {
          return claimed;
        }
      }
    }
  }
  /** Marks the lines of `bytes` bytes from `physical`, which lie in one page. */
  mark(physical: number, bytes: number): void {
    const { low, high } = lines(physical, bytes);
    const at = this.#at(physical);
    Atomics.or(this.#words, at + 2, low);
    Atomics.or(this.#words, at + 3, high);
  }
  /**
   * A store has been made. When it has touched decoded code the page counts as free of code again, and whoever holds decoded
   * instructions of it must drop them.
   * @param announce tells the other LPs so
   * @returns whether it has
   */
  written(physical: number, bytes: number, announce: () => void): boolean {
    Atomics.or(this.#barrier, 0, 0);
    if (!this.holdsCode(physical)) {
      return false;
    }
    const at = this.#at(physical);
    // Copies of the page's bytes that decoders keep are out of date, whatever was decoded of them.
    Atomics.add(this.#words, at + 1, 1);
    for (;;) {
      const generation = Atomics.load(this.#words, at);
      if ((generation & stateMask) === PageState.Changing) {
        continue;
      }
      if (!this.#areMarked(physical, bytes)) {
        return false;
      }
      const next = (generation & ~stateMask) + generationStep;
      const changing = next | PageState.Changing;
      if (Atomics.compareExchange(this.#words, at, generation, changing) === generation) {
        announce();
        Atomics.store(this.#words, at + 2, 0);
        Atomics.store(this.#words, at + 3, 0);
        Atomics.store(this.#words, at, next);
        return true;
      }
    }
  }
  #areMarked(physical: number, bytes: number): boolean {
    const at = this.#at(physical);
    const { low, high } = lines(physical, bytes);
    return (
      ((Atomics.load(this.#words, at + 2) & low) | (Atomics.load(this.#words, at + 3) & high)) !== 0
    );
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
  /** The page is about to be decoded, and is marked: when this returns no other LP's TLB allows stores to it. */
  claim(physicalPage: number): void;
  /** Decoded code of the page was overwritten: every other LP must drop it (`Pending.CodeChanged`). */
  changed(physicalPage: number): void;
}
