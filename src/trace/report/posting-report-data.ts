import type { LogHistogramData } from "../../base/log-histogram.ts";
import type {
  PostingCounts,
  PostingFinding,
  PostingSample,
} from "../../machine/stress/posting-result.ts";

export interface PostingSeed extends PostingCounts {
  readonly seed: number;
  readonly seconds: number;
  readonly findings: number;
}

/** A stress of interrupt posting, as its HTML report shows it: a plain value. */
export interface PostingReportData {
  /** What was asked for, in the words of the command line: `lps` → `4`. */
  readonly options: Readonly<Record<string, string | number | boolean>>;
  /** What times are counted in: "ns" of the wall clock, or "cycles" of virtual time. */
  readonly unit: "ns" | "cycles";
  readonly totals: PostingCounts;
  /** Deliveries by LP. */
  readonly perLp: readonly number[];
  readonly perSeed: readonly PostingSeed[];
  /** From post to handler, in `unit`; `LogHistogram.data()`. */
  readonly latency: LogHistogramData;
  /** Of the first seed, in the order of time. */
  readonly timeline: readonly PostingSample[];
  readonly findings: readonly PostingFinding[];
}
