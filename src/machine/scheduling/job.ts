import type { CostProfile } from "../../hypervisor/costs/cost-profile.ts";
import type { RunRecord } from "../../hypervisor/run-record.ts";
import type { Scenario } from "../../hypervisor/scenario.ts";
import type { RunSummary } from "./metrics/summary.ts";

/** Where a policy comes from. */
export type PolicySource =
  | { readonly type: "built-in"; readonly name: string }
  /** A module that exports a `policy`. `path` is absolute, `name` is what messages and tables call it. */
  | { readonly type: "file"; readonly name: string; readonly path: string };

/** Everything that decides one run of the benchmark: a plain value that can be posted to a worker. Times in nanoseconds. */
export interface SchedulingJob {
  readonly policy: PolicySource;
  /** Parameters of the policy that are to differ from its defaults. */
  readonly parameters: Readonly<Record<string, number | string | boolean>>;
  readonly scenario: Scenario;
  readonly overcommit: number;
  readonly lps: number;
  readonly duration: number;
  readonly seed: number;
  readonly costs: CostProfile;
  /** Watch the VMCSs while it runs; a violation ends the run as a failed one. */
  readonly check: boolean;
  /** Hand back the record itself beside its figures: for pictures and traces. */
  readonly keepRecord: boolean;
}

/**
 * Runs one simulation.
 * @returns its record; that of a run which ended early (its policy broke a rule, say) says so in `ending`
 * @throws {UserError} nothing could be run: no such policy, a parameter it does not have
 */
export type RunSchedulingJob = (job: SchedulingJob) => Promise<RunRecord>;

/** What has become of a job of a sweep. */
export type JobOutcome =
  | {
      readonly type: "done";
      /** Its `ending` tells whether the run is whole. */
      readonly summary: RunSummary;
      readonly record: RunRecord | undefined;
    }
  /** Nothing came of it. `bug`: it is our fault. */
  | { readonly type: "failed"; readonly message: string; readonly bug: boolean }
  /** The sweep was stopped before or while it ran. */
  | { readonly type: "interrupted" };
