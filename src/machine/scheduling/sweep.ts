import { setMaxListeners } from "node:events";
import { availableParallelism } from "node:os";
import { Piscina } from "piscina";
import { workerFile } from "../project-files.ts";
import type { JobOutcome, SchedulingJob } from "./job.ts";

export interface SweepOptions {
  /** Called after each job, in the order in which they end. */
  readonly onOutcome?: (index: number, outcome: JobOutcome) => void;
  /** Stops the sweep: jobs that run are cut off, those that wait are not begun. */
  readonly signal?: AbortSignal;
  /** Threads, at most one per job. All processors of the host, unless given. */
  readonly threads?: number;
  /** The worker's module. The project's own, unless given. */
  readonly worker?: string;
}

/**
 * Runs jobs side by side on a pool of threads, and begins them in their order. Never rejects because of a job.
 * @returns an outcome for each job, in the order of the jobs
 */
export async function sweepJobs(
  jobs: readonly SchedulingJob[],
  options: SweepOptions = {},
): Promise<readonly JobOutcome[]> {
  const { onOutcome, signal, threads = availableParallelism(), worker } = options;
  if (jobs.length === 0) return [];
  const lanes = Math.max(1, Math.min(threads, jobs.length));
  // Every job that runs listens to the signal.
  if (signal !== undefined) setMaxListeners(lanes + 1, signal);
  const pool = new Piscina<SchedulingJob, JobOutcome>({
    filename: worker ?? workerFile("scheduling-job"),
    maxThreads: lanes,
  });
  const outcomes: JobOutcome[] = [];
  const waiting = jobs.entries();
  // The pool has no more jobs than threads: of those that wait in it, it would take every other one first.
  const runLane = async (): Promise<void> => {
    for (const [index, job] of waiting) {
      const outcome = await outcomeOf(pool, job, signal);
      outcomes[index] = outcome;
      onOutcome?.(index, outcome);
    }
  };
  try {
    await Promise.all(Array.from({ length: lanes }, runLane));
    return outcomes;
  } finally {
    await pool.destroy();
  }
}

async function outcomeOf(
  pool: Piscina<SchedulingJob, JobOutcome>,
  job: SchedulingJob,
  signal: AbortSignal | undefined,
): Promise<JobOutcome> {
  try {
    return await pool.run(job, {
      name: "runJob",
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (signal?.aborted) return { type: "interrupted" };
    // The thread itself has died: out of memory, most likely.
    const message = error instanceof Error ? error.message : String(error);
    return { type: "failed", message: `the worker thread ended: ${message}`, bug: true };
  }
}
