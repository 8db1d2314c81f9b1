import { UserError } from "../user-error.ts";
import type { JobOutcome, RunSchedulingJob, SchedulingJob } from "./job.ts";
import { measure } from "./metrics/summary.ts";

/** Runs a job and measures it. Whatever goes wrong is an outcome, so that the other jobs of a sweep go on. */
export async function performJob(run: RunSchedulingJob, job: SchedulingJob): Promise<JobOutcome> {
  try {
    const record = await run(job);
    const summary = measure(record, { from: job.scenario.warmup });
    return { type: "done", summary, record: job.keepRecord ? record : undefined };
  } catch (error) {
    if (error instanceof UserError) return { type: "failed", message: error.message, bug: false };
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { type: "failed", message, bug: true };
  }
}
