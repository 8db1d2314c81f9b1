/** A worker of a pool that runs the toy simulation instead of the reference hypervisor. Jobs with certain seeds go wrong. */
import type { JobOutcome, SchedulingJob } from "../../../src/machine/scheduling/job.ts";
import { performJob } from "../../../src/machine/scheduling/perform-job.ts";
import { UserError } from "../../../src/machine/user-error.ts";
import { toySimulation } from "./toy-simulation.ts";

export const failingSeed = 1001;
export const crashingSeed = 1002;
export const brokenPolicySeed = 1003;
export const endlessSeed = 1004;

export function runJob(given: SchedulingJob): Promise<JobOutcome> {
  return performJob(async (job) => {
    switch (job.seed) {
      case failingSeed:
        throw new UserError("mine.ts: exports no policy");
      case crashingSeed:
        return process.exit(9);
      case brokenPolicySeed:
        return {
          ...toySimulation(job),
          ending: { type: "failed", message: "mine.ts: pick(LP 0) chose a vCPU of LP 1" },
        };
      case endlessSeed:
        return new Promise(() => setInterval(() => undefined, 1000));
    }
    return toySimulation(job);
  }, given);
}
