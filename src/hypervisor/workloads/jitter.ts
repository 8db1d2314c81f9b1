import type { Prng } from "../../base/prng.ts";

/** A duration that varies evenly around another, by up to a share of it: no two vCPUs march in step. */
export function jittered(random: Prng, nanoseconds: number, share = 0.5): number {
  const steps = 1 << 16;
  const offset = (2 * random.below(steps)) / steps - 1;
  return Math.round(nanoseconds * (1 + share * offset));
}
