import type { CostProfile } from "../../../hypervisor/costs/cost-profile.ts";
import type { JobOutcome, SchedulingJob } from "../job.ts";
import type { RunSummary } from "../metrics/summary.ts";
import { type Experiment, ShapeResults } from "./experiment.ts";
import { inputOutputExperiments } from "./input-output.ts";
import { lockExperiments } from "./locks.ts";
import { shareExperiments } from "./shares.ts";
import { shootdownExperiments } from "./shootdowns.ts";

/** The published results that are tried, by row. */
export const experiments: readonly Experiment[] = [
  ...lockExperiments,
  ...shootdownExperiments,
  ...inputOutputExperiments,
  ...shareExperiments,
].sort((a, b) => a.row - b.row);

export interface ShapePlan {
  readonly jobs: readonly SchedulingJob[];
  readonly trials: readonly PlannedTrial[];
}

/** An experiment under one cost profile. */
interface PlannedTrial {
  readonly experiment: Experiment;
  readonly costs: CostProfile;
  /** Jobs by variant. */
  readonly jobs: ReadonlyMap<string, readonly number[]>;
}

/** What came of an experiment under one cost profile. */
export interface Trial {
  readonly row: number;
  readonly costs: string;
  readonly simulated: string;
  readonly holds: boolean;
  /** Why it could not be judged, if so. */
  readonly trouble: string | undefined;
}

/** All runs that some experiments need. */
export function planShapes(
  chosen: readonly Experiment[],
  profiles: readonly CostProfile[],
  seeds: readonly number[],
): ShapePlan {
  const jobs: SchedulingJob[] = [];
  const trials = chosen.flatMap((experiment) =>
    profiles.map((costs) => {
      const indices = new Map<string, readonly number[]>();
      for (const [name, variant] of Object.entries(experiment.variants)) {
        const { policy, parameters = {}, scenario, overcommit, lps } = variant;
        const numbers = seeds.map((seed) => {
          const source = { type: "built-in", name: policy } as const;
          const common = { policy: source, parameters, scenario, overcommit, lps, seed, costs };
          const { duration } = scenario;
          return jobs.push({ ...common, duration, check: false, keepRecord: false }) - 1;
        });
        indices.set(name, numbers);
      }
      return { experiment, costs, jobs: indices };
    }),
  );
  return { jobs, trials };
}

/** Judges experiments. One with a run that is not whole does not hold. */
export function judgeShapes(plan: ShapePlan, outcomes: readonly JobOutcome[]): readonly Trial[] {
  return plan.trials.map(({ experiment, costs, jobs }) => {
    const { row } = experiment;
    const runs = new Map<string, readonly RunSummary[]>();
    for (const [name, numbers] of jobs) {
      const whole = numbers.map((job) => wholeRun(outcomes[job]));
      const trouble = whole.find((one) => typeof one === "string");
      if (trouble !== undefined) {
        const about = `${name}: ${trouble.split("\n", 1)[0]}`;
        return { row, costs: costs.name, simulated: "", holds: false, trouble: about };
      }
      runs.set(
        name,
        whole.filter((one) => typeof one !== "string"),
      );
    }
    const judgement = experiment.judge(new ShapeResults(runs));
    return { row, costs: costs.name, ...judgement, trouble: undefined };
  });
}

/** @returns the run's figures, or what is wrong with it */
function wholeRun(outcome: JobOutcome | undefined): RunSummary | string {
  if (outcome?.type === "failed") return outcome.message;
  if (outcome?.type !== "done") return "not run";
  const { ending } = outcome.summary;
  if (ending.type === "completed") return outcome.summary;
  return ending.type === "failed" ? ending.message : "interrupted";
}
