/** A bigint of 64 bits as two unsigned halves, without making an object. */
const wide = new BigInt64Array(1);
const words = new Uint32Array(wide.buffer);

export function lowHalf(value: bigint): number {
  wide[0] = value;
  return words[0] ?? 0;
}
export function highHalf(value: bigint): number {
  wide[0] = value;
  return words[1] ?? 0;
}
