/**
 * `npm run bench -- [--runs N] [--only vmxon|bochs|qemu|vtd|posting|growth|scheduling] [--clock wall|cpu]`: the benchmark guests on vmxon
 * and on the peers that are installed, in one sitting and in turns, so that the ratios compare like with like; then the VT-d unit by
 * itself, posted interrupts, and the scheduling benchmark. How posting and translation grow with LPs and devices only when asked for.
 * Prints tables and writes bench/results/*.json. Rates are by the wall clock; on a host that has other work, `--clock cpu` takes
 * the processor time of the engine instead.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus as hostCpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatTable } from "../src/cli/table.ts";
import { projectFile } from "../src/machine/project-files.ts";
import type { Engine } from "./engine.ts";
import { bochs } from "./engines/bochs.ts";
import { qemu } from "./engines/qemu.ts";
import { vmxon } from "./engines/vmxon.ts";
import { measureFootprint } from "./footprint.ts";
import { benchGrowth, formatGrowth } from "./growth.ts";
import { isRoundTrip, rate, readPhases, type TimeBase } from "./phases.ts";
import { benchPosting, formatPostingRates } from "./posting-rates.ts";
import { benchScheduling, formatSchedulingFigures } from "./scheduling.ts";
import { measureStart } from "./start-up.ts";
import { median } from "./statistics.ts";
import { benchVtd, formatVtdRates } from "./vtd.ts";

/** Seconds of each run with posted interrupts. */
const deliverySeconds = 2;
const guest = (name: string): string => projectFile("bench", "guests", name);

interface Job {
  readonly title: string;
  readonly engine: Engine;
  readonly image: string;
  readonly cpus: number;
}

/** Rates by phase, one per run. */
type Rates = Record<string, number[]>;

const usage = `Usage: npm run bench -- [options]

  --runs N           runs of each, whose median counts (default 3)
  --only NAME        one engine (vmxon, bochs or qemu), vtd: the VT-d unit by itself, posting: posted interrupts,
                     scheduling, or growth: of posting and translation with LPs and devices
  --clock wall|cpu   what rates are by: elapsed time, or the engine's processor time (default wall)
  --help             this text
`;

/** The options; a word on what is wrong with them ends the program. */
function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        runs: { type: "string", default: "3" },
        only: { type: "string" },
        clock: { type: "string", default: "wall" },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      process.stdout.write(usage);
      process.exit(0);
    }
    if (!/^[1-9]\d*$/.test(values.runs))
      throw new Error(`--runs ${values.runs}: not a number of runs`);
    if (!["wall", "cpu"].includes(values.clock))
      throw new Error(`--clock ${values.clock}: give wall or cpu`);
    return values;
  } catch (error) {
    process.stderr.write(
      `bench: ${error instanceof Error ? error.message : String(error)}\n\n${usage}`,
    );
    process.exit(2);
  }
}

const options = readOptions();
const clock: TimeBase = options.clock === "cpu" ? "cpu" : "wall";
const runs = Number(options.runs);
const engines = [vmxon, bochs, qemu].filter(
  ({ name }) => options.only === undefined || options.only === name,
);
/** Parts that are no engine; the last is done only when asked for. */
const parts = ["vtd", "posting", "scheduling", "growth"];
if (engines.length === 0 && !parts.includes(options.only ?? "")) {
  const names = [vmxon, bochs, qemu].map(({ name }) => name);
  process.stderr.write(
    `bench: --only ${options.only}: no such engine; give one of ${[...names, ...parts].join(", ")}\n`,
  );
  process.exit(2);
}

const usable = engines.filter((engine) => {
  const missing = engine.missing();
  if (missing !== undefined) console.log(`${engine.name} is left out: ${missing}`);
  return missing === undefined;
});
// QEMU's translator has no VMX, and Bochs runs all processors on one thread.
const jobs: readonly Job[] = usable.flatMap((engine) => [
  { title: engine.name, engine, image: guest("bench64.mb"), cpus: 1 },
  ...(engine === bochs
    ? []
    : [{ title: `${engine.name}, 2 CPUs`, engine, image: guest("bench64.mb"), cpus: 2 }]),
  ...(engine === qemu
    ? []
    : [{ title: `${engine.name}, VMX`, engine, image: guest("vmxbench.mb"), cpus: 1 }]),
  ...(engine === vmxon
    ? [{ title: `${engine.name}, VMX, 2 CPUs`, engine, image: guest("vmxsmp.mb"), cpus: 2 }]
    : []),
]);

const results = new Map<string, Rates>(jobs.map(({ title }) => [title, {}]));
for (let run = 1; run <= runs; run++) {
  for (const { title, engine, image, cpus } of jobs) {
    process.stderr.write(`run ${run} of ${runs}: ${title}\n`);
    const rates = results.get(title) ?? {};
    for (const phase of readPhases(await engine.run({ image, cpus }))) {
      rates[phase.name] = [...(rates[phase.name] ?? []), rate(phase, clock)];
    }
  }
}

const rateOf = (title: string, phase: string): number | undefined =>
  median(results.get(title)?.[phase] ?? []);

if (jobs.length > 0) {
  printRates();
  printRatios();
}
const vtd = options.only === undefined || options.only === "vtd" ? benchVtd(runs) : undefined;
if (vtd !== undefined) console.log(formatVtdRates(vtd));
const effort = { runs, seconds: deliverySeconds };
const posting =
  options.only === undefined || options.only === "posting" ? await benchPosting(effort) : undefined;
if (posting !== undefined) console.log(formatPostingRates(posting));
const growth = options.only === "growth" ? await benchGrowth(effort) : undefined;
if (growth !== undefined) console.log(formatGrowth(growth));
const scheduling =
  options.only === undefined || options.only === "scheduling"
    ? await benchScheduling(runs)
    : undefined;
if (scheduling !== undefined) console.log(formatSchedulingFigures(scheduling));
const start = usable.includes(vmxon) ? await measureStart(guest("bench64.mb"), 4) : undefined;
const memory = usable.includes(vmxon) ? await measureFootprint(guest("bench64.mb")) : undefined;
if (start !== undefined) {
  console.log(
    `start to first guest instruction, 4 LPs: ${start.process.toFixed(2)} s of the process, ${start.run.toFixed(2)} s of the run`,
  );
}
if (memory !== undefined) {
  console.log(
    `memory above guest RAM: ${memory.perLp.toFixed(1)} MiB per LP and ${memory.fixed.toFixed(0)} MiB for the process`,
  );
}
writeResults();

function printRates(): void {
  const titles = jobs.map(({ title }) => title);
  const phases = [...new Set([...results.values()].flatMap((rates) => Object.keys(rates)))];
  const rows = phases.map((phase) => [
    `${phase}, ${isRoundTrip(phase) ? "1000/s" : "MIPS"}`,
    ...titles.map((title) => rateOf(title, phase)?.toFixed(1) ?? "-"),
  ]);
  console.log(
    `\nMedian of ${runs}, by ${clock === "cpu" ? "processor time" : "the wall clock"}; ${hostCpus()[0]?.model ?? "unknown host"}, ${hostCpus().length} CPUs\n`,
  );
  console.log(formatTable([["", ...titles], ...rows]));
}

function printRatios(): void {
  const ratio = (name: string, a: number | undefined, b: number | undefined): string[][] =>
    a === undefined || b === undefined ? [] : [[name, (a / b).toFixed(2)]];
  const against = (title: string, phases: readonly string[]): string[][] =>
    phases.flatMap((phase) =>
      ratio(
        `vmxon / ${title}: ${phase}`,
        rateOf(title.replace(/^\w+/, "vmxon"), phase),
        rateOf(title, phase),
      ),
    );
  const rows = [
    ...against("bochs", ["alu", "mem64", "mem4160", "call"]),
    ...against("bochs, VMX", ["vmcall", "cpuid", "vmcall-ept", "ept-mem64", "ept-mem4160"]),
    ...against("qemu", ["alu", "mem64", "mem4160", "call"]),
    ...["vmxon", "qemu"].flatMap((name) =>
      ratio(
        `${name}: smp-alu on 2 / alu on 1`,
        rateOf(`${name}, 2 CPUs`, "smp-alu"),
        rateOf(name, "alu"),
      ),
    ),
    ...ratio(
      "vmxon: smp-vmcall on 2 / vmcall on 1",
      rateOf("vmxon, VMX, 2 CPUs", "smp-vmcall"),
      rateOf("vmxon, VMX, 2 CPUs", "vmcall"),
    ),
  ];
  if (rows.length > 0) console.log(formatTable(rows));
}

function writeResults(): void {
  const folder = projectFile("bench", "results");
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${new Date().toISOString().replaceAll(/[:.]/g, "-")}.json`);
  const host = { cpu: hostCpus()[0]?.model, cpus: hostCpus().length, node: process.version };
  const medians = jobs.map(({ title }) => [
    title,
    Object.fromEntries(
      Object.keys(results.get(title) ?? {}).map((phase) => [phase, rateOf(title, phase)]),
    ),
  ]);
  const content = {
    host,
    clock,
    runs,
    medians: Object.fromEntries(medians),
    all: Object.fromEntries(results),
    vtd,
    posting,
    growth,
    scheduling,
    start,
    memoryMebibytes: memory,
  };
  writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`);
  console.log(`written: ${file}`);
}
