import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type BlockCause,
  DescheduleReason,
  EventKind,
  RunRecorder,
} from "../../../src/hypervisor/run-record.ts";
import { exitRows } from "../../../src/machine/scheduling/metrics/exits.ts";
import {
  fairnessOverTime,
  weightedJain,
} from "../../../src/machine/scheduling/metrics/fairness.ts";
import {
  estimate,
  jainIndex,
  Samples,
} from "../../../src/machine/scheduling/metrics/statistics.ts";
import { measure } from "../../../src/machine/scheduling/metrics/summary.ts";
import { observe, stays } from "../../../src/machine/scheduling/metrics/timeline.ts";
import { header, hltReason, pauseReason, sampleRecord, us } from "./sample-record.ts";

describe("times of vCPUs", () => {
  const { times } = measure(sampleRecord());

  it("tell where a vCPU's time went", () => {
    expect(times).toEqual([
      {
        ...{ run: 700 * us, steal: 300 * us, blocked: 0, idle: 0 },
        ...{ guest: 689 * us, hypervisor: 11 * us, haltPoll: 0, switches: 2, migrations: 1 },
      },
      {
        ...{ run: 800 * us, steal: 200 * us, blocked: 0, idle: 0 },
        ...{ guest: 791 * us, hypervisor: 9 * us, haltPoll: 0, switches: 2, migrations: 0 },
      },
      {
        ...{ run: 400 * us, steal: 100 * us, blocked: 200 * us, idle: 300 * us },
        ...{ guest: 341 * us, hypervisor: 9 * us, haltPoll: 50 * us, switches: 1, migrations: 0 },
      },
    ]);
  });

  it("of a part of the run", () => {
    const part = measure(sampleRecord(), { from: 700 * us });
    expect(part.wall).toBe(300 * us);
    expect(part.times[0]).toMatchObject({ run: 300 * us, steal: 0, switches: 1, migrations: 1 });
    expect(part.times[2]).toMatchObject({ run: 100 * us, blocked: 200 * us, haltPoll: 50 * us });
    expect(part.latencies.wakeToRun.count).toBe(0);
  });

  it("add up to the wall exactly, whatever happens", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            gap: fc.integer({ min: 0, max: 1e6 }),
            vcpu: fc.nat(2),
            lp: fc.nat(1),
            reason: fc.nat(4),
            cause: fc.nat(3),
            back: fc.integer({ min: 0, max: 3000 }),
          }),
          { maxLength: 60 },
        ),
        fc.nat(1e6),
        (steps, from) => {
          const r = new RunRecorder(header());
          const where: (number | undefined)[] = [undefined, undefined, undefined];
          let now = 0;
          for (const { gap, vcpu, lp, reason, cause, back } of steps) {
            now += gap;
            const at = Math.max(0, now - back);
            const on = where[vcpu];
            if (on !== undefined) {
              r.exit(at, on, vcpu, 1000, 12);
              r.deschedule(now, on, vcpu, reason as DescheduleReason, cause as BlockCause);
              where[vcpu] = undefined;
            } else if (!where.includes(lp)) {
              r.wake(at, lp, vcpu);
              r.dispatch(at, lp, vcpu, 500);
              where[vcpu] = lp;
            }
          }
          const { times, wall } = measure(r.finish(now + 10, { type: "completed" }), { from });
          for (const { run, steal, blocked, idle, guest, hypervisor, haltPoll } of times) {
            expect(run + steal + blocked + idle).toBe(wall);
            expect(guest + hypervisor + haltPoll).toBe(run);
            expect(Math.min(run, steal, blocked, idle)).toBeGreaterThanOrEqual(0);
          }
        },
      ),
    );
  });

  it("a record that runs a vCPU twice, or two on one LP, is a bug", () => {
    const twice = new RunRecorder(header());
    twice.dispatch(0, 0, 0, 0);
    twice.dispatch(5, 1, 0, 0);
    expect(() => measure(twice.finish(9, { type: "completed" }))).toThrow(/vCPU 0 runs already/);
    const two = new RunRecorder(header());
    two.dispatch(0, 0, 0, 0);
    two.dispatch(5, 0, 1, 0);
    expect(() => measure(two.finish(9, { type: "completed" }))).toThrow(/LP 0 runs a vCPU already/);
  });
});

describe("latencies", () => {
  const { latencies } = measure(sampleRecord());

  it("are taken between the two events that belong together", () => {
    const brief = Object.fromEntries(
      Object.entries(latencies).map(([name, { count, max }]) => [name, [count, max]]),
    );
    expect(brief).toEqual({
      wakeToRun: [3, 100 * us],
      ipi: [1, 460 * us],
      lockWait: [2, 604 * us],
      barrierWait: [0, 0],
      shootdown: [0, 0],
      post: [1, 110 * us],
      tick: [1, 30 * us],
      request: [1, 420 * us],
    });
  });
});

describe("distributions", () => {
  it("have percentiles by nearest rank", () => {
    const samples = new Samples();
    for (let n = 1000; n >= 1; n--) samples.add(n);
    expect(samples.distribution()).toMatchObject({
      ...{ count: 1000, mean: 500.5, p5: 50, p50: 500, p95: 950, p99: 990, p999: 999, max: 1000 },
    });
  });

  it("of nothing are 0", () => {
    expect(new Samples().distribution()).toMatchObject({ count: 0, mean: 0, p50: 0, max: 0 });
  });

  it("over seeds have Student's confidence interval", () => {
    // t(2) = 4.303, deviation 1, three runs.
    const { mean, halfWidth } = estimate([1, 2, 3]);
    expect(mean).toBe(2);
    expect(halfWidth).toBeCloseTo(4.303 / Math.sqrt(3), 10);
    expect(estimate([5])).toEqual({ mean: 5, halfWidth: 0, runs: 1 });
  });
});

describe("the system", () => {
  const summary = measure(sampleRecord());

  it("counts exits by reason", () => {
    expect(summary.exits.map(({ title, durations }) => [title, durations.count])).toEqual([
      ["HLT", 1],
      ["PAUSE", 1],
      ["VMX-preemption timer expired", 1],
    ]);
    expect(summary.pauseLoopExits).toBe(1000);
    expect(exitRows(observe(sampleRecord()), 1).map(({ reason }) => reason)).toEqual([pauseReason]);
    expect(exitRows(observe(sampleRecord()), 2).map(({ reason }) => reason)).toEqual([hltReason]);
  });

  it("counts work, or requests where there is no work, per second", () => {
    expect(summary.vmSummaries.map(({ throughput }) => throughput)).toEqual([4000, 1000]);
  });

  it("knows what was spent spinning", () => {
    // vCPU 1 waited from 200 to 600 on LP 1 and from 800 to 804 on LP 0.
    expect(summary.spinWaste).toBe(404 * us);
  });

  it("finds LPs that idle beside a ready vCPU", () => {
    // LP 1 from 600 to 700: vCPU 0 and, preempted, vCPU 1 are ready.
    expect(summary.conservation).toEqual({ violations: 1, wasted: 100 * us });
  });

  it("no violation: other affinity, a cap, or less than the grace", () => {
    const idle = (vcpu: object, vm: object, gap: number) => {
      const r = new RunRecorder(
        header({
          vms: [{ name: "only", weight: 256, cap: 0, ...vm }],
          vcpus: [{ vm: 0, index: 0, affinity: [0, 1], ...vcpu }],
        }),
      );
      r.wake(0, 0, 0);
      r.dispatch(gap, 0, 0, 0);
      return measure(r.finish(100 * us, { type: "completed" })).conservation;
    };
    expect(idle({}, {}, 50 * us)).toEqual({ violations: 2, wasted: 100 * us });
    expect(idle({ affinity: [1] }, {}, 50 * us).violations).toBe(1);
    expect(idle({}, { cap: 50 }, 50 * us).violations).toBe(0);
    expect(idle({}, {}, 10 * us).violations).toBe(0);
  });
});

describe("fairness", () => {
  it("is Jain's index", () => {
    expect(jainIndex([1, 1, 1, 1])).toBe(1);
    expect(jainIndex([1, 0, 0, 0])).toBe(0.25);
    // (1 + 2 + 3)² / (3 × 14)
    expect(jainIndex([1, 2, 3])).toBeCloseTo(36 / 42, 12);
  });

  it("goes by weight, and by what was wanted", () => {
    expect(weightedJain([100, 200], [500, 500], [256, 512])).toBe(1);
    expect(weightedJain([200, 100], [500, 500], [256, 512])).toBeCloseTo(25 / 34, 12);
    // The second VM wanted little and got all of it; the third wanted nothing.
    expect(weightedJain([300, 10, 0], [300, 10, 0], [256, 256, 256])).toBe(1);
  });

  it("over time shows who had the machine when", () => {
    const observed = observe(sampleRecord());
    const samples = fairnessOverTime(observed, stays(observed), 2);
    expect(samples.map(({ at }) => at)).toEqual([250 * us, 750 * us]);
    expect(samples[0]?.shares.map((share) => share * 1000)).toEqual([900, 100]);
    expect(samples[1]?.shares.map((share) => share * 1000)).toEqual([600, 300]);
  });
});

describe("a record", () => {
  it("keeps what fits and counts the rest", () => {
    const r = new RunRecorder(header(), 3);
    for (let n = 0; n < 5; n++) r.work(n, 0, 0, 1);
    const { events, lost } = r.finish(9, { type: "completed" });
    expect([...events.time]).toEqual([0, 1, 2]);
    expect(lost).toBe(2);
  });

  it("learns names of counters as they come", () => {
    const r = new RunRecorder(header());
    expect(["lag", "credits", "lag"].map((name) => r.counterNamed(name))).toEqual([1, 0, 1]);
    expect(r.finish(1, { type: "completed" }).counters).toEqual(["credits", "lag"]);
  });

  it("grows without losing anything", () => {
    const r = new RunRecorder(header());
    for (let n = 0; n < 100_000; n++) r.append(EventKind.Work, n, n % 2, n % 3, n / 2, -n);
    const { events } = r.finish(1e6, { type: "completed" });
    expect(r.count).toBe(100_000);
    for (const n of [0, 16_383, 16_384, 99_999]) {
      expect([events.time[n], events.lp[n], events.vcpu[n], events.a[n]]).toEqual([
        ...[n, n % 2, n % 3, n / 2],
      ]);
      expect(Math.abs(events.b[n] ?? 0)).toBe(n);
    }
  });

  it("survives being posted to another thread", () => {
    const record = sampleRecord();
    expect(measure(structuredClone(record))).toEqual(measure(record));
  });

  it("is settled: in time order, equal times as appended, and no LP takes a vCPU before another gives it up", () => {
    const r = new RunRecorder(header());
    r.dispatch(0, 0, 0, 0);
    r.deschedule(1000, 0, 0, DescheduleReason.Slice);
    r.exit(900, 0, 0, 100, 1);
    r.dispatch(990, 1, 0, 0);
    r.work(990, 1, 0, 1);
    r.work(2 ** 40, 1, 0, 2);
    r.work(2 ** 33, 1, 0, 3);
    const { record } = observe(r.finish(2 ** 41, { type: "completed" }));
    expect([...record.events.time]).toEqual([0, 900, 990, 1000, 1000, 2 ** 33, 2 ** 40]);
    expect([...record.events.kind]).toEqual([0, 3, 19, 1, 0, 19, 19]);
    expect([...record.events.a].slice(-2)).toEqual([3, 2]);
  });
});
