import { expect, it } from "vitest";
import { millisecond } from "../../../src/hypervisor/scenario.ts";
import type { SchedulingJob } from "../../../src/machine/scheduling/job.ts";
import { sweepJobs } from "../../../src/machine/scheduling/sweep.ts";
import { jobOf, scenarioNamed } from "../../hypervisor/reference/jobs.ts";

const jobs: readonly SchedulingJob[] = [
  ["mixed", "credit"],
  ["memory-mappers", "eevdf"],
  ["io-posted", "credit2"],
  ["lock-contest-machine-code", "round-robin"],
].flatMap(([scenario = "", policy]) =>
  [1, 2].map((seed) => {
    const duration = (scenario.endsWith("machine-code") ? 0.3 : 5) * millisecond;
    return jobOf(scenarioNamed(scenario), policy, { overcommit: 2, duration, seed, check: false });
  }),
);

/** All columns of the record of each job, as bytes. */
async function recordsWith(threads: number): Promise<readonly Buffer[]> {
  const outcomes = await sweepJobs(jobs, { threads });
  return outcomes.map((outcome, n) => {
    if (outcome.type !== "done" || outcome.record === undefined) {
      throw new Error(`job ${n}: ${JSON.stringify(outcome)}`);
    }
    const columns = Object.values(outcome.record.events);
    return Buffer.concat(
      columns.map(({ buffer, byteOffset, byteLength }) =>
        Buffer.from(buffer, byteOffset, byteLength),
      ),
    );
  });
}

it("records are the same, byte for byte, whatever the size of the pool", async () => {
  const [one, two] = [await recordsWith(1), await recordsWith(2)];
  for (const [n, record] of one.entries()) {
    expect(record.length).toBeGreaterThan(1000);
    expect(record.equals(two[n] ?? Buffer.alloc(0)), `job ${n}`).toBe(true);
  }
  // Nor are they the same because nothing in them is by chance.
  expect(one[0]?.equals(one[1] ?? Buffer.alloc(0))).toBe(false);
});
