import type { LogHistogramData } from "../../base/log-histogram.ts";

/** What has become of posts. `posts` is the sum of `deliveries`, `coalesced`, `pending` and `lost`. */
export interface PostingCounts {
  readonly posts: number;
  readonly deliveries: number;
  /** The vector was still requested by an earlier post. */
  readonly coalesced: number;
  /** Still requested when the run had come to rest. */
  readonly pending: number;
  readonly lost: number;
  /** Deliveries that nobody posted. */
  readonly spurious: number;
  /** Interrupts sent to the active or the wake-up vector. */
  readonly notifications: number;
  /** VM exits. */
  readonly exits: number;
  readonly wakeUps: number;
  readonly migrations: number;
}

/** Something that must not be. */
export interface PostingFinding {
  readonly seed: number;
  /** Number of the invariant, or "lost", "spurious", "failed". */
  readonly invariant: string;
  readonly message: string;
  /** The last steps before it, and where everybody was. */
  readonly steps: readonly string[];
}

/** Sums over one stretch of the run's time; `at` is its end, in seconds. */
export interface PostingSample {
  readonly at: number;
  readonly posts: number;
  readonly deliveries: number;
  readonly coalesced: number;
  /** Posted and neither delivered nor coalesced at its end. */
  readonly outstanding: number;
}

/** One run of the stress. */
export interface PostingRun extends PostingCounts {
  readonly seed: number;
  /** Of the machine's time, and of the host's. */
  readonly seconds: number;
  readonly hostSeconds: number;
  readonly findings: readonly PostingFinding[];
  /** Deliveries by LP. */
  readonly perLp: readonly number[];
  /** From post to handler, in cycles or nanoseconds. */
  readonly latency: LogHistogramData;
  readonly timeline: readonly PostingSample[];
  /** Posts by who made them. */
  readonly bySource: Readonly<Record<string, number>>;
  /** What was done to disturb, and how often; deterministic driver. */
  readonly disturbances: Readonly<Record<string, number>>;
}
