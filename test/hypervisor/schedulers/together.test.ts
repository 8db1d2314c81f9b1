import { describe, expect, it } from "vitest";
import type { Prng } from "../../../src/base/prng.ts";
import { balance } from "../../../src/hypervisor/schedulers/balance.ts";
import { withCoreGranularity } from "../../../src/hypervisor/schedulers/core-granularity.ts";
import { eevdf } from "../../../src/hypervisor/schedulers/eevdf.ts";
import { gang } from "../../../src/hypervisor/schedulers/gang.ts";
import { policies } from "../../../src/hypervisor/schedulers/registry.ts";
import { relaxedCoScheduling } from "../../../src/hypervisor/schedulers/relaxed-co-scheduling.ts";
import type { Policy } from "../../../src/hypervisor/schedulers/scheduler.ts";
import { makeTopology } from "../../../src/hypervisor/schedulers/topology.ts";
import { type Behaviour, Bench, type BenchSetup, bursts, hog, ms, us } from "./bench.ts";

/** Computes and sleeps for random times; a different sequence for every vCPU. */
const restless: Behaviour = (random: Prng) =>
  random.below(3) === 0
    ? { run: 1 + random.below(2 * ms), end: "block", sleep: 1 + random.below(2 * ms) }
    : { run: 1 + random.below(4 * ms), end: "pause" };
const of = (behaviour: Behaviour, count: number) => ({
  vcpus: Array.from({ length: count }, () => ({ behaviour })),
});
const share = (bench: Bench, vm: number) =>
  bench.vcpus.filter((vcpu) => vcpu.vm.id === vm).reduce((sum, vcpu) => sum + vcpu.share, 0);

describe("strict gang", () => {
  /** Time in which a vCPU ran while a ready sibling of its gang did not. */
  const apart = (policy: Policy, setup: BenchSetup) => {
    const bench = new Bench(policy, setup);
    let time = 0;
    bench.watch = (from, to) => {
      const isApart = bench.vms.some(({ vcpus }) => {
        const states = vcpus.map((vcpu) => bench.vcpus[vcpu.id]?.state);
        return states.includes("running") && states.includes("ready");
      });
      time += isApart ? to - from : 0;
    };
    bench.run(400 * ms);
    return { time, bench };
  };
  const setup: BenchSetup = { lps: 4, vms: [of(restless, 4), of(restless, 3), of(restless, 2)] };

  it("never has siblings apart", () => {
    expect(apart(gang, setup).time).toBe(0);
    // The same workload under a policy that does not care.
    expect(apart(eevdf, setup).time).toBeGreaterThan(100 * ms);
  });

  it("has them apart no longer than IPIs take", () => {
    const { time, bench } = apart(gang, { ...setup, kickLatency: 5 * us, overhead: 1 * us });
    expect(time).toBeLessThanOrEqual(bench.kicks * 6 * us);
    expect(time).toBeLessThan(10 * ms);
  });

  it("gives VMs equal slots, and fills a slot with as many as fit", () => {
    const bench = new Bench(gang, { lps: 4, vms: [of(hog, 4), of(hog, 2), of(hog, 2)] });
    bench.run(2000 * ms);
    expect(share(bench, 0) / 4).toBeCloseTo(0.5, 1);
    expect(share(bench, 1) / 2).toBeCloseTo(0.5, 1);
    expect(share(bench, 2) / 2).toBeCloseTo(0.5, 1);
  });

  it("leaves LPs idle that do not make up a gang", () => {
    const bench = new Bench(gang, { lps: 4, vms: [of(hog, 3), of(hog, 3)] }).run(1000 * ms);
    expect(share(bench, 0) + share(bench, 1)).toBeCloseTo(3, 1);
  });

  it("runs a VM that is wider than the machine in turns", () => {
    const bench = new Bench(gang, { lps: 2, vms: [of(hog, 5)] }).run(3000 * ms);
    for (const vcpu of bench.vcpus) expect(vcpu.share).toBeGreaterThan(0.25);
  });

  it("seats siblings that may run on the same LPs only side by side", () => {
    const pinned = (...lps: number[]) => ({ behaviour: hog, lps });
    const bench = new Bench(gang, {
      lps: 3,
      vms: [{ vcpus: [pinned(0, 1, 2), pinned(0, 1), pinned(0)] }, of(hog, 3)],
    }).run(1000 * ms);
    expect(share(bench, 0)).toBeCloseTo(1.5, 1);
  });
});

describe("balance", () => {
  const siblingsOnOneLp = (policy: Policy) => {
    const bench = new Bench(policy, {
      lps: 4,
      vms: [of(restless, 4), of(restless, 4), of(restless, 3)],
    });
    const { scheduler } = bench;
    const followed = new Map<number, number>();
    let meetings = 0;
    const pick = scheduler.pick.bind(scheduler);
    scheduler.pick = (lp, current) => {
      const decision = pick(lp, current);
      // A vCPU that gives way to a sibling waited in the same queue as it.
      if (current !== undefined && decision.vcpu !== undefined && decision.vcpu !== current) {
        meetings += decision.vcpu.vm === current.vm ? 1 : 0;
        followed.set(lp, meetings);
      }
      return decision;
    };
    bench.run(1000 * ms);
    return meetings;
  };
  it("never has siblings wait for each other", () => {
    expect(siblingsOnOneLp(balance)).toBe(0);
    expect(siblingsOnOneLp(eevdf)).toBeGreaterThan(20);
  });

  it("doubles up only when there are more vCPUs than LPs", () => {
    const bench = new Bench(balance, { lps: 2, vms: [of(hog, 3)] }).run(1000 * ms);
    expect(share(bench, 0)).toBeCloseTo(2, 6);
  });
});

describe("relaxed co-scheduling", () => {
  /** Greatest difference of running time between hogs of a VM that is hindered by pinned rivals of one of them. */
  const drift = (policy: Policy) => {
    const bench = new Bench(policy, {
      lps: 3,
      vms: [
        { vcpus: [0, 1, 2].map((lp) => ({ behaviour: hog, lps: [lp] })) },
        { vcpus: [1, 2, 3].map(() => ({ behaviour: hog, lps: [0] })) },
      ],
    });
    let greatest = 0;
    bench.watch = (_from, to) => {
      const done = [0, 1, 2].map((index) => {
        const { spent, state, changedAt } = bench.vcpu(0, index);
        return spent.running + (state === "running" ? to - changedAt : 0);
      });
      greatest = Math.max(greatest, Math.max(...done) - Math.min(...done));
    };
    bench.run(300 * ms);
    return greatest;
  };
  it("stops leaders before they are further ahead than the threshold and a slice", () => {
    expect(drift(relaxedCoScheduling)).toBeLessThanOrEqual(3 * ms + 1.4 * ms);
    expect(drift(eevdf)).toBeGreaterThan(100 * ms);
  });

  it("does not stop a vCPU because a sibling sleeps", () => {
    const bench = new Bench(relaxedCoScheduling, {
      lps: 2,
      vms: [{ vcpus: [{ behaviour: hog }, { behaviour: bursts(100 * us, 50 * ms) }] }],
    }).run(1000 * ms);
    expect(bench.vcpu(0, 0).share).toBe(1);
  });
});

describe("core granularity", () => {
  const topology = makeTopology({ sockets: 1, coresPerSocket: 2, threadsPerCore: 2 });
  /** Time in which siblings of a core ran vCPUs of different VMs. */
  const mixed = (policy: Policy, kickLatency: number) => {
    const bench = new Bench(policy, {
      topology,
      vms: [of(restless, 3), of(restless, 2), of(restless, 4)],
      kickLatency,
      overhead: kickLatency / 2,
    });
    let time = 0;
    bench.watch = (from, to) => {
      const vms = bench.lps.map(({ vcpu, deciding }) => (deciding ? undefined : vcpu?.vm));
      const isMixed = [0, 2].some((lp) => {
        const [a, b] = [vms[lp], vms[lp + 1]];
        return a !== undefined && b !== undefined && a !== b;
      });
      time += isMixed ? to - from : 0;
    };
    bench.run(200 * ms);
    return { time, bench };
  };
  it.each(policies.map((policy) => [policy.name, policy] as const))(
    "%s never mixes VMs on a core",
    (_name, policy) => {
      const whole = withCoreGranularity(policy);
      expect(mixed(whole, 0).time).toBe(0);
      expect(mixed(whole, 10 * us).time).toBe(0);
      expect(mixed(whole, 10 * us).bench.vcpus.every(({ spent }) => spent.running > 0)).toBe(
        policy.name !== "null",
      );
    },
  );

  it("would be mixed without", () => {
    expect(mixed(eevdf, 0).time).toBeGreaterThan(50 * ms);
  });
});
