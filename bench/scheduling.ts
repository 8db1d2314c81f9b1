/**
 * The scheduling benchmark as a program: how much simulated time and how many events of a run record a second of the host's
 * processor time brings, on one thread, by policy and scenario; and what an event costs as the machine grows.
 */
import { formatTable } from "../src/cli/table.ts";
import { defaultProfile } from "../src/hypervisor/costs/built-in-profiles.ts";
import { builtInScenarios } from "../src/hypervisor/scenarios/built-in.ts";
import type { SchedulingJob } from "../src/machine/scheduling/job.ts";
import { runSchedulingJob } from "../src/machine/scheduling/run-scheduling-job.ts";

export interface SchedulingRate {
  readonly scenario: string;
  readonly policy: string;
  readonly lps: number;
  readonly vcpus: number;
  /** Simulated seconds, and events, to a second of processor time. */
  readonly speed: number;
  readonly eventsPerSecond: number;
}

interface Setting {
  readonly scenario: string;
  readonly policy: string;
  readonly lps: number;
  readonly overcommit: number;
  readonly milliseconds: number;
}

const warmUpMs = 20;

/** Sixteen LPs with three vCPUs to each, or nearly: the rates asked for are 2 s/s and 300 000 events/s. */
const settings: readonly Setting[] = [
  { scenario: "mixed", policy: "credit", lps: 16, overcommit: 1, milliseconds: 300 },
  { scenario: "mixed", policy: "eevdf", lps: 16, overcommit: 1, milliseconds: 100 },
  { scenario: "hogs", policy: "eevdf", lps: 16, overcommit: 3, milliseconds: 1000 },
  { scenario: "spinlock-ticket", policy: "credit", lps: 4, overcommit: 1, milliseconds: 500 },
];
/** The same load on each LP, on ever more of them. */
const growth: readonly Setting[] = [4, 16, 64].map((lps) => ({
  scenario: "producer-consumer",
  policy: "eevdf",
  lps,
  overcommit: 2,
  milliseconds: 800 / lps,
}));

/** Runs them all, one after another. */
export async function benchScheduling(): Promise<readonly SchedulingRate[]> {
  const rates: SchedulingRate[] = [];
  for (const setting of [...settings, ...growth]) rates.push(await measure(setting));
  return rates;
}

async function measure(setting: Setting): Promise<SchedulingRate> {
  await runSchedulingJob(jobOf(setting, warmUpMs));
  const empty = await timed(jobOf(setting, 1));
  const full = await timed(jobOf(setting, 1 + setting.milliseconds));
  // What it takes to build the machine is not to count.
  const seconds = Math.max(full.seconds - empty.seconds, 1e-3);
  const { scenario, policy, lps, milliseconds } = setting;
  return {
    ...{ scenario, policy, lps },
    vcpus: full.vcpus,
    speed: milliseconds / 1000 / seconds,
    eventsPerSecond: (full.events - empty.events) / seconds,
  };
}

async function timed(job: SchedulingJob) {
  const before = process.cpuUsage();
  const { events, vcpus, ending } = await runSchedulingJob(job);
  const { user, system } = process.cpuUsage(before);
  if (ending.type !== "completed") throw new Error(`${job.scenario.name}: ${ending.type}`);
  return { seconds: (user + system) / 1e6, events: events.time.length, vcpus: vcpus.length };
}

function jobOf(setting: Setting, milliseconds: number): SchedulingJob {
  const scenario = builtInScenarios.find(({ name }) => name === setting.scenario);
  if (scenario === undefined) throw new Error(`no scenario ${setting.scenario}`);
  const { policy, lps, overcommit } = setting;
  return {
    policy: { type: "built-in", name: policy },
    parameters: {},
    ...{ scenario, lps, overcommit },
    duration: milliseconds * 1e6,
    seed: 1,
    costs: defaultProfile,
    check: false,
    keepRecord: true,
  };
}

export function formatSchedulingRates(rates: readonly SchedulingRate[]): string {
  const headings = ["scenario", "policy", "LPs", "vCPUs", "simulated s/s", "events/s", "us/event"];
  const rows = rates.map(({ scenario, policy, lps, vcpus, speed, eventsPerSecond }) => [
    scenario,
    policy,
    String(lps),
    String(vcpus),
    speed.toFixed(2),
    eventsPerSecond.toFixed(0),
    (1e6 / eventsPerSecond).toFixed(2),
  ]);
  return formatTable([headings, ...rows]);
}
