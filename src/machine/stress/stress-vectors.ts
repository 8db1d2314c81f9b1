import type { Prng } from "../../base/prng.ts";

/** Vectors a stress uses: from this one up, as far apart as their number allows, so that they are of several classes. */
const first = 0x30;
const end = 0xf0;
export const stressVectorsMax = end - first;

export const stressVector = (number: number, count: number): number =>
  first + number * Math.floor((end - first) / count);

export const randomVector =
  (count: number) =>
  (random: Prng): number =>
    stressVector(random.below(count), count);
