/** One run of the posting stress, as a job of a pool of threads. */
import type { PostingRun } from "../src/machine/stress/posting-result.ts";
import { runPosting } from "../src/machine/stress/run-posting.ts";
import type { PostingJob } from "../src/machine/stress/sweep-posting.ts";

export function runJob({ options, seed }: PostingJob): Promise<PostingRun> {
  return runPosting(options, seed);
}
