/** One run of the scheduling benchmark, as a job of a pool of threads. */
import type { JobOutcome, SchedulingJob } from "../src/machine/scheduling/job.ts";
import { performJob } from "../src/machine/scheduling/perform-job.ts";
import { runSchedulingJob } from "../src/machine/scheduling/run-scheduling-job.ts";

export function runJob(job: SchedulingJob): Promise<JobOutcome> {
  return performJob(runSchedulingJob, job);
}
