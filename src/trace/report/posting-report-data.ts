import type { LogHistogramData } from "../../base/log-histogram.ts";

/** What has become of posts, by count. `posts` is the sum of `deliveries`, `coalesced`, `pending` and `lost`. */
export interface PostingTotals {
  readonly posts: number;
  readonly deliveries: number;
  /** The vector's bit was still set by an earlier post. */
  readonly coalesced: number;
  /** Not delivered yet when the run had come to rest. */
  readonly pending: number;
  readonly lost: number;
  /** Deliveries that nobody posted. */
  readonly spurious: number;
  readonly notifications: number;
  readonly exits: number;
  readonly wakeUps: number;
  readonly migrations: number;
}

/** Something that must not be: a lost or spurious interrupt, an invariant that does not hold. */
export interface PostingFinding {
  readonly seed: number;
  /** Id of the invariant, or "lost" or "spurious". */
  readonly invariant: string;
  readonly message: string;
  /** The last steps before it, one per line. */
  readonly steps: readonly string[];
}

/** Sums over one stretch of the run's time. */
export interface PostingSample {
  /** Its end, in seconds from the start. */
  readonly at: number;
  readonly posts: number;
  readonly deliveries: number;
  readonly coalesced: number;
  /** Posted and neither delivered nor coalesced at its end. */
  readonly outstanding: number;
}

export interface PostingSeed extends PostingTotals {
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
  readonly totals: PostingTotals;
  /** Deliveries by LP. */
  readonly perLp: readonly number[];
  readonly perSeed: readonly PostingSeed[];
  /** From post to handler, in `unit`; `LogHistogram.data()`. */
  readonly latency: LogHistogramData;
  /** Of the first seed, in the order of time. */
  readonly timeline: readonly PostingSample[];
  readonly findings: readonly PostingFinding[];
}
