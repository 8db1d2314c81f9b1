import { costTable, tagMix } from "../../hypervisor/costs/cost-profile.ts";
import { ReferenceHypervisor } from "../../hypervisor/reference/hypervisor.ts";
import { plannedBytes } from "../../hypervisor/reference/memory-plan.ts";
import { OutsideWorld } from "../../hypervisor/reference/outside-world.ts";
import {
  type RecordEnding,
  type RecordHeader,
  type RunRecord,
  RunRecorder,
} from "../../hypervisor/run-record.ts";
import { type PlacedVm, placeVms, topologyWith } from "../../hypervisor/scenario.ts";
import { makeTopology } from "../../hypervisor/schedulers/topology.ts";
import { createGuests } from "../../hypervisor/workloads/create-guests.ts";
import { configure } from "../configuration.ts";
import { runMachine } from "../run-machine.ts";
import type { Ending } from "../run-result.ts";
import type { SchedulingJob } from "./job.ts";
import { guestImage } from "./machine-code/guest-images.ts";
import { WorkCounts } from "./machine-code/work-counts.ts";
import { GaugeRecorder } from "./record-gauges.ts";
import { cycleCosts } from "./run-costs.ts";
import { schedulerOf } from "./run-policy.ts";

/** The processor that runs are made on: it has posted interrupts and IPI virtualization. */
const cpuModel = "sapphire-rapids";
const mebibyte = 2 ** 20;
/** Memory below the hypervisor's: what the loader of scripts uses. */
const belowBytes = 4 * mebibyte;

/**
 * Runs one simulation: a machine whose LPs execute the reference hypervisor, with the job's policy and workloads.
 * @throws {UserError} nothing could be run: no such policy, a parameter it does not have
 */
export async function runSchedulingJob(job: SchedulingJob): Promise<RunRecord> {
  const { scenario, lps, overcommit, duration, seed } = job;
  const createScheduler = await schedulerOf(job);
  const shape = topologyWith(scenario.topology, lps);
  const vms = placeVms(scenario, lps, overcommit);
  const recorder = new RunRecorder(headerOf(job, vms));
  const costs = costTable(job.costs).of;
  const outside = new OutsideWorld();
  const hypervisor: ReferenceHypervisor = new ReferenceHypervisor({
    topology: makeTopology(shape),
    features: scenario.features,
    costs,
    createScheduler: (host) => {
      const scheduler = counts.watching(createScheduler(host));
      return job.keepRecord ? new GaugeRecorder(scheduler, host, recorder) : scheduler;
    },
    recorder,
    duration,
    seed,
    vms: vms.map((one, id) => ({
      ...{ name: one.name, weight: one.weight, cap: one.cap },
      affinities: one.vcpus.map(({ affinity }) => allowed(affinity, lps)),
      image: guestImage(one, id, seed),
    })),
    outside,
    guests: createGuests(vms, {
      recorder,
      costs,
      outside,
      kits: [],
      now: () => hypervisor.now(),
      origin: () => hypervisor.origin ?? 0,
    }),
  });
  const counts = new WorkCounts(hypervisor, recorder);
  const vcpuCount = hypervisor.vcpus.length;
  const bytes = belowBytes + plannedBytes(lps, vms.length, vcpuCount);
  const configuration = configure({
    cpuModel,
    driver: "deterministic",
    ramBytes: Math.ceil(bytes / mebibyte) * mebibyte,
    // Devices, and what is behind them, have an LP of their own.
    lpCount: outside.isNeeded ? lps + 1 : lps,
    seed,
    check: job.check ? "stop" : "off",
  });
  const { ending } = await runMachine(configuration, {
    software: counts.seeing(hypervisor.software()),
    costs: cycleCosts(costs),
  });
  counts.finish();
  return recorder.finish(
    hypervisor.failure === undefined ? duration : hypervisor.now(),
    endingOf(ending, hypervisor.failure),
  );
}

const allowed = (affinity: readonly number[], lps: number): readonly boolean[] =>
  Array.from({ length: lps }, (_, lp) => affinity.includes(lp));

function endingOf(ending: Ending, failure: string | undefined): RecordEnding {
  if (failure !== undefined) return { type: "failed", message: failure };
  switch (ending.type) {
    case "exit":
      return { type: "completed" };
    case "violation":
      return { type: "failed", message: ending.message };
    case "bug":
      // Nothing that a job says can bring this about: it must not pass for a result.
      throw new Error(ending.message);
    default:
      return { type: "failed", message: `the machine ended: ${ending.type}` };
  }
}

function headerOf(job: SchedulingJob, vms: readonly PlacedVm[]): RecordHeader {
  const { scenario, lps, overcommit, seed, costs, parameters, policy } = job;
  return {
    policy: policy.name,
    parameters,
    scenario: scenario.name,
    overcommit,
    seed,
    lps,
    topology: topologyWith(scenario.topology, lps),
    vms: vms.map(({ name, weight, cap }) => ({ name, weight, cap })),
    vcpus: vms.flatMap(({ vcpus }, vm) =>
      vcpus.map(({ affinity }, index) => ({ vm, index, affinity })),
    ),
    counters: [],
    costs: { profile: costs.name, ...tagMix(costs) },
  };
}
