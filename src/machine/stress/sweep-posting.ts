import { setMaxListeners } from "node:events";
import { availableParallelism } from "node:os";
import { Piscina } from "piscina";
import { workerFile } from "../project-files.ts";
import type { PostingOptions } from "./posting-options.ts";
import type { PostingRun } from "./posting-result.ts";

/** One run of a sweep, as a plain value. */
export interface PostingJob {
  readonly options: PostingOptions;
  readonly seed: number;
}

export interface PostingSweepOptions {
  /** Called after each run, in the order in which they end. */
  readonly onRun?: (run: PostingRun) => void;
  /** Stops the sweep: what has ended counts. */
  readonly signal?: AbortSignal;
}

/**
 * Runs one deterministic machine per seed, side by side on all processors of the host.
 * @returns the runs that came to their end, in the order of the seeds
 */
export async function sweepPosting(
  options: PostingOptions,
  seeds: readonly number[],
  { onRun, signal }: PostingSweepOptions = {},
): Promise<readonly PostingRun[]> {
  // Every job that waits listens.
  if (signal !== undefined) setMaxListeners(0, signal);
  const pool = new Piscina<PostingJob, PostingRun>({
    filename: workerFile("stress-job"),
    maxThreads: Math.max(1, Math.min(availableParallelism(), seeds.length)),
  });
  const runOne = async (seed: number): Promise<PostingRun | undefined> => {
    try {
      const run = await pool.run(
        { options, seed },
        { name: "runJob", ...(signal === undefined ? {} : { signal }) },
      );
      onRun?.(run);
      return run;
    } catch (error) {
      if (signal?.aborted) return undefined;
      throw error;
    }
  };
  try {
    const runs = await Promise.all(seeds.map(runOne));
    return runs.filter((run) => run !== undefined);
  } finally {
    await pool.destroy();
  }
}
