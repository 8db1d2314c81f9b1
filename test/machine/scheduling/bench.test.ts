import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defaultProfile } from "../../../src/hypervisor/costs/built-in-profiles.ts";
import { builtInScenarios } from "../../../src/hypervisor/scenarios/built-in.ts";
import { benchCells, extremes } from "../../../src/machine/scheduling/bench-figures.ts";
import { type BenchRequest, planBench } from "../../../src/machine/scheduling/bench-plan.ts";
import type { JobOutcome } from "../../../src/machine/scheduling/job.ts";
import { performJob } from "../../../src/machine/scheduling/perform-job.ts";
import { sweepJobs } from "../../../src/machine/scheduling/sweep.ts";
import { toyPool } from "./toy-pool.ts";
import { toySimulation } from "./toy-simulation.ts";
import { brokenPolicySeed, crashingSeed, endlessSeed, failingSeed } from "./toy-worker.ts";

let folder: string;
let worker: string;
beforeAll(() => {
  ({ folder, worker } = toyPool());
});
afterAll(() => rmSync(folder, { recursive: true }));

const scenarioCalled = (name: string) => {
  const scenario = builtInScenarios.find((one) => one.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return { scenario: { ...scenario, warmup: 0 }, lps: 2, duration: 20_000_000 };
};

const request = (other: Partial<BenchRequest> = {}): BenchRequest => ({
  policies: ["round-robin", "null"].map((name) => ({
    label: name,
    source: { type: "built-in", name },
    parameters: {},
  })),
  scenarios: [scenarioCalled("hogs")],
  overcommits: [1, 2],
  seeds: [1, 2],
  costs: [defaultProfile],
  check: false,
  keepRecords: false,
  ...other,
});

describe("a plan", () => {
  it("has a cell per combination, and runs what is the same but once", () => {
    const { jobs, cells } = planBench(request());
    expect(cells.map(({ policy, overcommit }) => `${policy} ${overcommit}`)).toEqual([
      ...["round-robin 1", "null 1", "round-robin 2", "null 2"],
    ]);
    // Alone, a hog VM is the scenario at overcommit 1: 2 policies, 2 overcommits, 2 seeds.
    expect(jobs).toHaveLength(8);
    expect(cells[2]?.solo).toEqual([cells[0]?.runs]);
  });

  it("runs every VM of a mixture alone", () => {
    const { jobs, cells } = planBench(
      request({ scenarios: [scenarioCalled("weights")], overcommits: [3], seeds: [5] }),
    );
    expect(cells[0]?.solo).toHaveLength(3);
    const solo = cells[0]?.solo.map(([job]) => jobs[job ?? 0]?.scenario.vms);
    expect(solo?.map((vms) => vms?.map(({ name, copies }) => `${name} ${copies}`))).toEqual([
      ...[["light 1"], ["normal 1"], ["heavy 1"]],
    ]);
  });

  it("keeps records of the first seed only, also when the run serves another cell too", () => {
    const { jobs } = planBench(request({ keepRecords: true }));
    expect(jobs.filter(({ keepRecord }) => keepRecord).map(({ seed }) => seed)).toEqual([
      1, 1, 1, 1,
    ]);
  });
});

describe("figures", () => {
  const plan = planBench(request());
  const outcomesOf = () =>
    Promise.all(plan.jobs.map((job) => performJob(async (one) => toySimulation(one), job)));

  it("compare with the run alone", async () => {
    const cells = benchCells(plan, await outcomesOf());
    expect(cells[0]?.figures.relativeThroughput).toEqual({ mean: 100, halfWidth: 0, runs: 2 });
    const shared = cells[2]?.figures.relativeThroughput.mean ?? 0;
    expect(shared).toBeGreaterThan(40);
    expect(shared).toBeLessThan(60);
    expect(cells[2]?.figures.slowdown.mean).toBeCloseTo(100 / shared, 1);
    expect(cells[2]?.figures.steal.mean).toBeCloseTo(50, 0);
    expect(Object.keys(cells[2]?.exitsPerSecond ?? {})).toContain("PAUSE");
    expect(cells.every(({ whole, planned }) => whole === 2 && planned === 2)).toBe(true);
  });

  it("leave out runs that are not whole, and say so", async () => {
    const outcomes: JobOutcome[] = [...(await outcomesOf())];
    const [first = 0, second = 0] = plan.cells[3]?.runs ?? [];
    outcomes[first] = { type: "failed", message: "mine.ts: exports no policy", bug: false };
    const whole = outcomes[second];
    if (whole?.type !== "done") throw new Error("the toy has failed");
    const ending = { type: "failed", message: "pick chose vCPU 3 twice" } as const;
    outcomes[second] = { ...whole, summary: { ...whole.summary, ending } };
    const cell = benchCells(plan, outcomes)[3];
    expect(cell).toMatchObject({ planned: 2, whole: 0 });
    expect(cell?.runs).toHaveLength(1);
    expect(cell?.figures.throughput.runs).toBe(0);
    expect(cell?.troubles).toEqual([
      "seed 1: mine.ts: exports no policy",
      "seed 2: pick chose vCPU 3 twice",
    ]);
  });

  it("of a policy that never picks anybody are none", async () => {
    const [job] = plan.jobs;
    if (job === undefined) throw new Error("no job");
    const outcome = await performJob(async (one) => {
      const record = toySimulation(one);
      const kind = record.events.kind.map((value) => (value <= 1 ? 20 : value));
      return { ...record, events: { ...record.events, kind } };
    }, job);
    expect(outcome).toMatchObject({
      type: "done",
      summary: { ending: { type: "failed", message: expect.stringMatching(/never picked/) } },
    });
  });

  it("mark best and worst only where they are apart", async () => {
    const cells = benchCells(plan, await outcomesOf());
    const two = cells.slice(0, 2).map((cell, n) => ({
      ...cell,
      figures: {
        ...cell.figures,
        slowdown: { mean: 2 + n, halfWidth: 0.1, runs: 2 },
        throughput: { mean: 10 + n, halfWidth: 0.6, runs: 2 },
        steal: { mean: Number.NaN, halfWidth: 0, runs: 0 },
        fairness: { mean: n, halfWidth: 0, runs: 2 },
        migrations: { mean: 1000 + 5 * n, halfWidth: 0, runs: 2 },
      },
    }));
    expect(extremes(two, "slowdown")).toEqual({ best: 0, worst: 1 });
    expect(extremes(two, "fairness")).toEqual({ best: 1, worst: 0 });
    expect(extremes(two, "throughput")).toEqual({ best: undefined, worst: undefined });
    expect(extremes(two, "migrations")).toEqual({ best: undefined, worst: undefined });
    expect(extremes(two, "steal")).toEqual({ best: undefined, worst: undefined });
  });
});

describe("a sweep", () => {
  const types = (outcomes: readonly JobOutcome[]) => outcomes.map(({ type }) => type);

  it("gives outcomes in the order of the jobs, whatever the size of the pool", async () => {
    const { jobs } = planBench(request({ keepRecords: true }));
    const ended: number[] = [];
    const wide = await sweepJobs(jobs, { worker, threads: 2, onOutcome: (n) => ended.push(n) });
    const narrow = await sweepJobs(jobs, { worker, threads: 1 });
    expect(wide).toEqual(narrow);
    expect(wide.flatMap((one) => (one.type === "done" ? one.summary.seed : []))).toEqual(
      jobs.map(({ seed }) => seed),
    );
    expect(ended.sort((a, b) => a - b)).toEqual(jobs.map((_, n) => n));
  });

  it("begins jobs in their order, so that what was done when it is stopped belongs together", async () => {
    const { jobs } = planBench(request({ seeds: [1, 2, 3, 4] }));
    const ended: number[] = [];
    await sweepJobs(jobs, {
      worker,
      threads: 1,
      onOutcome: (n) => ended.push(n),
      signal: new AbortController().signal,
    });
    expect(ended).toEqual(jobs.map((_, n) => n));
  });

  it("goes on when runs fail, break off, or take their thread with them", async () => {
    const seeds = [1, failingSeed, brokenPolicySeed, crashingSeed, 2];
    const { jobs } = planBench(request({ overcommits: [1], seeds }));
    const outcomes = (await sweepJobs(jobs, { worker, threads: 1 })).slice(0, 5);
    expect(types(outcomes)).toEqual(["done", "failed", "done", "failed", "done"]);
    expect(outcomes[1]).toMatchObject({ message: "mine.ts: exports no policy", bug: false });
    expect(outcomes[2]).toMatchObject({ summary: { ending: { type: "failed" } } });
    expect(outcomes[3]).toMatchObject({
      bug: true,
      message: expect.stringMatching(/worker thread/),
    });
  });

  it("can be stopped, and keeps what was done", async () => {
    const { jobs } = planBench(request({ overcommits: [1], seeds: [1, endlessSeed, 2, 3] }));
    const stop = new AbortController();
    const outcomes = await sweepJobs(jobs.slice(0, 4), {
      worker,
      threads: 1,
      signal: stop.signal,
      onOutcome: (_, { type }) => {
        if (type === "done") stop.abort();
      },
    });
    expect(types(outcomes)).toEqual(["done", "interrupted", "interrupted", "interrupted"]);
  });
});
