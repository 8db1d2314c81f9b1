/**
 * A seeded generator (xoshiro128**, period 2^128 - 1): the one source of chance in a deterministic machine. Equal seeds give
 * equal sequences on every host.
 */
export class Prng {
  readonly #state = new Uint32Array(4);

  /** @param seed any 32-bit value; neighbours give unrelated sequences */
  constructor(seed: number) {
    // SplitMix32 spreads the seed and never leaves the state all zero.
    let mixed = seed >>> 0;
    for (let n = 0; n < 4; n++) {
      mixed = (mixed + 0x9e37_79b9) >>> 0;
      let z = mixed;
      z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
      this.#state[n] = z ^ (z >>> 15);
    }
  }

  /** 32 random bits, unsigned. */
  next(): number {
    const state = this.#state;
    const a = state[0] ?? 0;
    const b = state[1] ?? 0;
    const c = state[2] ?? 0;
    const d = state[3] ?? 0;
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    state[2] = c ^ a;
    state[3] = d ^ b;
    state[1] = b ^ (c ^ a);
    state[0] = a ^ (d ^ b);
    state[2] = c ^ a ^ (b << 9);
    state[3] = rotate(d ^ b, 11);
    return result;
  }

  /** A whole number from 0 up to, not including, `limit` (1 to 2^32); its bias is below `limit` / 2^32. */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit);
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
