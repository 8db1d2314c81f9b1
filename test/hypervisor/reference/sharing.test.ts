import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { EventKind, type RunRecord } from "../../../src/hypervisor/run-record.ts";
import { millisecond } from "../../../src/hypervisor/scenario.ts";
import { measure } from "../../../src/machine/scheduling/metrics/summary.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";
import { jobOf, scenarioNamed, scenarioOf } from "./jobs.ts";

const hog = { type: "hog", unit: 100_000 } as const;
const pinned = { workloads: [hog], affinity: "pinned" } as const;
const twoHogs = scenarioOf([
  { name: "a", ...pinned },
  { name: "b", ...pinned },
]);

describe("two hogs pinned to an LP", () => {
  for (const [policy, slice] of [
    ["round-robin", 10],
    ["credit", 30],
    ["eevdf", 3],
  ] as const) {
    it(`get half of it each under ${policy}, to within one slice`, async () => {
      const duration = 300 * millisecond;
      const record = await runSchedulingJob(jobOf(twoHogs, policy, { duration, check: false }));
      expect(record.ending).toEqual({ type: "completed" });
      for (const { run } of measure(record).times) {
        expect(Math.abs(run - duration / 2)).toBeLessThanOrEqual(slice * millisecond);
      }
    });
  }
});

describe("time", () => {
  for (const name of ["mixed", "producer-consumer", "spinlock-paravirtual", "io-posted"]) {
    it(`is run, steal, idle or blocked, exactly, for every vCPU of ${name}`, async () => {
      const job = jobOf(scenarioNamed(name), "eevdf", {
        duration: 20 * millisecond,
        overcommit: 2,
        check: false,
      });
      const { times, wall, conservation } = measure(await runSchedulingJob(job));
      expect(wall).toBe(20 * millisecond);
      for (const { run, steal, idle, blocked, guest, hypervisor } of times) {
        expect(run + steal + idle + blocked).toBe(wall);
        expect(guest).toBeGreaterThanOrEqual(0);
        expect(hypervisor).toBeGreaterThanOrEqual(0);
      }
      expect(conservation.wasted).toBeLessThan(0.05 * wall);
    });
  }
});

describe("one vCPU to each LP", () => {
  it("does under the null policy what it does alone", async () => {
    const one = { name: "a", vcpus: 1, copies: 1, workloads: [hog], affinity: [0] } as const;
    const other = { ...one, name: "b", affinity: [1] } as const;
    const alone = await work([one]);
    const beside = await work([one, other]);
    expect(beside[0]).toBe(alone[0]);
    // All of the machine's time but for the little that the hypervisor takes.
    expect(alone[0]).toBeGreaterThanOrEqual(9990);
  });

  async function work(vms: Parameters<typeof scenarioOf>[0]): Promise<number[]> {
    const record = await runSchedulingJob(jobOf(scenarioOf(vms), "null", { check: false }));
    const { duration } = record;
    return measure(record).vmSummaries.map(({ throughput }) =>
      Math.round((throughput * duration) / 1e8),
    );
  }
});

describe("the record", () => {
  it("is the same, byte for byte, for the same seed, and another for another", async () => {
    const digestOf = async (seed: number): Promise<string> => {
      const job = jobOf(scenarioNamed("mixed"), "credit", { duration: 10 * millisecond, seed });
      return digest(await runSchedulingJob({ ...job, check: false }));
    };
    const first = await digestOf(1);
    expect(await digestOf(1)).toBe(first);
    expect(await digestOf(2)).not.toBe(first);
  });
});

function digest({ events }: RunRecord): string {
  const hash = createHash("sha256");
  for (const column of Object.values(events)) {
    hash.update(new Uint8Array(column.buffer, column.byteOffset, column.byteLength));
  }
  return hash.digest("hex");
}

describe("VMCSs that are handed round", () => {
  it.each([2, 3, 8])("go from LP to LP, of which %i may wait for each other", async (lps) => {
    const path = new URL("./carousel-policy.js", import.meta.url).pathname;
    const vm = { name: "a", vcpus: lps + 1, copies: 1, workloads: [hog] } as const;
    const duration = 20 * millisecond;
    const record = await runSchedulingJob({
      ...jobOf(scenarioOf([vm]), "carousel", { duration, lps }),
      policy: { type: "file", name: "carousel-policy.js", path },
    });
    expect(record.ending).toEqual({ type: "completed" });
    const { kind, time, vcpu } = record.events;
    const migrations = kind.filter((each) => each === EventKind.Migrate).length;
    // A turn lasts 15 us; taking over the VMCS of another takes some of them, and nobody waits for long.
    expect(migrations).toBeGreaterThan((lps * duration) / 60_000);
    const lastAt = new Map<number, number>();
    for (const [n, each] of kind.entries()) {
      if (each !== EventKind.Dispatch) continue;
      const [who, at] = [vcpu[n] ?? 0, time[n] ?? 0];
      expect(at - (lastAt.get(who) ?? 0)).toBeLessThan(millisecond);
      lastAt.set(who, at);
    }
    expect(lastAt.size).toBe(lps + 1);
  });
});

describe("a policy that breaks a rule", () => {
  it("ends the run with what it did; what was recorded is kept", async () => {
    const path = new URL("./greedy-policy.js", import.meta.url).pathname;
    const record = await runSchedulingJob({
      ...jobOf(scenarioOf([{ name: "a", workloads: [hog] }])),
      policy: { type: "file", name: "greedy-policy.js", path },
    });
    expect(record.ending).toEqual({
      type: "failed",
      message: expect.stringMatching(/^pick\(\d\) answered vCPU 0 of a, which runs on LP \d$/),
    });
    expect(record.events.time.length).toBeGreaterThan(0);
  });
});
