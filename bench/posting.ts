/**
 * `node dist/bench/posting.js [--seconds N] [--runs N] [--lps N,…] [--devices N,…]`: how many posted interrupts machine-code guests
 * take per second under the threads driver, from devices and from each other, without VM exits; and how many posts per second the
 * deterministic stress gets through on one processor. Medians.
 */
import { cpus as hostCpus } from "node:os";
import { parseArgs } from "node:util";
import { formatTable } from "../src/cli/table.ts";
import { defaultCpuModel } from "../src/cpu/models/models.ts";
import { type PostingOptions, postingDefaults } from "../src/machine/stress/posting-options.ts";
import type { PostingRun } from "../src/machine/stress/posting-result.ts";
import { runPosting } from "../src/machine/stress/run-posting.ts";
import { runPostingThreads } from "../src/machine/stress/run-posting-threads.ts";
import { median } from "./statistics.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "4" },
    runs: { type: "string", default: "3" },
    lps: { type: "string", default: "1,2" },
    devices: { type: "string", default: "1,2" },
  },
});
const seconds = Number(values.seconds);
const runs = Number(values.runs);
const numbers = (text: string): number[] => text.split(",").map(Number);

/** As fast as everybody can, and nobody in the way. */
const undisturbed = {
  ...postingDefaults,
  ...{ migrate: 0, halt: 0, preempt: 0, affinity: 0, posts: Number.POSITIVE_INFINITY, seconds },
  rate: Number.POSITIVE_INFINITY,
  hypervisorPosts: false,
  driver: "threads",
} as const;

interface Row {
  readonly name: string;
  readonly deliveries: number;
  readonly exitsPerDelivery: number;
  readonly lost: number;
}

async function measure(name: string, options: PostingOptions): Promise<Row> {
  const all: PostingRun[] = [];
  for (let run = 1; run <= runs; run++) {
    process.stderr.write(`run ${run} of ${runs}: ${name}\n`);
    all.push(await runPostingThreads(options, run, {}, false));
  }
  const middle = (of: (run: PostingRun) => number): number => median(all.map(of)) ?? 0;
  return {
    name,
    deliveries: middle((run) => run.deliveries / seconds),
    exitsPerDelivery: middle((run) => run.exits / run.deliveries),
    lost: all.reduce((sum, run) => sum + run.lost + run.spurious + run.findings.length, 0),
  };
}

const rows: Row[] = [];
for (const devices of numbers(values.devices)) {
  for (const lps of numbers(values.lps)) {
    const shape = { devices, lps, vcpus: lps, guestPosts: false };
    const options = { ...undisturbed, ...shape, cpuModel: defaultCpuModel.name };
    rows.push(await measure(`${devices} devices to vCPUs on ${lps} LPs`, options));
  }
}
for (const lps of numbers(values.lps).filter((count) => count > 1)) {
  const cpuModel = "sapphire-rapids";
  const shape = { devices: 0, lps, vcpus: lps, ipiVirtualization: true, cpuModel };
  rows.push(await measure(`vCPUs on ${lps} LPs to each other`, { ...undisturbed, ...shape }));
}

/** Posts per second of processor time, start included. */
async function measureDeterministic(): Promise<number> {
  const rates: number[] = [];
  for (let run = 1; run <= runs; run++) {
    process.stderr.write(`run ${run} of ${runs}: deterministic\n`);
    const options = { ...postingDefaults, posts: 200_000, rate: Number.POSITIVE_INFINITY };
    const before = process.cpuUsage();
    const { posts } = await runPosting({ ...options, cpuModel: defaultCpuModel.name }, run);
    const { user, system } = process.cpuUsage(before);
    rates.push((posts * 1e6) / (user + system));
  }
  return median(rates) ?? 0;
}

const whole = (value: number): string => Math.round(value).toLocaleString("en");
console.log(
  `${hostCpus()[0]?.model ?? "unknown host"}, ${hostCpus().length} CPUs; ${seconds} s each\n`,
);
console.log(
  formatTable([
    ["", "deliveries/s", "exits/delivery", "lost or spurious"],
    ...rows.map(({ name, deliveries, exitsPerDelivery, lost }) => [
      name,
      whole(deliveries),
      exitsPerDelivery.toFixed(5),
      whole(lost),
    ]),
  ]),
);
console.log(
  `deterministic stress: ${whole(await measureDeterministic())} posts per processor second`,
);
