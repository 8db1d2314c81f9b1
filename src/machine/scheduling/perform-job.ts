import { EventKind, type RunRecord } from "../../hypervisor/run-record.ts";
import { UserError } from "../user-error.ts";
import type { JobOutcome, RunSchedulingJob, SchedulingJob } from "./job.ts";
import { measure } from "./metrics/summary.ts";

/** A policy that lets no vCPU run at all breaks no rule that anybody notices while it runs. */
function withVerdict(record: RunRecord): RunRecord {
  if (record.ending.type !== "completed" || record.events.kind.includes(EventKind.Dispatch)) {
    return record;
  }
  const message = `policy ${record.policy} never picked a vCPU, though some were ready`;
  return { ...record, ending: { type: "failed", message } };
}

/** Runs a job and measures it. Whatever goes wrong is an outcome, so that the other jobs of a sweep go on. */
export async function performJob(run: RunSchedulingJob, job: SchedulingJob): Promise<JobOutcome> {
  try {
    const record = withVerdict(await run(job));
    const summary = measure(record, { from: job.scenario.warmup });
    return { type: "done", summary, record: job.keepRecord ? record : undefined };
  } catch (error) {
    if (error instanceof UserError) return { type: "failed", message: error.message, bug: false };
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { type: "failed", message, bug: true };
  }
}
