import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CandidateScan } from "../../../src/hypervisor/schedulers/directed-yield.ts";
import { eevdf } from "../../../src/hypervisor/schedulers/eevdf.ts";
import { EevdfQueue, FairVcpu } from "../../../src/hypervisor/schedulers/eevdf-queue.ts";
import { type Behaviour, Bench, BenchVcpu, bursts, hog, ms, spinner, us } from "./bench.ts";

const slice = 1 * ms;
const member = (weight: number) => {
  const vm = { id: 0, name: "vm", weight, cap: 0, vcpus: [] };
  return new FairVcpu({ id: 0, vm, index: 0, affinity: [true] }, 0);
};

describe("a queue by virtual deadlines", () => {
  /** Joins, leaves and runs at random; `each` sees the queue after every turn. */
  const play = (
    weights: readonly number[],
    turns: readonly (readonly [number, number])[],
    each: (queue: EevdfQueue, members: readonly FairVcpu[]) => void,
  ) => {
    const queue = new EevdfQueue(slice);
    const members = weights.map(member);
    for (const vcpu of members) queue.join(vcpu);
    for (const [choice, ns] of turns) {
      const vcpu = members[choice % members.length];
      const away = members.filter(({ state }) => state === "blocked");
      if (choice % 5 === 0 && vcpu?.state === "waiting" && away.length < members.length - 1) {
        queue.leave(vcpu);
        vcpu.state = "blocked";
      } else if (vcpu?.state === "blocked") {
        queue.join(vcpu);
      }
      const next = queue.best(() => true);
      queue.run(next);
      if (next !== undefined) queue.charge(next, ns);
      each(
        queue,
        members.filter(({ state }) => state !== "blocked"),
      );
    }
  };
  const weights = fc.array(fc.constantFrom(64, 256, 512, 1024), { minLength: 1, maxLength: 6 });
  const turns = fc.array(fc.tuple(fc.nat(1000), fc.integer({ min: 1, max: slice })), {
    maxLength: 200,
  });

  it("owes as much as it is owed", () => {
    fc.assert(
      fc.property(weights, turns, (given, played) => {
        play(given, played, (queue, members) => {
          const sum = members.reduce((all, vcpu) => all + vcpu.weight * queue.lagOf(vcpu), 0);
          expect(Math.abs(sum)).toBeLessThan(1e-3);
        });
      }),
    );
  });

  it("lets nobody get further behind or ahead than a slice and a turn", () => {
    fc.assert(
      fc.property(weights, turns, (given, played) => {
        const heaviest = Math.max(...given) / 256;
        play(given, played, (queue, members) => {
          for (const vcpu of members) {
            const bound = (4 * slice * Math.max(heaviest, 1)) / Math.min(vcpu.weight, 1);
            expect(Math.abs(queue.lagOf(vcpu)) * vcpu.weight).toBeLessThanOrEqual(bound);
          }
        });
      }),
    );
  });

  it("always has somebody eligible, and takes the earliest deadline of those", () => {
    fc.assert(
      fc.property(weights, turns, (given, played) => {
        play(given, played, (queue, members) => {
          const best = queue.best(() => true);
          const average = queue.average();
          const eligible = members.filter(({ vruntime }) => vruntime <= average + 1e-6);
          expect(eligible.length).toBeGreaterThan(0);
          const earliest = Math.min(...eligible.map(({ deadline }) => deadline));
          expect(best?.deadline).toBeLessThanOrEqual(earliest + 1e-3);
        });
      }),
    );
  });

  it("gives back the lag that a vCPU left with", () => {
    const queue = new EevdfQueue(slice);
    const [a, b] = [member(256), member(256)];
    queue.join(a);
    queue.join(b);
    queue.run(a);
    queue.charge(a, slice / 2);
    const lag = queue.lagOf(b);
    queue.leave(b);
    expect(b.lag).toBeCloseTo(lag, 6);
    queue.join(b);
    expect(queue.lagOf(b)).toBeCloseTo(lag, 6);
  });
});

describe("the candidate scan", () => {
  const vm = { id: 0, name: "vm", weight: 256, cap: 0, vcpus: [] as BenchVcpu[] };
  const make = (rule: "none" | "preempted" | "preempted-or-ipi-receiver", count = 4) => {
    vm.vcpus = Array.from(
      { length: count },
      (_, index) => new BenchVcpu(index, vm, index, [true], { behaviour: hog }, 1),
    );
    const scan = new CandidateScan(rule);
    for (const vcpu of vm.vcpus) scan.add(vcpu);
    const vcpu = (index: number) => {
      const found = vm.vcpus[index];
      if (found === undefined) throw new RangeError(`${index}`);
      return found;
    };
    return { scan, vcpu };
  };
  const yes = () => true;

  it("takes the preempted in turn, after the one helped last", () => {
    const { scan, vcpu } = make("preempted");
    for (const index of [1, 2, 3]) scan.preempted(vcpu(index));
    const helped = [1, 2, 3, 4].map(() => scan.help(vcpu(0), yes)?.index);
    expect(helped).toEqual([1, 2, 3, 1]);
  });

  it("passes over those that run, are blocked, or have only been woken", () => {
    const { scan, vcpu } = make("preempted");
    scan.woken(vcpu(1));
    scan.preempted(vcpu(2));
    scan.scheduled(vcpu(2));
    expect(scan.help(vcpu(0), yes)).toBeUndefined();
  });

  it("takes those that an IPI has woken, if told so", () => {
    const { scan, vcpu } = make("preempted-or-ipi-receiver");
    scan.woken(vcpu(2));
    expect(scan.help(vcpu(0), yes)).toBe(vcpu(2));
  });

  it("takes one that spins itself only every other time", () => {
    const { scan, vcpu } = make("preempted", 2);
    scan.preempted(vcpu(0));
    expect(scan.help(vcpu(1), yes)).toBe(vcpu(0));
    scan.preempted(vcpu(1));
    scan.scheduled(vcpu(0));
    expect([1, 2, 3].map(() => scan.help(vcpu(0), yes))).toEqual([undefined, vcpu(1), undefined]);
  });

  it("gives up after three vain tries", () => {
    const { scan, vcpu } = make("preempted", 8);
    for (let index = 1; index < 8; index++) scan.preempted(vcpu(index));
    let tries = 0;
    scan.help(vcpu(0), () => {
      tries++;
      return false;
    });
    expect(tries).toBe(3);
  });

  it("does nothing without a rule", () => {
    const { scan, vcpu } = make("none");
    scan.preempted(vcpu(1));
    expect(scan.help(vcpu(0), yes)).toBeUndefined();
  });
});

describe("EEVDF", () => {
  it("helps a preempted sibling when a vCPU spins", () => {
    const setup = {
      lps: 1,
      vms: [{ vcpus: [{ behaviour: spinner(20 * us) }, { behaviour: hog }] }],
    };
    const share = (directedYield: string) =>
      new Bench(eevdf, { ...setup, parameters: { directedYield } }).run(1000 * ms).vcpu(0, 1).share;
    expect(share("none")).toBeCloseTo(0.5, 1);
    expect(share("preempted")).toBeGreaterThanOrEqual(share("none"));
    const bench = new Bench(eevdf, setup).run(100 * ms);
    expect(bench.boosted).toContain(bench.vcpu(0, 1));
  });

  it("lengthens the window with each exit, and starts anew with each turn", () => {
    const bench = new Bench(eevdf, { lps: 1, vms: [{ vcpus: [{ behaviour: spinner(10 * us) }] }] });
    const windows: (number | undefined)[] = [];
    const { scheduler } = bench;
    const pick = scheduler.pick.bind(scheduler);
    scheduler.pick = (lp, current) => {
      const decision = pick(lp, current);
      windows.push(decision.pauseLoopExiting?.window);
      return decision;
    };
    bench.run(35 * us);
    expect(windows).toEqual([4096, 8192, 16384, 32768]);
  });

  it("wakes a vCPU on an idle LP rather than a busy one", () => {
    const bench = new Bench(eevdf, {
      lps: 4,
      vms: [
        { vcpus: [hog, hog, hog].map((behaviour) => ({ behaviour })) },
        { vcpus: [{ behaviour: bursts(ms, ms) }] },
      ],
    }).run(200 * ms);
    expect(Math.max(...bench.vcpu(1, 0).latencies)).toBe(0);
    expect(bench.vcpu(0, 0).share).toBe(1);
  });

  /** Out of step with any slice. */
  const naps: Behaviour = (random) => ({
    run: 20 * us,
    end: "block",
    sleep: ms + random.below(2 * ms),
  });
  it("lets who runs finish its slice, if told so", () => {
    const setup = {
      lps: 1,
      vms: [{ vcpus: [{ behaviour: hog }, { behaviour: hog }] }, { vcpus: [{ behaviour: naps }] }],
    };
    const latencies = (runToParity: boolean) =>
      new Bench(eevdf, { ...setup, parameters: { runToParity } }).run(500 * ms).vcpu(1, 0)
        .latencies;
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;
    // The slice of one hog, and that of the other before this one is eligible.
    expect(Math.max(...latencies(true))).toBeLessThanOrEqual(1400 * us);
    expect(mean(latencies(true))).toBeGreaterThan(100 * us);
    expect(mean(latencies(false))).toBeLessThan(mean(latencies(true)) / 2);
  });
});
