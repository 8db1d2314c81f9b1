import type { CostProfile } from "../../hypervisor/costs/cost-profile.ts";
import type { Scenario } from "../../hypervisor/scenario.ts";
import type { PolicySource, SchedulingJob } from "./job.ts";

/** A policy with the parameters it is to have. `label` is what tables call it. */
export interface PolicyChoice {
  readonly label: string;
  readonly source: PolicySource;
  readonly parameters: Readonly<Record<string, number | string | boolean>>;
}

/** A scenario with the number of LPs and the length of its runs decided. */
export interface ScenarioChoice {
  readonly scenario: Scenario;
  readonly lps: number;
  /** Nanoseconds. */
  readonly duration: number;
}

/** What is to be compared: every policy with every scenario at every overcommit, under every cost profile. */
export interface BenchRequest {
  readonly policies: readonly PolicyChoice[];
  readonly scenarios: readonly ScenarioChoice[];
  readonly overcommits: readonly number[];
  readonly seeds: readonly number[];
  readonly costs: readonly CostProfile[];
  readonly check: boolean;
  /** Keep the records of the first seed's runs. */
  readonly keepRecords: boolean;
}

/** One combination. Its runs, and those of each of its VMs alone, are indices of jobs. */
export interface PlannedCell {
  readonly scenario: Scenario;
  readonly policy: string;
  readonly overcommit: number;
  readonly costs: CostProfile;
  /** By seed. */
  readonly runs: readonly number[];
  /** By VM of the scenario, then by seed: that VM alone under the same policy. */
  readonly solo: readonly (readonly number[])[];
}

export interface BenchPlan {
  readonly jobs: readonly SchedulingJob[];
  readonly cells: readonly PlannedCell[];
}

/** Jobs in the order of cells. Equal ones are run once: a VM alone is often the scenario at overcommit 1. */
export function planBench(request: BenchRequest): BenchPlan {
  const { policies, scenarios, overcommits, seeds, costs, check, keepRecords } = request;
  const list = new JobList();
  const cells: PlannedCell[] = [];
  for (const { scenario, lps, duration } of scenarios) {
    for (const profile of costs) {
      for (const overcommit of overcommits) {
        for (const { label, source, parameters } of policies) {
          const common = { policy: source, parameters, lps, duration, costs: profile, check };
          const runs = seeds.map((seed, n) =>
            list.add({ ...common, scenario, overcommit, seed, keepRecord: keepRecords && n === 0 }),
          );
          const solo = scenario.vms.map((_, vm) =>
            seeds.map((seed) =>
              list.add({
                ...common,
                scenario: alone(scenario, vm),
                overcommit: 1,
                seed,
                keepRecord: false,
              }),
            ),
          );
          cells.push({ scenario, policy: label, overcommit, costs: profile, runs, solo });
        }
      }
    }
  }
  return { jobs: list.jobs, cells };
}

/** A scenario with one copy of one of its VMs. */
export function alone(scenario: Scenario, vm: number): Scenario {
  return { ...scenario, vms: scenario.vms.slice(vm, vm + 1).map((one) => ({ ...one, copies: 1 })) };
}

/** Jobs without repetition. */
class JobList {
  readonly jobs: SchedulingJob[] = [];
  readonly #indices = new Map<string, number>();

  add(job: SchedulingJob): number {
    const key = keyOf(job);
    const known = this.#indices.get(key);
    if (known === undefined) {
      this.#indices.set(key, this.jobs.length);
      return this.jobs.push(job) - 1;
    }
    const other = this.jobs[known];
    if (other !== undefined && job.keepRecord) this.jobs[known] = { ...other, keepRecord: true };
    return known;
  }
}

/** Two jobs with the same key do the same: how many copies an overcommit makes is all there is to it. */
function keyOf({ keepRecord: _, overcommit, scenario, ...job }: SchedulingJob): string {
  const vms = scenario.vms.map((vm) => ({
    ...vm,
    copies: vm.copies === "overcommit" ? overcommit : vm.copies,
  }));
  return JSON.stringify({ ...job, scenario: { ...scenario, vms } });
}
