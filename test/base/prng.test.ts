import { expect, it } from "vitest";
import { Prng } from "../../src/base/prng.ts";

it("follows the published algorithm step by step", () => {
  // Written again with 64-bit integers, from the definition of xoshiro128**.
  const mask = 0xffff_ffffn;
  const rotate = (x: bigint, k: bigint): bigint => ((x << k) | (x >> (32n - k))) & mask;
  const state: [bigint, bigint, bigint, bigint] = [0n, 0n, 0n, 0n];
  let mixed = 12345n;
  for (let n = 0; n < 4; n++) {
    mixed = (mixed + 0x9e3779b9n) & mask;
    let z = mixed;
    z = ((z ^ (z >> 16n)) * 0x21f0aaadn) & mask;
    z = ((z ^ (z >> 15n)) * 0x735a2d97n) & mask;
    state[n as 0 | 1 | 2 | 3] = z ^ (z >> 15n);
  }
  const reference = (): number => {
    const result = (rotate((state[1] * 5n) & mask, 7n) * 9n) & mask;
    const t = (state[1] << 9n) & mask;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 11n);
    return Number(result);
  };
  const prng = new Prng(12345);
  for (let n = 0; n < 1000; n++) expect(prng.next()).toBe(reference());
});

it("repeats for the same seed and differs for another", () => {
  const draw = (seed: number): number[] => {
    const prng = new Prng(seed);
    return Array.from({ length: 8 }, () => prng.next());
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
  expect(new Set(draw(0)).size).toBe(8);
});

it("stays below the limit and reaches every value", () => {
  const prng = new Prng(3);
  const counts = [0, 0, 0, 0, 0];
  for (let n = 0; n < 5000; n++) {
    const value = prng.below(5);
    counts[value] = (counts[value] ?? 0) + 1;
  }
  expect(counts.length).toBe(5);
  for (const count of counts) expect(count).toBeGreaterThan(850);
});
