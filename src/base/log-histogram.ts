/** Buckets per factor of 2: neighbours differ by 9 %. */
export const bucketsPerOctave = 8;

/** Counts in buckets of logarithmic width, as a plain value. `buckets` holds pairs of index and count, indices ascending. */
export interface LogHistogramData {
  readonly count: number;
  readonly sum: number;
  readonly max: number;
  readonly buckets: readonly (readonly [index: number, count: number])[];
}

/** The bucket of a value of 0 or more: 0 for values below 1. */
export function bucketOf(value: number): number {
  return value < 1 ? 0 : 1 + Math.floor(Math.log2(value) * bucketsPerOctave);
}

/** Least value of a bucket. */
export function bucketStart(index: number): number {
  return index === 0 ? 0 : 2 ** ((index - 1) / bucketsPerOctave);
}

/** Counts values of 0 or more, of any magnitude, in constant memory. */
export class LogHistogram {
  readonly #counts: number[] = [];
  #count = 0;
  #sum = 0;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  add(value: number): void {
    this.addMany(value, 1);
  }
  /** The same value, so many times. */
  addMany(value: number, times: number): void {
    const bucket = bucketOf(value);
    while (this.#counts.length <= bucket) this.#counts.push(0);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + times;
    this.#count += times;
    this.#sum += value * times;
    if (value > this.#max) this.#max = value;
  }

  /** Adds the counts of another. */
  merge({ count, sum, max, buckets }: LogHistogramData): void {
    for (const [index, many] of buckets) {
      while (this.#counts.length <= index) this.#counts.push(0);
      this.#counts[index] = (this.#counts[index] ?? 0) + many;
    }
    this.#count += count;
    this.#sum += sum;
    this.#max = Math.max(this.#max, max);
  }

  data(): LogHistogramData {
    const buckets = this.#counts.flatMap((count, index) =>
      count === 0 ? [] : [[index, count] as const],
    );
    return { count: this.#count, sum: this.#sum, max: this.#max, buckets };
  }
}

/**
 * A value that the given part of the counted ones does not exceed, to the width of a bucket.
 * @param part 0 to 1. @returns 0 when nothing was counted
 */
export function quantileOf({ count, max, buckets }: LogHistogramData, part: number): number {
  let left = Math.ceil(part * count);
  for (const [index, many] of buckets) {
    left -= many;
    if (left <= 0) return Math.min(max, bucketStart(index + 1));
  }
  return max;
}
