import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Prng } from "../../../src/base/prng.ts";
import { rtds } from "../../../src/hypervisor/schedulers/rtds.ts";
import { Bench, bursts, hog, ms } from "./bench.ts";

const hogs = (count: number) => Array.from({ length: count }, () => ({ behaviour: hog }));

describe("RTDS", () => {
  it("gives each vCPU its budget in every period, and no more without extra time", () => {
    const bench = new Bench(rtds, {
      vms: [{ vcpus: hogs(1) }, { vcpus: hogs(1) }],
      parameters: { extraTime: false },
    });
    for (let period = 1; period <= 50; period++) {
      bench.run(10 * period * ms);
      for (const vcpu of bench.vcpus) expect(vcpu.spent.running).toBe(4 * period * ms);
    }
  });

  it("divides the rest with extra time", () => {
    const bench = new Bench(rtds, { vms: [{ vcpus: hogs(1) }, { vcpus: hogs(1) }] }).run(1000 * ms);
    for (const vcpu of bench.vcpus) expect(vcpu.share).toBeCloseTo(0.5, 2);
  });

  it("keeps the budget of one that is blocked until its deadline", () => {
    // Wakes 5 ms into each period and needs 4 of the 5 ms left: only a budget kept until then is enough.
    const bench = new Bench(rtds, {
      vms: [{ vcpus: [{ behaviour: bursts(4 * ms, 6 * ms), start: 5 * ms }] }, { vcpus: hogs(1) }],
      parameters: { extraTime: false },
    }).run(505 * ms);
    expect(bench.vcpu(0, 0).spent.running).toBeGreaterThanOrEqual(45 * 4 * ms);
  });

  it("always runs those with the best level and the earliest deadlines", () => {
    const behaviour = (random: Prng) =>
      ({ run: 1 + random.below(6 * ms), end: "block", sleep: 1 + random.below(9 * ms) }) as const;
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer(),
        fc.boolean(),
        (lps, count, seed, extraTime) => {
          const bench = new Bench(rtds, {
            lps,
            seed,
            vms: [{ vcpus: Array.from({ length: count }, () => ({ behaviour })) }],
            parameters: { extraTime },
          });
          bench.watch = () => {
            const urgency = (state: string) =>
              bench.vcpus
                .filter((vcpu) => vcpu.state === state)
                .map((vcpu) => bench.scheduler.gauges?.(vcpu) ?? {})
                .filter(({ budget = 0 }) => state === "running" || budget > 0)
                .map(({ level = 0, deadline = 0 }) => level * 1e12 + deadline);
            const waiting = urgency("ready");
            if (waiting.length > 0) {
              expect(Math.max(...urgency("running"))).toBeLessThanOrEqual(Math.min(...waiting));
              expect(urgency("running").length).toBe(lps);
            }
          };
          bench.run(80 * ms);
        },
      ),
    );
  });
});
