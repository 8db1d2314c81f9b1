import { defaultProfile } from "../../../src/hypervisor/costs/built-in-profiles.ts";
import {
  defaultFeatures,
  defaultVm,
  type HypervisorFeatures,
  millisecond,
  type Scenario,
  type ScenarioVm,
} from "../../../src/hypervisor/scenario.ts";
import { builtInScenarios } from "../../../src/hypervisor/scenarios/built-in.ts";
import type { SchedulingJob } from "../../../src/machine/scheduling/job.ts";

/** A scenario of a test: one socket, nothing left out at the start. */
export function scenarioOf(
  vms: readonly (Pick<ScenarioVm, "name" | "workloads"> & Partial<ScenarioVm>)[],
  features: Partial<HypervisorFeatures> = {},
): Scenario {
  return {
    name: "test",
    description: "of a test",
    topology: { sockets: 1, coresPerSocket: 2, threadsPerCore: 1 },
    duration: 100 * millisecond,
    warmup: 0,
    features: { ...defaultFeatures, posting: false, ...features },
    vms: vms.map((vm) => ({ ...defaultVm, ...vm })),
  };
}

export function scenarioNamed(name: string): Scenario {
  const scenario = builtInScenarios.find((one) => one.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return scenario;
}

export function jobOf(
  scenario: Scenario,
  policy = "round-robin",
  other: Partial<SchedulingJob> = {},
): SchedulingJob {
  return {
    policy: { type: "built-in", name: policy },
    parameters: {},
    scenario,
    overcommit: 1,
    lps: 2,
    duration: scenario.duration,
    seed: 1,
    costs: defaultProfile,
    check: true,
    keepRecord: true,
    ...other,
  };
}
