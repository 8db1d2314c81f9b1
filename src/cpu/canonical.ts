/** 48-bit linear addresses: bits 63:47 are all alike. @param high upper half of the address */
export function isCanonical(high: number): boolean {
  const top = high >> 15;
  return top === 0 || top === -1;
}

/** @param linear the low 64 bits count */
export function isCanonicalAddress(linear: bigint): boolean {
  const top = BigInt.asIntN(64, linear) >> 47n;
  return top === 0n || top === -1n;
}
