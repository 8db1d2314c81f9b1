import { LogHistogram, type LogHistogramData } from "../../../base/log-histogram.ts";

/** Of some durations or latencies in nanoseconds. All 0 when there are none. */
export interface Distribution {
  readonly count: number;
  readonly mean: number;
  readonly p5: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly histogram: LogHistogramData;
}

const samplesAtFirst = 256;

/** Collects values. */
export class Samples {
  #values = new Float64Array(samplesAtFirst);
  #count = 0;

  add(value: number): void {
    if (this.#count === this.#values.length) {
      const values = new Float64Array(this.#count * 2);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[this.#count++] = value;
  }

  distribution(): Distribution {
    const values = this.#values.slice(0, this.#count).sort();
    const histogram = new LogHistogram();
    for (const value of values) histogram.add(value);
    const sum = values.reduce((total, value) => total + value, 0);
    const quantile = (part: number): number => nearestRank(values, part);
    return {
      count: values.length,
      mean: values.length === 0 ? 0 : sum / values.length,
      p5: quantile(0.05),
      p50: quantile(0.5),
      p95: quantile(0.95),
      p99: quantile(0.99),
      p999: quantile(0.999),
      max: quantile(1),
      histogram: histogram.data(),
    };
  }
}

/** The least of the sorted values that at least the given part does not exceed. */
function nearestRank(sorted: Float64Array, part: number): number {
  // The part of a count may come out a hair above the whole number that is meant.
  const rank = Math.ceil(part * sorted.length - 1e-9);
  return sorted[Math.max(0, rank - 1)] ?? 0;
}

/** A mean and half the width of its 95 % confidence interval: Student's t over independent runs. Half-width 0 for one run. */
export interface Estimate {
  readonly mean: number;
  readonly halfWidth: number;
  readonly runs: number;
}

/** Two-sided 95 % points of Student's t by degrees of freedom, 1 to 30. */
const studentT = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145,
  2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048,
  2.045, 2.042,
];
const normal = 1.96;

/** Values that are not finite are left out. */
export function estimate(values: readonly number[]): Estimate {
  const known = values.filter(Number.isFinite);
  const runs = known.length;
  if (runs === 0) return { mean: Number.NaN, halfWidth: 0, runs };
  const mean = known.reduce((sum, value) => sum + value, 0) / runs;
  if (runs === 1) return { mean, halfWidth: 0, runs };
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const deviation = Math.sqrt(squares / (runs - 1));
  const t = studentT[runs - 2] ?? normal;
  const halfWidth = (t * deviation) / Math.sqrt(runs);
  // What the arithmetic itself leaves is no spread.
  return { mean, halfWidth: halfWidth > Math.abs(mean) * 1e-12 ? halfWidth : 0, runs };
}

/** Jain's index: 1 when all are equal, 1/n when one has all. 1 for nothing at all. */
export function jainIndex(values: readonly number[]): number {
  const sum = values.reduce((total, value) => total + value, 0);
  const squares = values.reduce((total, value) => total + value ** 2, 0);
  return squares === 0 ? 1 : sum ** 2 / (values.length * squares);
}
