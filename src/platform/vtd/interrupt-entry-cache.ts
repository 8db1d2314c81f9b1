import { entryWords } from "./interrupt-entry.ts";

const slotCount = 1024;
const free = -1;

/** Interrupt remapping table entries by index, until they are invalidated or another index takes the slot. */
export class InterruptEntryCache {
  /** Slot after slot. */
  readonly words = new Int32Array(slotCount * entryWords);
  readonly #indices = new Int32Array(slotCount).fill(free);

  /** Where the entry's words are or would be, in `words`. */
  placeOf(index: number): number {
    return (index & (slotCount - 1)) * entryWords;
  }
  has(index: number): boolean {
    return this.#indices[index & (slotCount - 1)] === index;
  }
  /** The words at the entry's place are those of the table. */
  keep(index: number): void {
    this.#indices[index & (slotCount - 1)] = index;
  }
  /** The words at the entry's place are not worth keeping. */
  drop(index: number): void {
    this.#indices[index & (slotCount - 1)] = free;
  }

  invalidateAll(): void {
    this.#indices.fill(free);
  }
  /** The 2^mask entries, naturally aligned, among which `index` is. */
  invalidate(index: number, mask: number): void {
    const group = Math.floor(index / 2 ** mask);
    for (let slot = 0; slot < slotCount; slot++) {
      const each = this.#indices[slot] ?? free;
      if (each !== free && Math.floor(each / 2 ** mask) === group) {
        this.#indices[slot] = free;
      }
    }
  }
}
