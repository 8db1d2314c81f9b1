import { describe, expect, it } from "vitest";
import { defaultCpuModel } from "../../../src/cpu/models/models.ts";
import {
  type PostingOptions,
  postingDefaults,
} from "../../../src/machine/stress/posting-options.ts";
import { runPosting } from "../../../src/machine/stress/run-posting.ts";

const options = (given: Partial<PostingOptions> = {}): PostingOptions => ({
  ...postingDefaults,
  cpuModel: defaultCpuModel.name,
  ...given,
});

describe("a stress of interrupt posting", () => {
  it("accounts for every post of a quiet machine", async () => {
    const run = await runPosting(
      options({ lps: 1, vcpus: 1, posts: 1000, migrate: 0, preempt: 0, affinity: 0 }),
      1,
    );
    expect(run.findings).toEqual([]);
    expect(run.posts).toBeGreaterThanOrEqual(1000);
    expect(run.deliveries + run.coalesced).toBe(run.posts);
    expect(run).toMatchObject({ pending: 0, lost: 0, spurious: 0 });
    expect(run.latency.count).toBe(run.deliveries);
  });
  it("accounts for every post under disturbance", async () => {
    const run = await runPosting(options({ lps: 3, vcpus: 4, posts: 5000 }), 2);
    expect(run.findings).toEqual([]);
    expect(run.deliveries + run.coalesced).toBe(run.posts);
  });
});
