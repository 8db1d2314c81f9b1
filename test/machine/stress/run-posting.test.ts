import { describe, expect, it } from "vitest";
import { defaultCpuModel } from "../../../src/cpu/models/models.ts";
import type { PostingBug } from "../../../src/hypervisor/posting/faults.ts";
import {
  type PostingOptions,
  postingDefaults,
} from "../../../src/machine/stress/posting-options.ts";
import type { PostingRun } from "../../../src/machine/stress/posting-result.ts";
import { runPosting } from "../../../src/machine/stress/run-posting.ts";

const options = (given: Partial<PostingOptions> = {}): PostingOptions => ({
  ...postingDefaults,
  cpuModel: defaultCpuModel.name,
  ...given,
});
const ipiVirtualization = { ipiVirtualization: true, cpuModel: "sapphire-rapids" } as const;

function expectClean(run: PostingRun): void {
  expect(run.findings.map(({ seed, message }) => `${seed}: ${message}`)).toEqual([]);
  expect(run).toMatchObject({ pending: 0, lost: 0, spurious: 0 });
  expect(run.deliveries + run.coalesced).toBe(run.posts);
  expect(run.latency.count).toBe(run.deliveries);
  expect(run.perLp.reduce((sum, count) => sum + count, 0)).toBe(run.deliveries);
}

describe("a stress of interrupt posting", () => {
  it("accounts for every post of a quiet machine", async () => {
    const quiet = { migrate: 0, preempt: 0, affinity: 0, halt: 0, lines: 0, devices: 0 };
    const run = await runPosting(options({ lps: 1, vcpus: 1, posts: 1000, ...quiet }), 1);
    expectClean(run);
    expect(run.posts).toBeGreaterThanOrEqual(1000);
    expect(run.migrations).toBe(0);
  });
  it("accounts for every post of every source under disturbance", async () => {
    const run = await runPosting(options({ lps: 3, vcpus: 4, posts: 6000, devices: 2 }), 2);
    expectClean(run);
    for (const source of ["hypervisor", "request", "guest", "device", "line"]) {
      expect(run.bySource[source]).toBeGreaterThan(0);
    }
    expect(run.migrations).toBeGreaterThan(0);
    expect(run.wakeUps).toBeGreaterThan(0);
    expect(run.notifications).toBeGreaterThan(0);
  });
  it("disturbs in every way there is", async () => {
    const { disturbances } = await runPosting(options({ posts: 10_000, lines: 200_000 }), 4);
    const never = Object.entries(disturbances).filter(([, count]) => count === 0);
    expect(never).toEqual([]);
    expect(Object.keys(disturbances).length).toBeGreaterThan(10);
  });
  it("leaves out what is not asked for", async () => {
    const none = { migrate: 0, preempt: 0, affinity: 0, halt: 0, lines: 0, blocked: 0 };
    const { disturbances, migrations, bySource } = await runPosting(options(none), 4);
    const kinds = ["preempt", "affinity", "route", "line route", "halt"];
    for (const kind of [...kinds, "blocked message", "level-triggered interrupt"]) {
      expect(disturbances[kind], kind).toBe(0);
    }
    expect(migrations).toBe(0);
    expect(bySource["line"]).toBe(0);
  });
  it("comes to its end with disturbances as fast and as slow as can be asked for", async () => {
    for (const rate of [1e9, 1e-6]) {
      const rates = { migrate: rate, preempt: rate, affinity: rate, halt: rate };
      const run = await runPosting(
        options({ ...rates, lines: rate, blocked: rate, posts: 500 }),
        5,
      );
      expectClean(run);
    }
  });
  it("finds nothing with guests whose IPIs the processor posts, and with urgent interrupts", async () => {
    const given = { ...ipiVirtualization, urgent: 0.5, posts: 3000 };
    expectClean(await runPosting(options(given), 3));
  });
  it("repeats a run exactly", async () => {
    const first = await runPosting(options({ posts: 2000 }), 7);
    const again = await runPosting(options({ posts: 2000 }), 7);
    const other = await runPosting(options({ posts: 2000 }), 8);
    const essence = ({ hostSeconds: _, ...rest }: PostingRun) => rest;
    expect(essence(again)).toEqual(essence(first));
    expect(other.seconds).not.toBe(first.seconds);
  });
  it("finds nothing in machines of many shapes", async () => {
    for (let seed = 100; seed < 116; seed++) {
      const shape = { lps: 1 + (seed % 3), vcpus: 1 + (seed % 5), devices: seed % 3 };
      const ipis = seed % 2 === 0 ? ipiVirtualization : {};
      expectClean(await runPosting(options({ ...shape, ...ipis, posts: 1500 }), seed));
    }
  });
});

/** By planted bug: seeds within which it is found, and the invariants that tell. */
const expectations: Readonly<Record<PostingBug, readonly [seeds: number, readonly string[]]>> = {
  "sn-clear-drops-on": [5, ["11"]],
  "self-ipi-on-block": [10, ["10", "13"]],
  "softirq-suppressed": [5, ["10", "12", "22"]],
  "assign-while-asleep": [20, ["13", "24"]],
  "two-lps-active": [5, ["1", "5"]],
  "posted-msi-affinity": [5, ["29"]],
  "torn-irte": [30, ["28"]],
  "nested-pi-order": [30, ["22"]],
  "stale-eoi-bitmap": [5, ["20", "21"]],
  "icr-overtakes-store": [5, ["23"]],
  "queue-wrap": [5, ["31"]],
  "fault-order": [5, ["34"]],
};

describe("a planted bug", () => {
  it.each(Object.entries(expectations))("%s is found", async (bug, [seeds, invariants]) => {
    const affinity = bug === "queue-wrap" ? 200_000 : postingDefaults.affinity;
    const planted = options({ bug: bug as PostingBug, posts: 3000, affinity });
    for (let seed = 1; seed <= seeds; seed++) {
      const { findings } = await runPosting(planted, seed);
      if (findings.length === 0) continue;
      expect(invariants).toContain(findings[0]?.invariant);
      expect(findings[0]?.seed).toBe(seed);
      expect(findings[0]?.steps.length).toBeGreaterThan(10);
      return;
    }
    expect.fail(`not found within ${seeds} seeds`);
  });
  it("is not told of when its invariant is not watched", async () => {
    const planted = options({ bug: "posted-msi-affinity", posts: 1000, check: [11] });
    expect((await runPosting(planted, 1)).findings).toEqual([]);
  });
});
