/** 48-bit linear addresses: bits 63:47 are all alike. @param high upper half of the address */
export function isCanonical(high: number): boolean {
  const top = high >> 15;
  return top === 0 || top === -1;
}

const wide = new BigUint64Array(1);
const halves = new Uint32Array(wide.buffer);

/** @param linear the low 64 bits count */
export function isCanonicalAddress(linear: bigint): boolean {
  // By way of memory: arithmetic on bigints would make new ones.
  wide[0] = linear;
  return isCanonical(halves[1] ?? 0);
}
