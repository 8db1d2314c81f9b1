/** Length of a spell, in cycles. */
const spellCycles = 100_000;

/**
 * Whether a poster is active now. Posters have spells of work and of rest, each its own: a vCPU that everybody posts to never
 * sleeps for long, and some mistakes show only while it does.
 * @param poster any number. @param seed of the run
 */
export function isActive(poster: number, now: number, seed: number): boolean {
  const spell = Math.floor(now / spellCycles);
  let mixed = Math.imul(spell + 1, 0x9e37_79b1) ^ Math.imul(poster + 1, 0x85eb_ca77) ^ seed;
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b_3c6d);
  return ((mixed ^ (mixed >>> 13)) & 1) === 0;
}
