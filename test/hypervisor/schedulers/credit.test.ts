import { describe, expect, it } from "vitest";
import { credit } from "../../../src/hypervisor/schedulers/credit.ts";
import { Bench, bursts, hog, ms, us } from "./bench.ts";

const hogs = (count: number) => Array.from({ length: count }, () => ({ behaviour: hog }));
const total = (bench: Bench, vm: number) =>
  bench.vcpus.filter((vcpu) => vcpu.vm.id === vm).reduce((sum, { share }) => sum + share, 0);

describe("Credit", () => {
  it("shares an LP by weight", () => {
    const bench = new Bench(credit, {
      vms: [
        { weight: 256, vcpus: hogs(1) },
        { weight: 512, vcpus: hogs(1) },
      ],
    }).run(9000 * ms);
    expect(total(bench, 1) / total(bench, 0)).toBeCloseTo(2, 1);
  });

  it("shares many LPs by weight", () => {
    const bench = new Bench(credit, {
      lps: 4,
      vms: [
        { weight: 256, vcpus: hogs(4) },
        { weight: 768, vcpus: hogs(4) },
      ],
    }).run(9000 * ms);
    expect(total(bench, 0) + total(bench, 1)).toBeCloseTo(4, 2);
    const ratio = total(bench, 1) / total(bench, 0);
    expect(ratio).toBeGreaterThan(2.6);
    expect(ratio).toBeLessThan(3.4);
  });

  it("holds a VM to its cap", () => {
    const bench = new Bench(credit, {
      lps: 2,
      vms: [{ cap: 50, vcpus: hogs(1) }, { vcpus: hogs(1) }],
    }).run(9000 * ms);
    expect(total(bench, 0)).toBeGreaterThan(0.47);
    expect(total(bench, 0)).toBeLessThan(0.53);
    expect(total(bench, 1)).toBeGreaterThan(0.99);
  });

  it("keeps credit within one slice of nothing", () => {
    const bench = new Bench(credit, {
      lps: 2,
      vms: [{ vcpus: hogs(3) }, { vcpus: [{ behaviour: bursts(ms, 3 * ms) }] }],
    });
    bench.watch = () => {
      for (const vcpu of bench.vcpus) {
        const { credit: held = 0 } = bench.scheduler.gauges?.(vcpu) ?? {};
        // A slice less than nothing at an accounting, a slice and the tick before it burnt until the next.
        expect(held).toBeGreaterThanOrEqual(-700 - 1);
        expect(held).toBeLessThanOrEqual(300 + 1);
      }
    };
    bench.run(600 * ms);
  });

  it("neither makes nor loses credit while all compete", () => {
    const bench = new Bench(credit, { lps: 2, vms: [{ vcpus: hogs(2) }, { vcpus: hogs(3) }] });
    const held = () =>
      bench.vcpus.reduce((sum, vcpu) => sum + (bench.scheduler.gauges?.(vcpu)["credit"] ?? 0), 0);
    bench.run(300 * ms);
    const before = held();
    bench.run(3300 * ms);
    // 100 accountings hand out 60,000 credits; as many must have been burnt.
    expect(Math.abs(held() - before)).toBeLessThan(600);
  });

  it("lets a vCPU that wakes run before hogs, after the rate limit", () => {
    const vms = [{ vcpus: hogs(2) }, { vcpus: [{ behaviour: bursts(100 * us, 5 * ms) }] }];
    const boosted = new Bench(credit, { vms }).run(3000 * ms).vcpu(1, 0);
    const plain = new Bench(credit, { vms, parameters: { boost: false } }).run(3000 * ms);
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;
    expect(Math.max(...boosted.latencies.slice(10))).toBeLessThanOrEqual(1 * ms);
    expect(mean(plain.vcpu(1, 0).latencies)).toBeGreaterThan(5 * mean(boosted.latencies));
  });

  it("does not interrupt a turn shorter than the rate limit", () => {
    const vms = [{ vcpus: hogs(1) }, { vcpus: [{ behaviour: bursts(50 * us, 100 * us) }] }];
    const run = (ratelimit: number) =>
      new Bench(credit, { vms, parameters: { ratelimit } }).run(1000 * ms).vcpu(0, 0).switches;
    expect(run(1 * ms)).toBeLessThan(run(0) / 2);
  });

  // The published attack: sleep over every tick, so that another one is charged.
  it("is robbed by a vCPU that sleeps when ticks come, if accounting is sampled", () => {
    const thief = {
      behaviour: (_: unknown, turn: number) =>
        turn === 0
          ? ({ run: 100 * us, end: "block", sleep: 9.95 * ms } as const)
          : ({ run: 9.5 * ms, end: "block", sleep: 0.5 * ms } as const),
    };
    const run = (accounting: string) =>
      new Bench(credit, {
        vms: [{ vcpus: [thief] }, { vcpus: hogs(1) }],
        parameters: { accounting, ratelimit: 0 },
      })
        .run(6000 * ms)
        .vcpu(0, 0).share;
    expect(run("sampled")).toBeGreaterThan(0.85);
    expect(run("exact")).toBeLessThan(0.6);
  });

  it("steals work for an idle LP", () => {
    const bench = new Bench(credit, {
      lps: 2,
      vms: [
        { vcpus: [{ behaviour: hog }, { behaviour: bursts(2 * ms, 2 * ms) }] },
        { vcpus: hogs(1) },
      ],
    }).run(1000 * ms);
    expect(bench.wasted).toBe(0);
  });

  it("moves a running vCPU out of the way of a pinned one", () => {
    const bench = new Bench(credit, {
      lps: 2,
      vms: [
        { vcpus: [{ behaviour: hog, lps: [0, 1] }] },
        { vcpus: [{ behaviour: hog, lps: [0], start: 5 * ms }] },
      ],
    }).run(500 * ms);
    expect(bench.vcpu(0, 0).share).toBeGreaterThan(0.95);
    expect(bench.vcpu(1, 0).share).toBeGreaterThan(0.95);
  });

  describe("with the boost of migrating vCPUs", () => {
    // Whoever makes way for a vCPU that wakes is boosted itself: the next time it need not.
    const run = (boostMigrating: boolean) => {
      const bench = new Bench(credit, {
        lps: 2,
        vms: [
          { vcpus: [{ behaviour: bursts(200 * us, 300 * us), lps: [0] }] },
          { vcpus: [{ behaviour: hog, lps: [0] }] },
        ],
        parameters: { boostMigrating },
      }).run(6000 * ms);
      const { latencies } = bench.vcpu(0, 0);
      return latencies.reduce((a, b) => a + b) / latencies.length;
    };
    it("makes others wait for a tick, or a slice", () => {
      expect(run(true)).toBeGreaterThan(10 * ms);
      expect(run(false)).toBeLessThan(ms);
    });
  });
});
