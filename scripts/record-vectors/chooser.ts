import { createRandom, type Random } from "../../test/vectors/input-state.ts";

/** Seeded choices of the recorder. */
export class Chooser {
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = createRandom(seed);
  }

  /** An integer in [0, bound). */
  below(bound: number): number {
    return this.#random() % bound;
  }

  /** An integer in [first, last]. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1);
  }

  /** True once in `n` times. */
  onceIn(n: number): boolean {
    return this.below(n) === 0;
  }

  oneOf<T>(values: readonly T[]): T {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new Error("nothing to choose from");
    return value;
  }

  /** An unsigned value of `bits` bits: a third of the time at an edge or small, else random. */
  value(bits: number): bigint {
    const all = (1n << BigInt(bits)) - 1n;
    const sign = 1n << BigInt(bits - 1);
    const kind = this.below(6);
    if (kind === 0) return this.oneOf([0n, 1n, all, sign, sign - 1n, sign + 1n, all - 1n]) & all;
    if (kind === 1) return BigInt(this.below(64)) & all;
    return ((BigInt(this.#random()) << 32n) | BigInt(this.#random())) & all;
  }
}
