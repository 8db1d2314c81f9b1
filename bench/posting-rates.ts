import { formatTable } from "../src/cli/table.ts";
import { defaultCpuModel } from "../src/cpu/models/models.ts";
import { type PostingOptions, postingDefaults } from "../src/machine/stress/posting-options.ts";
import type { PostingRun } from "../src/machine/stress/posting-result.ts";
import { runPosting } from "../src/machine/stress/run-posting.ts";
import { runPostingThreads } from "../src/machine/stress/run-posting-threads.ts";
import { median } from "./statistics.ts";

/**
 * Posted interrupts: how many machine-code guests take per second under the threads driver, from devices and from each other, without
 * VM exits; and how many posts the deterministic stress gets through on one processor.
 */

/** Who posts to the vCPUs, of which each LP has one: devices, or with none the vCPUs to each other, or all others to the first. */
export interface DeliveryShape {
  readonly lps: number;
  readonly devices: number;
  readonly toFirst?: boolean;
}

/** Medians of some runs. */
export interface DeliveryRate extends DeliveryShape {
  /** Handlers begun per second, of all vCPUs together. */
  readonly deliveries: number;
  /** The same by second of processor time of all threads. */
  readonly perProcessorSecond: number;
  readonly exitsPerDelivery: number;
  /** Posts lost, deliveries spurious, findings: of all runs. */
  readonly wrong: number;
}

/** As fast as everybody can, and nobody in the way. */
const undisturbed = {
  ...postingDefaults,
  ...{ migrate: 0, halt: 0, preempt: 0, affinity: 0 },
  posts: Number.POSITIVE_INFINITY,
  rate: Number.POSITIVE_INFINITY,
  hypervisorPosts: false,
  driver: "threads",
} as const;
const deterministicPosts = 200_000;
const warmUpPosts = 50_000;

export interface Effort {
  readonly runs: number;
  /** Of each run with threads. */
  readonly seconds: number;
}

const processorSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

export async function measureDeliveries(
  shape: DeliveryShape,
  { runs, seconds }: Effort,
): Promise<DeliveryRate> {
  const { lps, devices, toFirst = false } = shape;
  const ipis = devices === 0;
  const options: PostingOptions = {
    ...undisturbed,
    ...{ lps, devices, seconds, vcpus: lps, guestPosts: ipis, ipiVirtualization: ipis },
    firstPosts: !toFirst,
    cpuModel: ipis ? "sapphire-rapids" : defaultCpuModel.name,
  };
  const all: (PostingRun & { readonly processor: number })[] = [];
  for (let run = 1; run <= runs; run++) {
    process.stderr.write(`run ${run} of ${runs}: posts, ${describe(shape)}\n`);
    const before = processorSeconds();
    const result = await runPostingThreads(options, run, {}, false);
    all.push({ ...result, processor: processorSeconds() - before });
  }
  const middle = (of: (run: (typeof all)[number]) => number): number => median(all.map(of)) ?? 0;
  return {
    ...shape,
    deliveries: middle((run) => run.deliveries / seconds),
    perProcessorSecond: middle((run) => run.deliveries / run.processor),
    exitsPerDelivery: middle((run) => run.exits / run.deliveries),
    wrong: all.reduce((sum, run) => sum + run.lost + run.spurious + run.findings.length, 0),
  };
}

/** Posts per second of processor time under the deterministic driver, start included; the median of some runs, after one that does not count. */
export async function measurePosts(runs: number, given: Partial<PostingOptions>): Promise<number> {
  const rates: number[] = [];
  const options: PostingOptions = {
    ...postingDefaults,
    cpuModel: defaultCpuModel.name,
    posts: deterministicPosts,
    rate: Number.POSITIVE_INFINITY,
    ...given,
  };
  await runPosting({ ...options, posts: warmUpPosts }, 0);
  for (let run = 1; run <= runs; run++) {
    const { lps, devices } = options;
    process.stderr.write(`run ${run} of ${runs}: deterministic, ${describe({ lps, devices })}\n`);
    const before = processorSeconds();
    const { posts } = await runPosting(options, run);
    rates.push(posts / (processorSeconds() - before));
  }
  return median(rates) ?? 0;
}

export interface PostingRates {
  readonly deliveries: readonly DeliveryRate[];
  /** Per second of processor time. */
  readonly deterministicPosts: number;
}

export const postingShapes: readonly DeliveryShape[] = [
  { devices: 1, lps: 1 },
  { devices: 2, lps: 1 },
  { devices: 1, lps: 2 },
  { devices: 2, lps: 2 },
  { devices: 0, lps: 2 },
  { devices: 0, lps: 2, toFirst: true },
];

export async function benchPosting(
  effort: Effort,
  shapes: readonly DeliveryShape[] = postingShapes,
): Promise<PostingRates> {
  const deliveries: DeliveryRate[] = [];
  for (const shape of shapes) deliveries.push(await measureDeliveries(shape, effort));
  return { deliveries, deterministicPosts: await measurePosts(effort.runs, {}) };
}

export const describe = ({ lps, devices, toFirst = false }: DeliveryShape): string =>
  devices === 0
    ? `vCPUs on ${lps} LPs to ${toFirst ? "the first of them" : "each other"}`
    : `${devices} ${devices === 1 ? "device" : "devices"} to vCPUs on ${lps} ${lps === 1 ? "LP" : "LPs"}`;

export const whole = (value: number): string => Math.round(value).toLocaleString("en");

export function formatPostingRates({ deliveries, deterministicPosts }: PostingRates): string {
  const table = formatTable([
    ["posted interrupts", "deliveries/s", "per processor s", "exits/delivery", "wrong"],
    ...deliveries.map((rate) => [
      describe(rate),
      whole(rate.deliveries),
      whole(rate.perProcessorSecond),
      rate.exitsPerDelivery.toFixed(5),
      whole(rate.wrong),
    ]),
  ]);
  return `${table}deterministic stress: ${whole(deterministicPosts)} posts per processor second\n`;
}
