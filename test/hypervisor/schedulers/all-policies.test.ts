import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Prng } from "../../../src/base/prng.ts";
import { withCoreGranularity } from "../../../src/hypervisor/schedulers/core-granularity.ts";
import { policies } from "../../../src/hypervisor/schedulers/registry.ts";
import { makeTopology } from "../../../src/hypervisor/schedulers/topology.ts";
import {
  type Behaviour,
  Bench,
  type BenchSetup,
  ms,
  type Step,
  us,
  type VmSetup,
} from "./bench.ts";

/** Everything a vCPU may do, in random order. */
const anything =
  (siblings: number): Behaviour =>
  (random) => {
    const run = 1 + random.below(3 * ms);
    const steps: readonly Step[] = [
      { run, end: "block", sleep: random.below(5 * ms) },
      { run: 1 + random.below(50 * us), end: "block", sleep: random.below(300 * us) },
      { run, end: "yield" },
      { run, end: "yield", to: random.below(siblings) },
      { run: 1 + random.below(20 * us), end: "pause" },
      { run: 10 * run, end: "pause" },
      { run, end: "wake", index: random.below(siblings) },
    ];
    return steps[random.below(steps.length)] ?? { run, end: "pause" };
  };

const setups: fc.Arbitrary<BenchSetup> = fc
  .record({
    sockets: fc.integer({ min: 1, max: 2 }),
    coresPerSocket: fc.integer({ min: 1, max: 3 }),
    threadsPerCore: fc.integer({ min: 1, max: 2 }),
    seed: fc.integer(),
    kickLatency: fc.constantFrom(0, 2 * us, 50 * us),
    overhead: fc.constantFrom(0, 1 * us),
    pinned: fc.boolean(),
    sizes: fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 }),
  })
  .map(({ sizes, seed, pinned, kickLatency, overhead, ...shape }) => {
    const topology = makeTopology(shape);
    const lps = topology.lps.length;
    const random = new Prng(seed);
    const someLps = () => {
      const allowed = topology.lps.map((_, lp) => lp).filter(() => random.below(2) === 0);
      return allowed.length === 0 ? [random.below(lps)] : allowed;
    };
    const vms = sizes.map(
      (size): VmSetup => ({
        weight: 128 << random.below(4),
        cap: random.below(4) === 0 ? 50 : 0,
        vcpus: Array.from({ length: size }, () => ({
          behaviour: anything(size),
          start: random.below(2 * ms),
          ...(pinned ? { lps: someLps() } : {}),
        })),
      }),
    );
    return { topology, vms, seed, kickLatency, overhead };
  });

describe.each(
  [...policies, ...policies.map(withCoreGranularity)].map(
    (policy) => [policy.name, policy] as const,
  ),
)("%s", (_name, policy) => {
  // The bench throws when a vCPU is picked that runs elsewhere, is blocked, or may not run on the LP.
  it("only picks what it may, and all time is somebody's", () => {
    fc.assert(
      fc.property(setups, (setup) => {
        const bench = new Bench(policy, setup).run(60 * ms);
        for (const { spent } of bench.vcpus) {
          expect(spent.blocked + spent.ready + spent.running).toBe(60 * ms);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("does the same again with the same seed", () => {
    fc.assert(
      fc.property(setups, (setup) => {
        const run = () => {
          const bench = new Bench(policy, setup).run(30 * ms);
          return [bench.picks, bench.kicks, ...bench.vcpus.map(({ spent }) => spent.running)];
        };
        expect(run()).toEqual(run());
      }),
      { numRuns: 10 },
    );
  });

  it("does not decide or kick without end", () => {
    fc.assert(
      fc.property(setups, (setup) => {
        const bench = new Bench(policy, setup).run(60 * ms);
        const steps = bench.vcpus.reduce((sum, { turns }) => sum + turns, 0);
        const slices = (bench.lps.length * 60 * ms) / (50 * us);
        expect(bench.picks).toBeLessThan(6 * steps + slices + 100);
      }),
      { numRuns: 10 },
    );
  });
});
