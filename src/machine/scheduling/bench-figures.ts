import { placeVms } from "../../hypervisor/scenario.ts";
import type { BenchPlan, PlannedCell } from "./bench-plan.ts";
import type { JobOutcome } from "./job.ts";
import { type Estimate, estimate } from "./metrics/statistics.ts";
import type { RunSummary } from "./metrics/summary.ts";

/** A column of the result: how it is read off one run, and which way is better. */
interface Figure {
  readonly title: string;
  readonly unit: string;
  readonly better: "more" | "less";
  /** @param slowdowns by VM: throughput alone over throughput here; NaN when it is not known */
  readonly of: (summary: RunSummary, slowdowns: readonly number[]) => number;
}

const microseconds = (ns: number): number => ns / 1000;
const mean = (values: readonly number[]): number => {
  const known = values.filter(Number.isFinite);
  return known.length === 0
    ? Number.NaN
    : known.reduce((sum, value) => sum + value, 0) / known.length;
};
/** A latency that never occurred is not a latency of 0. */
const latency =
  (name: keyof RunSummary["latencies"], what: "mean" | "p50" | "p99" | "p999") =>
  ({ latencies }: RunSummary): number =>
    latencies[name].count === 0 ? Number.NaN : microseconds(latencies[name][what]);
const percentOfTime = (nanoseconds: number, { wall }: RunSummary, over: number): number =>
  wall * over > 0 ? (100 * nanoseconds) / (wall * over) : Number.NaN;

export const figures = {
  throughput: {
    title: "throughput",
    unit: "units/s",
    better: "more",
    of: ({ vmSummaries }) => vmSummaries.reduce((sum, vm) => sum + vm.throughput, 0),
  },
  relativeThroughput: {
    title: "of solo",
    unit: "%",
    better: "more",
    of: (_, slowdowns) => mean(slowdowns.map((slowdown) => 100 / slowdown)),
  },
  slowdown: {
    title: "slowdown",
    unit: "x",
    better: "less",
    // By way of throughput, so that a VM that did nothing at all counts.
    of: (_, slowdowns) => 1 / mean(slowdowns.map((slowdown) => 1 / slowdown)),
  },
  fairness: { title: "fairness", unit: "Jain", better: "more", of: ({ fairness }) => fairness },
  wakeMedian: {
    title: "wake p50",
    unit: "us",
    better: "less",
    of: latency("wakeToRun", "p50"),
  },
  wakeTail: { title: "p99", unit: "us", better: "less", of: latency("wakeToRun", "p99") },
  wakeFarTail: { title: "p99.9", unit: "us", better: "less", of: latency("wakeToRun", "p999") },
  steal: {
    title: "steal",
    unit: "%",
    better: "less",
    of: (summary) =>
      percentOfTime(
        summary.times.reduce((sum, { steal }) => sum + steal, 0),
        summary,
        summary.times.length,
      ),
  },
  lockWait: { title: "lock wait", unit: "us", better: "less", of: latency("lockWait", "mean") },
  spinning: {
    title: "spinning",
    unit: "%",
    better: "less",
    of: (summary) => percentOfTime(summary.spinWaste, summary, summary.lps),
  },
  pauseLoopExits: {
    title: "PLE exits",
    unit: "/s",
    better: "less",
    of: ({ pauseLoopExits }) => pauseLoopExits,
  },
  exits: { title: "exits", unit: "/s", better: "less", of: ({ exitsPerSecond }) => exitsPerSecond },
  migrations: {
    title: "migrations",
    unit: "/s",
    better: "less",
    of: ({ migrationsPerSecond }) => migrationsPerSecond,
  },
  violations: {
    title: "idle wrongly",
    unit: "/s",
    better: "less",
    of: ({ conservation, wall }) =>
      wall > 0 ? (conservation.violations * 1e9) / wall : Number.NaN,
  },
} as const satisfies Readonly<Record<string, Figure>>;

export type FigureName = keyof typeof figures;
export const figureNames = Object.keys(figures) as readonly FigureName[];

/** What came of a combination of policy, scenario, overcommit and costs. */
export interface BenchCell {
  readonly scenario: string;
  readonly policy: string;
  readonly overcommit: number;
  readonly lps: number;
  readonly costs: {
    readonly profile: string;
    readonly published: number;
    readonly estimate: number;
  };
  /** Over the seeds whose runs are whole. Means of no run are NaN. */
  readonly figures: Readonly<Record<FigureName, Estimate>>;
  /** Exits per second by title of the exit reason, mean over the seeds. */
  readonly exitsPerSecond: Readonly<Record<string, number>>;
  /** The runs there are, also those that ended early. */
  readonly runs: readonly RunSummary[];
  /** Runs asked for, and how many of them are whole. */
  readonly planned: number;
  readonly whole: number;
  /** One line for each run that is not: its seed and what happened. */
  readonly troubles: readonly string[];
}

/** The results of a bench by cell, in the order of the plan. */
export function benchCells(plan: BenchPlan, outcomes: readonly JobOutcome[]): readonly BenchCell[] {
  return plan.cells.map((cell) => benchCell(plan, cell, outcomes));
}

function benchCell(plan: BenchPlan, cell: PlannedCell, outcomes: readonly JobOutcome[]): BenchCell {
  const runs = cell.runs.flatMap((job) => summaryOf(outcomes[job]) ?? []);
  const whole = cell.runs.flatMap((job, seed) => {
    const summary = wholeSummary(outcomes[job]);
    return summary === undefined
      ? []
      : [{ summary, slowdowns: slowdowns(cell, seed, summary, outcomes) }];
  });
  const estimated = figureNames.map((name) => [
    name,
    estimate(whole.map((run) => figures[name].of(run.summary, run.slowdowns))),
  ]);
  return {
    scenario: cell.scenario.name,
    policy: cell.policy,
    overcommit: cell.overcommit,
    lps: plan.jobs[cell.runs[0] ?? 0]?.lps ?? 0,
    costs: { profile: cell.costs.name, ...tagsOf(cell) },
    figures: Object.fromEntries(estimated) as Record<FigureName, Estimate>,
    exitsPerSecond: exitRates(whole.map(({ summary }) => summary)),
    runs,
    planned: cell.runs.length,
    whole: whole.length,
    troubles: cell.runs.flatMap((job) => {
      const trouble = troubleOf(outcomes[job]);
      return trouble === undefined ? [] : [`seed ${plan.jobs[job]?.seed}: ${trouble}`];
    }),
  };
}

function tagsOf({ costs }: PlannedCell): { published: number; estimate: number } {
  const entries = Object.values(costs.costs);
  const published = entries.filter(({ tag }) => tag === "published").length;
  return { published, estimate: entries.length - published };
}

function summaryOf(outcome: JobOutcome | undefined): RunSummary | undefined {
  return outcome?.type === "done" ? outcome.summary : undefined;
}

function wholeSummary(outcome: JobOutcome | undefined): RunSummary | undefined {
  const summary = summaryOf(outcome);
  return summary?.ending.type === "completed" ? summary : undefined;
}

function troubleOf(outcome: JobOutcome | undefined): string | undefined {
  if (outcome === undefined || outcome.type === "interrupted") return "not run to its end";
  if (outcome.type === "failed") return outcome.message;
  const { ending } = outcome.summary;
  if (ending.type === "failed") return ending.message;
  return ending.type === "interrupted" ? "interrupted" : undefined;
}

/** By VM of the run: its throughput alone with the same seed over its throughput here. */
function slowdowns(
  { scenario, overcommit, solo }: PlannedCell,
  seed: number,
  summary: RunSummary,
  outcomes: readonly JobOutcome[],
): readonly number[] {
  return placeVms(scenario, summary.lps, overcommit).map(({ template }, vm) => {
    const alone = wholeSummary(outcomes[solo[template]?.[seed] ?? -1])?.vmSummaries[0]?.throughput;
    const here = summary.vmSummaries[vm]?.throughput ?? 0;
    return alone === undefined || alone === 0 ? Number.NaN : alone / here;
  });
}

function exitRates(runs: readonly RunSummary[]): Readonly<Record<string, number>> {
  const rates = new Map<string, number>();
  for (const { exits, wall } of runs) {
    for (const { title, durations } of exits) {
      const rate = (durations.count * 1e9) / wall / runs.length;
      rates.set(title, (rates.get(title) ?? 0) + rate);
    }
  }
  return Object.fromEntries([...rates].sort((a, b) => b[1] - a[1]));
}

/** Smaller differences are not worth a mark, as a part of the larger value. */
const leastDifference = 0.01;

/** Indices of the best and worst cells by a figure; none when they hardly differ, or by less than their confidence. */
export function extremes(
  cells: readonly BenchCell[],
  name: FigureName,
): { readonly best: number | undefined; readonly worst: number | undefined } {
  const sign = figures[name].better === "more" ? 1 : -1;
  const ranked = cells
    .map(({ figures: all }, index) => ({ index, ...all[name] }))
    .filter(({ mean: value }) => Number.isFinite(value))
    .sort((a, b) => sign * (b.mean - a.mean));
  const [best, worst] = [ranked[0], ranked.at(-1)];
  if (best === undefined || worst === undefined || best.index === worst.index) {
    return { best: undefined, worst: undefined };
  }
  const distance = Math.abs(best.mean - worst.mean);
  const size = Math.max(Math.abs(best.mean), Math.abs(worst.mean));
  const apart = distance > Math.max(best.halfWidth + worst.halfWidth, size * leastDifference);
  return apart ? { best: best.index, worst: worst.index } : { best: undefined, worst: undefined };
}
