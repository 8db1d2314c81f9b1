import { closeSync, openSync, writeFileSync } from "node:fs";
import { defaultCpuModel } from "../cpu/models/models.ts";
import { seedMax } from "../machine/configuration.ts";
import { fileTrouble } from "../machine/input-files.ts";
import { type PostingOptions, postingDefaults } from "../machine/stress/posting-options.ts";
import type { PostingRun } from "../machine/stress/posting-result.ts";
import { type PostingSummary, summarize } from "../machine/stress/posting-summary.ts";
import { type PostingProgress, runPosting } from "../machine/stress/run-posting.ts";
import { runPostingThreads } from "../machine/stress/run-posting-threads.ts";
import { sweepPosting } from "../machine/stress/sweep-posting.ts";
import { UserError } from "../machine/user-error.ts";
import { postingReport } from "../trace/report/posting-report.ts";
import { ProgressBar, type Terminal } from "./sched-progress.ts";
import { checkBug, type StressOptions } from "./stress-options.ts";
import { formatFindings, formatSummary } from "./stress-tables.ts";

/** What the command needs of the process. */
export interface StressPorts {
  readonly print: (text: string) => Promise<void>;
  readonly terminal: Terminal;
  readonly now: () => number;
  /** Registers what the first Ctrl-C does. @returns what undoes it */
  readonly onInterrupt: (stop: () => void) => () => void;
  readonly setStatus: (status: number) => void;
}

const status = { clean: 0, finding: 3, interrupted: 130 } as const;
const eraseLine = "\r\u001b[2K";
const modelWithIpiVirtualization = "sapphire-rapids";

/** Does what `vmxon stress posting` is told. */
export async function stressPosting(options: StressOptions, ports: StressPorts): Promise<void> {
  const wanted = postingOptions(options);
  const seeds = seedsOf(options);
  const json = openFor("--json", options.json);
  const report = openFor("--report", options.report);
  const abort = new AbortController();
  const release = ports.onInterrupt(() => abort.abort("interrupted"));
  let runs: readonly PostingRun[];
  try {
    runs =
      seeds.length === 1
        ? [await runAlone(wanted, options.seed, ports, abort.signal)]
        : await runSweep(wanted, seeds, ports, abort.signal);
  } finally {
    release();
  }
  const summary = summarize(runs);
  writeOut(json, () => resultJson(wanted, runs, summary));
  writeOut(report, () => reportHtml(wanted, runs, summary));
  if (runs.length > 1) await ports.print(`${runs.length} seeds, ${runs[0]?.seed} and up\n`);
  await ports.print(formatSummary(summary, wanted.driver));
  await ports.print(formatFindings(summary.findings, options.replay === true));
  if (abort.signal.aborted) ports.setStatus(status.interrupted);
  else ports.setStatus(summary.findings.length > 0 ? status.finding : status.clean);
}

/** @throws {UserError} options that do not fit each other */
function postingOptions(options: StressOptions): PostingOptions {
  const { lps, vcpus, devices, vectors, rate, migrate, halt, preempt, affinity, urgent } = options;
  const { lines, blocked } = options;
  const ipiVirtualization = options.ipiVirt ?? false;
  if (options.replay && (options.seeds > 1 || options.driver === "threads")) {
    throw new UserError(
      "--replay: repeats one seed under the deterministic driver; leave --seeds and --driver out",
    );
  }
  if (options.driver === "threads" && (options.seeds > 1 || options.bug !== undefined)) {
    throw new UserError(
      "--driver threads: seeds and planted bugs are for the deterministic driver",
    );
  }
  checkBug(options);
  const model =
    options.cpu ?? (ipiVirtualization ? modelWithIpiVirtualization : defaultCpuModel.name);
  if (ipiVirtualization && model !== modelWithIpiVirtualization) {
    throw new UserError(
      `--ipi-virt: ${model} has no IPI virtualization; give --cpu ${modelWithIpiVirtualization}`,
    );
  }
  const seconds = options.duration ?? Number.POSITIVE_INFINITY;
  const posts =
    options.posts ??
    (options.duration === undefined ? postingDefaults.posts : Number.POSITIVE_INFINITY);
  return {
    ...{ lps, vcpus, devices, vectors, rate, migrate, halt, preempt, affinity, urgent },
    ...{ lines, blocked, posts, seconds, ipiVirtualization },
    hypervisorPosts: true,
    guestPosts: true,
    firstPosts: true,
    driver: options.driver,
    check: options.check,
    bug: options.bug,
    cpuModel: model,
  };
}

function seedsOf({ seed, seeds }: StressOptions): readonly number[] {
  if (seed + seeds - 1 > seedMax) {
    throw new UserError(`--seeds ${seeds}: seeds end at ${seedMax}; begin lower`);
  }
  return Array.from({ length: seeds }, (_, n) => seed + n);
}

function runAlone(
  options: PostingOptions,
  seed: number,
  { terminal }: StressPorts,
  signal: AbortSignal,
): Promise<PostingRun> {
  const run = options.driver === "threads" ? runPostingThreads : runPosting;
  if (!terminal.isTTY) return run(options, seed, { signal });
  const onProgress = (progress: PostingProgress): void => {
    terminal.write(eraseLine + progressLine(progress).slice(0, (terminal.columns ?? 80) - 1));
  };
  return run(options, seed, { signal, onProgress }).finally(() => terminal.write(eraseLine));
}

function progressLine({ posts, deliveries, lost, seconds }: PostingProgress): string {
  const rate = (count: number): string => Math.round(count / seconds).toLocaleString("en");
  return `${posts.toLocaleString("en")} posts, ${rate(posts)} posts/s, ${rate(deliveries)} deliveries/s, lost = ${lost}`;
}

async function runSweep(
  options: PostingOptions,
  seeds: readonly number[],
  { terminal, now }: StressPorts,
  signal: AbortSignal,
): Promise<readonly PostingRun[]> {
  const bar = new ProgressBar(terminal, seeds.length, now);
  const onRun = (run: PostingRun): void => bar.step(run.findings.length > 0);
  try {
    return await sweepPosting(options, seeds, { onRun, signal });
  } finally {
    bar.end();
  }
}

// ——— files

interface OutputFile {
  readonly path: string;
  readonly descriptor: number;
}

/** Opened before the run, so that a bad place is known before the work is done. */
function openFor(option: string, path: string | undefined): OutputFile | undefined {
  if (path === undefined) return undefined;
  try {
    return { path, descriptor: openSync(path, "w") };
  } catch (error) {
    throw new UserError(`${option} ${path}: cannot be written: ${fileTrouble(error)}`);
  }
}

function writeOut(file: OutputFile | undefined, content: () => string): void {
  if (file === undefined) return;
  try {
    writeFileSync(file.descriptor, content());
    closeSync(file.descriptor);
  } catch (error) {
    throw new UserError(`${file.path}: cannot be written: ${fileTrouble(error)}`);
  }
}

/** Options as words; what has no end is called so. */
const inWords = (options: PostingOptions): Record<string, string | number | boolean> =>
  Object.fromEntries(
    Object.entries(options)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [
        name,
        value === Number.POSITIVE_INFINITY
          ? name === "rate"
            ? "max"
            : "no limit"
          : Array.isArray(value)
            ? value.join(",")
            : value,
      ]),
  );

function resultJson(
  options: PostingOptions,
  runs: readonly PostingRun[],
  summary: PostingSummary,
): string {
  const { totals, findings, latency, perLp, seconds, hostSeconds } = summary;
  const { bySource, disturbances } = summary;
  const content = {
    ...totals,
    findings: findings.length,
    ...{ options: inWords(options), seconds, hostSeconds },
    ...{ bySource, disturbances, perLp, latency },
    seeds: runs,
  };
  return `${JSON.stringify(content, null, 2)}\n`;
}

function reportHtml(
  options: PostingOptions,
  runs: readonly PostingRun[],
  { totals, findings, latency, perLp, timeline }: PostingSummary,
): string {
  return postingReport({
    options: inWords(options),
    unit: options.driver === "threads" ? "ns" : "cycles",
    ...{ totals, perLp, latency, timeline, findings },
    perSeed: runs.map((run) => ({ ...run, findings: run.findings.length })),
  });
}
