/**
 * The scheduling benchmark as a program: how much simulated time and how many events of a run record a second of the host's
 * processor time brings, by policy and scenario; what an event costs as the machine grows; what a second thread brings to a sweep; what
 * traces and reports add.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runBench } from "../src/cli/sched-bench.ts";
import { formatTable } from "../src/cli/table.ts";
import { defaultProfile } from "../src/hypervisor/costs/built-in-profiles.ts";
import type { Scenario } from "../src/hypervisor/scenario.ts";
import { builtInScenarios } from "../src/hypervisor/scenarios/built-in.ts";
import { planBench } from "../src/machine/scheduling/bench-plan.ts";
import type { SchedulingJob } from "../src/machine/scheduling/job.ts";
import { runSchedulingJob } from "../src/machine/scheduling/run-scheduling-job.ts";
import { median } from "./statistics.ts";
import { measureSweep, type SweepTimes } from "./sweep.ts";

export interface SchedulingRate {
  readonly scenario: string;
  readonly policy: string;
  readonly lps: number;
  readonly vcpus: number;
  /** Simulated seconds, and events, to a second of processor time, that of compiling and collecting included. */
  readonly speed: number;
  readonly eventsPerSecond: number;
}

export interface SchedulingFigures {
  readonly rates: readonly SchedulingRate[];
  /** Cost of an event on the most LPs over that on the fewest, by scenario. */
  readonly growth: Readonly<Record<string, number>>;
  /** A sweep on one processor and on two; undefined where that cannot be measured. */
  readonly sweep: SweepTimes | undefined;
  /** Processor time with a trace and a report over that without. */
  readonly outputRatio: number | undefined;
}

interface Setting {
  readonly scenario: string;
  readonly policy: string;
  readonly lps: number;
  readonly overcommit: number;
  readonly milliseconds: number;
}

/** Before the clock counts, so that what is run often is compiled. */
const warmUpMs = 200;
const seeds = [1, 2, 3] as const;

/** Policies by the length of their runs of `mixed` on sixteen LPs, in milliseconds: about as many events of each. */
const mixedRuns = {
  eevdf: 1500,
  balance: 1500,
  "round-robin": 2000,
  credit: 1000,
  rtds: 400,
  gang: 400,
  credit2: 300,
  "relaxed-co": 300,
  null: 200,
};
/** Sixteen LPs with three vCPUs to each, or nearly: the rates asked for are 2 s/s and 300 000 events/s. */
const settings: readonly Setting[] = [
  ...Object.entries(mixedRuns).map(([policy, milliseconds]) => ({
    ...{ scenario: "mixed", policy, milliseconds },
    ...{ lps: 16, overcommit: 1 },
  })),
  { scenario: "hogs", policy: "eevdf", lps: 16, overcommit: 3, milliseconds: 2000 },
  { scenario: "spinlock-ticket", policy: "credit", lps: 4, overcommit: 1, milliseconds: 500 },
];
/** The same load on each LP, on ever more of them, for long enough that what every LP does once counts for little. */
const sizes = [4, 16, 64] as const;
const growing: readonly (readonly [scenario: string, overcommit: number, lpMs: number])[] = [
  ["mixed", 1, 9600],
  ["hogs", 3, 20_000],
  ["producer-consumer", 2, 20_000],
];
const mixed = {
  scenario: "mixed",
  policy: "eevdf",
  lps: 16,
  overcommit: 1,
  milliseconds: 500,
} as const;

/** Measures everything, one after another; each ratio is the median of so many. */
export async function benchScheduling(runs = 3): Promise<SchedulingFigures> {
  const rates: SchedulingRate[] = [];
  for (const setting of settings) rates.push(await measure(setting));
  const growth: Record<string, number> = {};
  for (const [scenario, overcommit, lpMs] of growing) {
    const costs: number[] = [];
    for (const lps of sizes) {
      const milliseconds = lpMs / lps;
      const rate = await measure({ scenario, policy: "eevdf", lps, overcommit, milliseconds });
      rates.push(rate);
      costs.push(1 / rate.eventsPerSecond);
    }
    growth[scenario] = (costs.at(-1) ?? 0) / (costs[0] ?? 1);
  }
  const output: number[] = [];
  for (let run = 0; run < runs; run++) {
    output.push((await benchSeconds(true)) / (await benchSeconds(false)));
  }
  return {
    rates,
    growth,
    sweep: await measureSweep(),
    outputRatio: median(output),
  };
}

/** The medians over some seeds: who meets whom at a lock differs much between them. */
async function measure(setting: Setting): Promise<SchedulingRate> {
  await runSchedulingJob(jobOf(setting, warmUpMs));
  const { scenario, policy, lps, milliseconds } = setting;
  const speeds: number[] = [];
  const eventRates: number[] = [];
  let vcpus = 0;
  for (const seed of seeds) {
    const empty = await timed({ ...jobOf(setting, 1), seed });
    const full = await timed({ ...jobOf(setting, 1 + milliseconds), seed });
    // What it takes to build the machine is not to count.
    const seconds = Math.max(full.seconds - empty.seconds, 1e-3);
    speeds.push(milliseconds / 1000 / seconds);
    eventRates.push((full.events - empty.events) / seconds);
    vcpus = full.vcpus;
  }
  const [speed = 0, eventsPerSecond = 0] = [median(speeds), median(eventRates)];
  return { scenario, policy, lps, vcpus, speed, eventsPerSecond };
}

async function timed(job: SchedulingJob) {
  const before = process.cpuUsage();
  const { events, vcpus, ending } = await runSchedulingJob(job);
  const seconds = processorSeconds(before);
  if (ending.type !== "completed") throw new Error(`${job.scenario.name}: ${ending.type}`);
  return { seconds, events: events.time.length, vcpus: vcpus.length };
}

function processorSeconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
}

/** Processor time of a bench, with a trace and a report or without. */
async function benchSeconds(writes: boolean): Promise<number> {
  const { policy, lps, overcommit, milliseconds } = mixed;
  const plan = planBench({
    policies: [{ label: policy, source: { type: "built-in", name: policy }, parameters: {} }],
    scenarios: [{ scenario: scenarioOf(mixed), lps, duration: milliseconds * 1e6 }],
    overcommits: [overcommit],
    seeds: [1],
    costs: [defaultProfile],
    check: false,
    keepRecords: writes,
  });
  const folder = mkdtempSync(join(tmpdir(), "vmxon-bench-"));
  const file = (name: string): string | undefined => (writes ? join(folder, name) : undefined);
  const before = process.cpuUsage();
  try {
    await runBench(
      plan,
      { json: undefined, csv: undefined, report: file("report.html"), trace: file("trace") },
      {
        print: async () => undefined,
        terminal: { isTTY: false, columns: 80, write: () => true },
        now: () => performance.now(),
        onInterrupt: () => () => undefined,
        sweep: { threads: 1 },
      },
    );
    return processorSeconds(before);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function scenarioOf({ scenario: wanted }: Setting): Scenario {
  const scenario = builtInScenarios.find(({ name }) => name === wanted);
  if (scenario === undefined) throw new Error(`no scenario ${wanted}`);
  return scenario;
}

function jobOf(setting: Setting, milliseconds: number): SchedulingJob {
  const { policy, lps, overcommit } = setting;
  return {
    policy: { type: "built-in", name: policy },
    parameters: {},
    ...{ scenario: scenarioOf(setting), lps, overcommit },
    duration: milliseconds * 1e6,
    seed: 1,
    costs: defaultProfile,
    check: false,
    keepRecord: false,
  };
}

export function formatSchedulingFigures(figures: SchedulingFigures): string {
  const headings = ["scenario", "policy", "LPs", "vCPUs", "simulated s/s", "events/s", "us/event"];
  const rows = figures.rates.map(({ scenario, policy, lps, vcpus, speed, eventsPerSecond }) => [
    scenario,
    policy,
    String(lps),
    String(vcpus),
    speed.toFixed(2),
    eventsPerSecond.toFixed(0),
    (1e6 / eventsPerSecond).toFixed(2),
  ]);
  const { growth, sweep, outputRatio } = figures;
  const ratios = [
    ...Object.entries(growth).map(([scenario, value]) => [
      `an event of ${scenario} on 64 LPs, by 4 LPs`,
      value.toFixed(2),
    ]),
    [
      "a sweep on one processor, by two",
      sweep === undefined
        ? "not measured: needs two processors and taskset"
        : `${(sweep.one / sweep.two).toFixed(2)} (${sweep.one.toFixed(1)} s, ${sweep.two.toFixed(1)} s)`,
    ],
    ["with trace and report, by without", outputRatio?.toFixed(2) ?? "not measured"],
  ];
  return `${formatTable([headings, ...rows])}\n${formatTable([["ratio", ""], ...ratios])}`;
}
