import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Prng } from "../../../src/base/prng.ts";
import { credit2 } from "../../../src/hypervisor/schedulers/credit2.ts";
import { DecayingLoad, makeQueues } from "../../../src/hypervisor/schedulers/credit2-queue.ts";
import { makeTopology } from "../../../src/hypervisor/schedulers/topology.ts";
import { Bench, bursts, hog, ms, us } from "./bench.ts";

const hogs = (count: number) => Array.from({ length: count }, () => ({ behaviour: hog }));
const creditOf = (bench: Bench, vm: number, index: number) =>
  bench.scheduler.gauges?.(bench.vcpu(vm, index))["credit"] ?? Number.NaN;

describe("queues of Credit2", () => {
  const topology = makeTopology({ sockets: 2, coresPerSocket: 12, threadsPerCore: 2 });
  it.each([
    ["lp", 48, 1],
    ["core", 24, 2],
    ["socket", 4, 12],
    ["all", 3, 16],
  ] as const)("by %s: %i of %i LPs", (scope, count, size) => {
    const queues = makeQueues(topology, scope, 16);
    expect(queues.map(({ lps }) => lps.length)).toEqual(new Array(count).fill(size));
    expect(queues.flatMap(({ lps }) => lps)).toEqual(topology.lps.map((_, lp) => lp));
  });

  it("forget their load in about a second", () => {
    const load = new DecayingLoad();
    load.change(0, 2);
    expect(load.at(10_000 * ms)).toBeCloseTo(2, 3);
    load.change(10_000 * ms, -2);
    expect(load.at(10_000 * ms + 2 ** 30)).toBeCloseTo(2 / Math.E, 3);
  });
});

describe("Credit2", () => {
  it("keeps credit between its bounds", () => {
    const behaviour = (random: Prng) =>
      ({ run: 1 + random.below(15 * ms), end: "block", sleep: 1 + random.below(9 * ms) }) as const;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 7 }), (lps, count) => {
        const vcpus = Array.from({ length: count }, () => ({ behaviour }));
        const bench = new Bench(credit2, { lps, vms: [{ vcpus }, { weight: 1024, vcpus }] });
        bench.watch = () => {
          for (const vcpu of bench.vcpus) {
            const { credit = Number.NaN } = bench.scheduler.gauges?.(vcpu) ?? {};
            expect(credit).toBeGreaterThanOrEqual(-10 * ms);
            expect(credit).toBeLessThanOrEqual(10.55 * ms);
          }
        };
        bench.run(100 * ms);
      }),
      { numRuns: 30 },
    );
  });

  it("burns credit by weight", () => {
    const bench = new Bench(credit2, {
      lps: 2,
      vms: [
        { weight: 256, vcpus: [{ behaviour: bursts(1 * ms, 100 * ms) }] },
        { weight: 512, vcpus: [{ behaviour: bursts(1 * ms, 100 * ms) }] },
      ],
    }).run(2 * ms);
    expect(creditOf(bench, 0, 0)).toBe(8 * ms);
    expect(creditOf(bench, 1, 0)).toBe(9 * ms);
  });

  it("adds the same to all at a reset", () => {
    const bench = new Bench(credit2, { vms: [{ vcpus: hogs(2) }] }).run(200 * ms);
    const sum = creditOf(bench, 0, 0) + creditOf(bench, 0, 1);
    expect(Math.abs(creditOf(bench, 0, 0) - creditOf(bench, 0, 1))).toBeLessThanOrEqual(10 * ms);
    expect(sum).toBeGreaterThan(-10 * ms);
    expect(sum).toBeLessThanOrEqual(21 * ms);
  });

  it("lets a vCPU that has slept take the LP of one that has run, after the rate limit", () => {
    const naps = (random: Prng) =>
      ({ run: 100 * us, end: "block", sleep: 4 * ms + random.below(4 * ms) }) as const;
    const vms = [{ vcpus: hogs(2) }, { vcpus: [{ behaviour: naps }] }];
    const worst = (ratelimit: number) =>
      Math.max(
        ...new Bench(credit2, { vms, parameters: { ratelimit } })
          .run(1000 * ms)
          .vcpu(1, 0)
          .latencies.slice(5),
      );
    expect(worst(1 * ms)).toBeLessThanOrEqual(1 * ms);
    expect(worst(5 * ms)).toBeGreaterThan(3 * ms);
  });

  it("migrates the less the more a change of LP must be worth", () => {
    const vms = [
      { vcpus: Array.from({ length: 7 }, () => ({ behaviour: bursts(3 * ms, 1 * ms) })) },
    ];
    const migrations = (migrateResist: number) =>
      new Bench(credit2, { lps: 4, vms, parameters: { migrateResist } })
        .run(2000 * ms)
        .vcpus.reduce((sum, vcpu) => sum + vcpu.migrations, 0);
    expect(migrations(5 * ms)).toBeLessThan(migrations(0));
  });

  it("shares out LPs better the wider its queues", () => {
    const topology = makeTopology({ sockets: 1, coresPerSocket: 4, threadsPerCore: 2 });
    const behaviour = (random: Prng) =>
      ({ run: 1 + random.below(9 * ms), end: "block", sleep: 1 + random.below(9 * ms) }) as const;
    const vms = [{ vcpus: Array.from({ length: 12 }, () => ({ behaviour })) }];
    const wasted = (scope: string) =>
      new Bench(credit2, { topology, vms, parameters: { scope } }).run(1000 * ms).wasted;
    expect(wasted("all")).toBe(0);
    expect(wasted("core")).toBeGreaterThan(50 * ms);
    expect(wasted("lp")).toBeGreaterThan(wasted("core"));
  });

  it("moves vCPUs to queues with less load", () => {
    // Three hogs begin on the first of two queues because the others are asleep.
    const late = { behaviour: hog, start: 3000 * ms };
    const bench = new Bench(credit2, {
      lps: 2,
      vms: [{ vcpus: [{ behaviour: hog }, late, { behaviour: hog }] }],
      parameters: { scope: "lp" },
    }).run(2900 * ms);
    expect(bench.vcpu(0, 0).share + bench.vcpu(0, 2).share).toBeGreaterThan(1.5);
  });
});
