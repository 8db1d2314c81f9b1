const digitBits = 16;
const digits = 2 ** digitBits;

/** Indices of the values, whole numbers from 0 to 2^53, from the least to the greatest; equal ones stay as they are. A radix sort. */
export function ascendingOrder(values: Float64Array): Uint32Array {
  const low = new Uint32Array(values.length);
  const high = new Uint32Array(values.length);
  let order = new Uint32Array(values.length);
  let lowBits = 0;
  let highBits = 0;
  for (let n = 0; n < values.length; n++) {
    const value = values[n] ?? 0;
    const upper = Math.floor(value / 2 ** 32);
    const lower = value % 2 ** 32;
    high[n] = upper;
    low[n] = lower;
    highBits |= upper;
    lowBits |= lower;
    order[n] = n;
  }
  for (const [part, bits, shift] of [
    [low, lowBits, 0],
    [low, lowBits, digitBits],
    [high, highBits, 0],
    [high, highBits, digitBits],
  ] as const) {
    if (bits >>> shift !== 0) order = sortedByDigit(order, part, shift);
  }
  return order;
}

function sortedByDigit(
  order: Uint32Array<ArrayBuffer>,
  part: Uint32Array,
  shift: number,
): Uint32Array<ArrayBuffer> {
  const start = new Uint32Array(digits + 1);
  for (let n = 0; n < part.length; n++) {
    const next = (((part[n] ?? 0) >>> shift) & (digits - 1)) + 1;
    start[next] = (start[next] ?? 0) + 1;
  }
  for (let n = 1; n <= digits; n++) start[n] = (start[n] ?? 0) + (start[n - 1] ?? 0);
  const sorted = new Uint32Array(order.length);
  for (let n = 0; n < order.length; n++) {
    const index = order[n] ?? 0;
    const digit = ((part[index] ?? 0) >>> shift) & (digits - 1);
    const place = start[digit] ?? 0;
    start[digit] = place + 1;
    sorted[place] = index;
  }
  return sorted;
}
