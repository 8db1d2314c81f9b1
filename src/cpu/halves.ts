/**
 * 64-bit values as two u32, by way of memory: arithmetic on bigints makes new ones, and these paths are walked for every
 * interrupt.
 */
const wide = new BigUint64Array(1);
const words = new Uint32Array(wide.buffer);

export function lowHalf(value: bigint): number {
  wide[0] = value;
  return words[0] ?? 0;
}
export function highHalf(value: bigint): number {
  wide[0] = value;
  return words[1] ?? 0;
}
export function joinHalves(low: number, high: number): bigint {
  words[0] = low;
  words[1] = high;
  return wide[0] ?? 0n;
}
