import { describe, expect, it } from "vitest";
import { defaultProfile } from "../../../src/hypervisor/costs/built-in-profiles.ts";
import { resolveParameters } from "../../../src/hypervisor/schedulers/parameters.ts";
import { findPolicy } from "../../../src/hypervisor/schedulers/registry.ts";
import type { JobOutcome } from "../../../src/machine/scheduling/job.ts";
import { performJob } from "../../../src/machine/scheduling/perform-job.ts";
import { gain, ShapeResults, times } from "../../../src/machine/scheduling/shapes/experiment.ts";
import {
  experiments,
  judgeShapes,
  planShapes,
} from "../../../src/machine/scheduling/shapes/run-shapes.ts";
import { toySimulation } from "./toy-simulation.ts";

describe("the published experiments", () => {
  it("are those of the yardstick", () => {
    expect(experiments.map(({ row }) => row)).toEqual([
      ...[1, 3, 5, 7, 8, 9, 10, 13, 14, 16, 18, 21, 24],
    ]);
  });

  it("use policies and parameters that exist, and all seeds and profiles", () => {
    const { jobs, trials } = planShapes(experiments, [defaultProfile, defaultProfile], [1, 2]);
    expect(trials).toHaveLength(2 * experiments.length);
    for (const { policy, parameters } of jobs) {
      const found = findPolicy(policy.name);
      expect(found, policy.name).toBeDefined();
      expect(() => resolveParameters(found?.parameters ?? {}, parameters)).not.toThrow();
    }
    expect(new Set(jobs.map(({ seed }) => seed))).toEqual(new Set([1, 2]));
  });

  it("can all be judged, whatever the figures", async () => {
    const plan = planShapes(experiments, [defaultProfile], [1]);
    const outcomes = await Promise.all(
      plan.jobs.map(({ duration: _, ...job }) =>
        performJob(async (one) => toySimulation(one), { ...job, duration: 60_000_000 }),
      ),
    );
    for (const { row, simulated, trouble } of judgeShapes(plan, outcomes)) {
      expect(trouble, `row ${row}`).toBeUndefined();
      expect(simulated).toMatch(/\d/);
    }
  });

  it("do not hold when a run is not whole, and say why", () => {
    const plan = planShapes(experiments.slice(0, 1), [defaultProfile], [1]);
    const outcomes: JobOutcome[] = plan.jobs.map(() => ({
      ...{ type: "failed", message: "out of luck\nat line 3", bug: true },
    }));
    expect(judgeShapes(plan, outcomes)).toEqual([
      {
        ...{ row: 1, costs: defaultProfile.name, simulated: "", holds: false },
        trouble: "ticket 1: out of luck",
      },
    ]);
  });
});

describe("a criterion", () => {
  /** Results with a throughput for each variant of an experiment. */
  const throughputs = (values: Readonly<Record<string, number>>): ShapeResults =>
    new ShapeResults(
      new Map(
        Object.entries(values).map(([name, throughput]) => [
          name,
          [{ vmSummaries: [{ name: "vm", throughput, run: 1, steal: 0 }] }] as never,
        ]),
      ),
    );
  const experiment = (row: number) => {
    const found = experiments.find((one) => one.row === row);
    if (found === undefined) throw new Error(`no row ${row}`);
    return found;
  };
  const series = (kind: string, values: readonly number[], first = 1) =>
    Object.fromEntries(values.map((value, n) => [`${kind} ${n + first}`, value]));

  it("holds for the published figures of lock-waiter preemption, and not for a fair loss", () => {
    const { judge } = experiment(1);
    const paravirtual = series("paravirtual", [15_150, 1714, 968, 685]);
    const published = { ...series("ticket", [15_035, 1470, 849, 653]), ...paravirtual };
    expect(judge(throughputs(published)).holds).toBe(true);
    const fair = { ...series("ticket", [15_035, 7500, 5000, 3750]), ...paravirtual };
    expect(judge(throughputs(fair)).holds).toBe(false);
  });

  it("holds for the published figures of boosting IPI receivers, and not without a peak", () => {
    const { judge } = experiment(3);
    const before = series("preempted", [21_443, 2800, 1800]);
    const rule = "preempted-or-ipi-receiver";
    const published = throughputs({ ...before, ...series(rule, [23_520, 8000, 3100]) });
    expect(judge(published)).toEqual({ simulated: "+9.7 %, +186 %, +72 %", holds: true });
    const flat = throughputs({ ...before, ...series(rule, [23_520, 3000, 1900]) });
    expect(judge(flat).holds).toBe(false);
  });

  it("holds for the published figures of IPI-aware directed yield, and not if the gain grows", () => {
    const { judge } = experiment(5);
    const rule = "preempted-or-ipi-receiver";
    const before = series("preempted", [100, 100, 100], 2);
    expect(judge(throughputs({ ...before, ...series(rule, [114.4, 109.8, 106.7], 2) })).holds).toBe(
      true,
    );
    expect(judge(throughputs({ ...before, ...series(rule, [104, 108, 114], 2) })).holds).toBe(
      false,
    );
  });

  it("holds for the published figures of paravirtual shootdowns, and not if they gain alone too", () => {
    const { judge } = experiment(8);
    const before = series("shootdown", [100, 10]);
    const withParavirtual = (values: readonly number[]) =>
      throughputs({ ...before, ...series("shootdown-paravirtual", values) });
    expect(judge(withParavirtual([105, 66])).holds).toBe(true);
    expect(judge(withParavirtual([160, 66])).holds).toBe(false);
    expect(judge(withParavirtual([105, 15])).holds).toBe(false);
  });

  it("formats ratios", () => {
    expect([gain(1.144), gain(0.7), gain(1)]).toEqual(["+14 %", "-30 %", "+0.0 %"]);
    expect([times(2), times(17.3)]).toEqual(["2.0x", "17x"]);
  });
});
