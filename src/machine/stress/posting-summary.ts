import { LogHistogram, type LogHistogramData } from "../../base/log-histogram.ts";
import type { PostingCounts, PostingFinding, PostingRun, PostingSample } from "./posting-result.ts";

/** All runs of a stress taken together. */
export interface PostingSummary {
  readonly totals: PostingCounts;
  readonly seconds: number;
  readonly hostSeconds: number;
  readonly findings: readonly PostingFinding[];
  readonly perLp: readonly number[];
  readonly latency: LogHistogramData;
  /** Of the first run. */
  readonly timeline: readonly PostingSample[];
  readonly bySource: Readonly<Record<string, number>>;
  readonly disturbances: Readonly<Record<string, number>>;
}

const counts = [
  "posts",
  "deliveries",
  "coalesced",
  "pending",
  "lost",
  "spurious",
  "notifications",
  "exits",
  "wakeUps",
  "migrations",
] as const satisfies readonly (keyof PostingCounts)[];

export function summarize(runs: readonly PostingRun[]): PostingSummary {
  const sum = (of: (run: PostingRun) => number): number =>
    runs.reduce((total, run) => total + of(run), 0);
  const latency = new LogHistogram();
  for (const run of runs) latency.merge(run.latency);
  const [first] = runs;
  const sums = (
    of: (run: PostingRun) => Readonly<Record<string, number>>,
  ): Readonly<Record<string, number>> => {
    const names = [...new Set(runs.flatMap((run) => Object.keys(of(run))))];
    return Object.fromEntries(names.map((name) => [name, sum((run) => of(run)[name] ?? 0)]));
  };
  return {
    totals: Object.fromEntries(
      counts.map((name) => [name, sum((run) => run[name])]),
    ) as unknown as PostingCounts,
    seconds: sum((run) => run.seconds),
    hostSeconds: sum((run) => run.hostSeconds),
    findings: runs.flatMap(({ findings }) => findings),
    perLp: (first?.perLp ?? []).map((_, lp) => sum((run) => run.perLp[lp] ?? 0)),
    latency: latency.data(),
    timeline: first?.timeline ?? [],
    bySource: sums(({ bySource }) => bySource),
    disturbances: sums(({ disturbances }) => disturbances),
  };
}
