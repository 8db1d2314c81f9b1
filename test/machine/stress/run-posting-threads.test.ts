import { describe, expect, it } from "vitest";
import { defaultCpuModel } from "../../../src/cpu/models/models.ts";
import {
  type PostingOptions,
  postingDefaults,
} from "../../../src/machine/stress/posting-options.ts";
import { runPostingThreads } from "../../../src/machine/stress/run-posting-threads.ts";

const options = (given: Partial<PostingOptions>): PostingOptions => ({
  ...postingDefaults,
  cpuModel: defaultCpuModel.name,
  driver: "threads",
  rate: 20_000,
  ...{ halt: 2000, preempt: 200, migrate: 200, affinity: 200 },
  ...given,
});

describe("a stress of interrupt posting with a thread for each LP", () => {
  it("accounts for what the hypervisor, devices and guests of machine code have posted", async () => {
    const run = await runPostingThreads(options({ posts: 2000, vcpus: 3 }), 1);
    expect(run.findings).toEqual([]);
    expect(run).toMatchObject({ pending: 0, lost: 0, spurious: 0 });
    expect(run.posts).toBeGreaterThanOrEqual(2000);
    expect(run.deliveries + run.coalesced).toBe(run.posts);
    for (const source of ["hypervisor", "device"]) {
      expect(run.bySource[source]).toBeGreaterThan(0);
    }
    expect(run.wakeUps).toBeGreaterThan(0);
    expect(run.latency.count).toBeGreaterThan(0);
  });
  it("takes posts without VM exits when nothing disturbs", async () => {
    const quiet = { halt: 0, preempt: 0, migrate: 0, affinity: 0, devices: 1 };
    const run = await runPostingThreads(options({ ...quiet, posts: 2000, lps: 1, vcpus: 1 }), 2);
    expect(run.findings).toEqual([]);
    expect(run.deliveries).toBeGreaterThan(20);
    // The first entry, a few pieces of code, and the halt at the end.
    expect(run.exits).toBeLessThan(run.deliveries / 2);
  });
});
