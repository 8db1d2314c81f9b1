import { writeFileSync } from "node:fs";
import { fileTrouble } from "../machine/input-files.ts";
import { type BenchCell, benchCells } from "../machine/scheduling/bench-figures.ts";
import type { BenchPlan, PlannedCell } from "../machine/scheduling/bench-plan.ts";
import type { JobOutcome } from "../machine/scheduling/job.ts";
import { type SweepOptions, sweepJobs } from "../machine/scheduling/sweep.ts";
import { UserError } from "../machine/user-error.ts";
import { schedulingTrace } from "../trace/perfetto/scheduling-trace.ts";
import { schedulingReport } from "../trace/report/scheduling-report.ts";
import { benchCsv, benchJson, isComplete } from "./sched-export.ts";
import { ProgressBar, type Terminal } from "./sched-progress.ts";
import { formatCells } from "./sched-tables.ts";

/** What a bench ends with. */
export const benchStatus = { complete: 0, partial: 1, bug: 70, interrupted: 130 } as const;

export interface BenchFiles {
  readonly json: string | undefined;
  readonly csv: string | undefined;
  readonly report: string | undefined;
  readonly trace: string | undefined;
}

/** The world a bench runs in. */
export interface BenchPorts {
  readonly print: (text: string) => Promise<void>;
  readonly terminal: Terminal;
  /** Milliseconds. */
  readonly now: () => number;
  /** Calls back at Ctrl-C. @returns takes that back */
  readonly onInterrupt: (stop: () => void) => () => void;
  readonly sweep?: Pick<SweepOptions, "threads" | "worker">;
}

/**
 * Runs a plan and shows what came of it: a table, and the files asked for. What has been run when Ctrl-C comes is shown all the same.
 * @returns the exit status
 * @throws {UserError} a file cannot be written
 */
export async function runBench(
  plan: BenchPlan,
  files: BenchFiles,
  ports: BenchPorts,
): Promise<number> {
  // Found out before the runs, not after.
  const { trace, ...others } = files;
  for (const file of [...Object.values(others), ...traceFiles(trace, plan)]) {
    if (file !== undefined) write(file, "");
  }
  const stop = new AbortController();
  const forget = ports.onInterrupt(() => stop.abort());
  const bar = new ProgressBar(ports.terminal, plan.jobs.length, ports.now);
  let outcomes: readonly JobOutcome[];
  try {
    outcomes = await sweepJobs(plan.jobs, {
      ...ports.sweep,
      signal: stop.signal,
      onOutcome: (_, outcome) => bar.step(outcome.type === "failed"),
    });
  } finally {
    bar.end();
    forget();
  }
  const interrupted = stop.signal.aborted;
  const cells = benchCells(plan, outcomes);
  await ports.print(
    formatCells(cells) + (interrupted ? "\ninterrupted: these results are partial\n" : ""),
  );
  writeFiles(plan, cells, outcomes, files, interrupted);
  return statusOf(cells, outcomes, interrupted);
}

function writeFiles(
  plan: BenchPlan,
  cells: readonly BenchCell[],
  outcomes: readonly JobOutcome[],
  { json, csv, report, trace }: BenchFiles,
  interrupted: boolean,
): void {
  const records = plan.cells.map(({ runs }) => {
    const outcome = outcomes[runs[0] ?? -1];
    return outcome?.type === "done" ? outcome.record : undefined;
  });
  if (json !== undefined) write(json, benchJson(cells, interrupted));
  if (csv !== undefined) write(csv, benchCsv(cells));
  if (report !== undefined) write(report, schedulingReport({ cells, records, interrupted }));
  for (const [n, file] of traceFiles(trace, plan).entries()) {
    const record = records[n];
    if (record !== undefined) write(file, schedulingTrace(record));
  }
}

/** By cell: where its trace goes. */
function traceFiles(file: string | undefined, { cells }: BenchPlan): readonly string[] {
  if (file === undefined) return [];
  return cells.map((cell) => (cells.length === 1 ? file : traceName(file, cell)));
}

/** With several cells each has a file: `run.perfetto-trace` becomes `run-mixed-credit-2.perfetto-trace`. */
export function traceName(
  file: string,
  {
    scenario,
    policy,
    overcommit,
    costs,
  }: Pick<PlannedCell, "scenario" | "policy" | "overcommit" | "costs">,
): string {
  const factor = /×([\d.]+)/.exec(costs.name)?.[1];
  const parts = [
    scenario.name,
    policy,
    overcommit,
    ...(factor === undefined ? [] : [`x${factor}`]),
  ];
  const what = parts.join("-").replaceAll(/[^\w.=-]+/g, "-");
  const [, stem = file, extension = ""] = /^(.*?)(\.[\w-]+)?$/.exec(file) ?? [];
  return `${stem}-${what}${extension}`;
}

function write(file: string, content: string | Uint8Array): void {
  try {
    writeFileSync(file, content);
  } catch (error) {
    throw new UserError(`${file}: ${fileTrouble(error)}`);
  }
}

function statusOf(
  cells: readonly BenchCell[],
  outcomes: readonly JobOutcome[],
  interrupted: boolean,
): number {
  if (interrupted) return benchStatus.interrupted;
  if (outcomes.some((outcome) => outcome.type === "failed" && outcome.bug)) return benchStatus.bug;
  return isComplete(cells) ? benchStatus.complete : benchStatus.partial;
}
