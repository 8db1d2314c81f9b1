const words = 8;

/** A set of interrupt vectors: the request register of a virtual APIC that software keeps. */
export class PendingVectors {
  readonly #words = new Uint32Array(words);
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  has(vector: number): boolean {
    return (((this.#words[vector >>> 5] ?? 0) >>> (vector & 31)) & 1) !== 0;
  }

  /** @returns whether it was not there */
  add(vector: number): boolean {
    if (this.has(vector)) return false;
    this.#words[vector >>> 5] = (this.#words[vector >>> 5] ?? 0) | (1 << (vector & 31));
    this.#count += 1;
    return true;
  }

  /** The one of highest priority, which is removed; undefined when there is none. */
  takeHighest(): number | undefined {
    for (let word = words - 1; word >= 0; word--) {
      const bits = this.#words[word] ?? 0;
      if (bits === 0) continue;
      const bit = 31 - Math.clz32(bits);
      this.#words[word] = bits & ~(1 << bit);
      this.#count -= 1;
      return word * 32 + bit;
    }
    return undefined;
  }
}
