import { writeFileSync } from "node:fs";
import { scaled } from "../hypervisor/costs/cost-profile.ts";
import { fileTrouble } from "../machine/input-files.ts";
import type { Experiment } from "../machine/scheduling/shapes/experiment.ts";
import {
  experiments,
  judgeShapes,
  planShapes,
  type Trial,
} from "../machine/scheduling/shapes/run-shapes.ts";
import { sweepJobs } from "../machine/scheduling/sweep.ts";
import { UserError } from "../machine/user-error.ts";
import { type BenchPorts, benchStatus } from "./sched-bench.ts";
import type { ShapeOptions } from "./sched-option-values.ts";
import { costProfile, sensitivityFactors } from "./sched-options.ts";
import { ProgressBar } from "./sched-progress.ts";

/**
 * Tries the published experiments and shows what came of each.
 * @returns the exit status
 * @throws {UserError} no such row or cost profile, or the file cannot be written
 */
export async function runShapes(options: ShapeOptions, ports: BenchPorts): Promise<number> {
  const chosen = chosenExperiments(options.row);
  const profile = costProfile(options.cost);
  const profiles = options.sensitivity
    ? [profile, ...sensitivityFactors.map((factor) => scaled(profile, factor, "estimate"))]
    : [profile];
  const seeds = Array.from({ length: options.seeds }, (_, n) => options.seed + n);
  const plan = planShapes(chosen, profiles, seeds);
  const stop = new AbortController();
  const forget = ports.onInterrupt(() => stop.abort());
  const bar = new ProgressBar(ports.terminal, plan.jobs.length, ports.now);
  const outcomes = await sweepJobs(plan.jobs, {
    ...ports.sweep,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    signal: stop.signal,
    onOutcome: (_, { type }) => bar.step(type === "failed"),
  }).finally(() => {
    bar.end();
    forget();
  });
  const trials = judgeShapes(plan, outcomes);
  if (options.json !== undefined) writeJson(options.json, chosen, trials);
  await ports.print(formatTrials(chosen, trials));
  if (stop.signal.aborted) {
    await ports.print("interrupted: these results are partial\n");
    return benchStatus.interrupted;
  }
  return trials.every(({ trouble }) => trouble === undefined)
    ? benchStatus.complete
    : benchStatus.partial;
}

function chosenExperiments(rows: readonly number[] | undefined): readonly Experiment[] {
  if (rows === undefined) return experiments;
  return rows.map((row) => {
    const found = experiments.find((one) => one.row === row);
    if (found !== undefined) return found;
    const known = experiments.map((one) => one.row).join(", ");
    throw new UserError(`--row: there is no row ${row}; there are ${known}`);
  });
}

/** A block per experiment, and how many hold. */
export function formatTrials(chosen: readonly Experiment[], trials: readonly Trial[]): string {
  const blocks = chosen.map((experiment) =>
    formatBlock(
      experiment,
      trials.filter(({ row }) => row === experiment.row),
    ),
  );
  const [first] = trials;
  const holding = (wanted: (trial: Trial) => boolean): number =>
    chosen.filter(({ row }) =>
      trials.filter((trial) => trial.row === row && wanted(trial)).every(({ holds }) => holds),
    ).length;
  const standard = holding(({ costs }) => costs === first?.costs);
  const all = new Set(trials.map(({ costs }) => costs)).size;
  const robust =
    all > 1 ? `, ${holding(() => true)} also with estimated costs halved and doubled` : "";
  return `${blocks.join("\n")}\n${standard} of ${chosen.length} hold with ${first?.costs}${robust}\n`;
}

function formatBlock(experiment: Experiment, trials: readonly Trial[]): string {
  const { row, phenomenon, published, setUp, criterion } = experiment;
  const results = trials.map(({ costs, simulated, holds, trouble }) => {
    const verdict = holds ? "holds" : "DOES NOT HOLD";
    return `  ${costs}: ${trouble === undefined ? simulated : `not judged: ${trouble}`}: ${verdict}\n`;
  });
  return `${row}. ${phenomenon}\n  published: ${published}\n  set-up: ${setUp}\n  criterion: ${criterion}\n${results.join("")}`;
}

function writeJson(file: string, chosen: readonly Experiment[], trials: readonly Trial[]): void {
  const rows = chosen.map(({ row, phenomenon, published, setUp, criterion }) => ({
    ...{ row, phenomenon, published, setUp, criterion },
    trials: trials.filter((trial) => trial.row === row),
  }));
  try {
    writeFileSync(file, `${JSON.stringify(rows, undefined, 2)}\n`);
  } catch (error) {
    throw new UserError(`${file}: ${fileTrouble(error)}`);
  }
}
