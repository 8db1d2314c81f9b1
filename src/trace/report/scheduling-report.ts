import { groupBy } from "../../base/group-by.ts";
import { LogHistogram, type LogHistogramData } from "../../base/log-histogram.ts";
import type { RunRecord } from "../../hypervisor/run-record.ts";
import {
  type BenchCell,
  extremes,
  figureNames,
  figures,
} from "../../machine/scheduling/bench-figures.ts";
import type { Latencies } from "../../machine/scheduling/metrics/latencies.ts";
import { formatNanoseconds } from "./axes.ts";
import { distributionChart, lineChart, type Series, stackedBars } from "./curves.ts";
import { gantt } from "./gantt.ts";
import { element, escapeText, table } from "./markup.ts";
import { figure, heading, note, page } from "./page.ts";

export interface SchedulingReport {
  readonly cells: readonly BenchCell[];
  /** By cell: the record of its first seed's run, when there is one. */
  readonly records: readonly (RunRecord | undefined)[];
  /** The bench was stopped before it was through. */
  readonly interrupted: boolean;
}

/** A cell with its record. */
interface Shown extends BenchCell {
  readonly record: RunRecord | undefined;
}

/** The results of a bench as a page of HTML with pictures, complete in itself. */
export function schedulingReport({ cells, records, interrupted }: SchedulingReport): string {
  const shown = cells.map((cell, n): Shown => ({ ...cell, record: records[n] }));
  const groups = groupBy(shown, ({ scenario, costs }) => `${scenario}, costs ${costs.profile}`);
  return page("vCPU scheduling", [
    heading(1, "vCPU scheduling"),
    ...(interrupted ? [alarm("The bench was interrupted: these results are partial.")] : []),
    ...[...groups].flatMap(([title, group]) => section(title, group)),
  ]);
}

const alarm = (text: string): string => element("p", { class: "alarm" }, escapeText(text));

function section(title: string, cells: readonly Shown[]): readonly string[] {
  const [first] = cells;
  if (first === undefined) return [];
  const { costs, lps, planned } = first;
  const highest = Math.max(...cells.map(({ overcommit }) => overcommit));
  const crowded = cells.filter(({ overcommit, runs }) => overcommit === highest && runs.length > 0);
  return [
    heading(2, title),
    note(
      `${lps} LPs, ${planned} seeds. Of the costs, ${costs.published} are published figures and ${costs.estimate} are estimates. ` +
        "± is half the 95 % confidence interval over the seeds; bold green is the best, red the worst at its overcommit.",
    ),
    figureTable(cells),
    ...troubles(cells),
    ...throughputPicture(cells),
    ...distributions(crowded, highest),
    figure(
      stackedBars(
        "where time went",
        timeParts.map(({ name }) => name),
        crowded.map(timeBar),
      ),
      `Where the vCPUs' time went at ${highest}:1.`,
    ),
    figure(
      lineChart(
        { title: "fairness over time", x: "time", y: "Jain's index" },
        crowded.map(fairnessSeries),
        { formatX: formatNanoseconds, yMax: 1 },
      ),
      `Fairness over the first seed's run at ${highest}:1: Jain's index over VMs, processor time by weight; 1 is even.`,
    ),
    ...crowded.flatMap(ganttPicture),
    heading(3, `VM exits at ${highest}:1`),
    exitTable(crowded),
  ];
}

function figureTable(cells: readonly Shown[]): string {
  const names = figureNames.filter((name) => cells.some((cell) => cell.figures[name].runs > 0));
  const rows = cells.map((cell) => [
    cell.policy,
    `${cell.overcommit}:1`,
    ...names.map((name) => {
      const { mean, halfWidth, runs } = cell.figures[name];
      if (runs === 0) return "";
      const isSharp = runs === 1 || halfWidth <= Math.abs(mean) / 1000;
      return isSharp ? short(mean) : `${short(mean)} ± ${short(Number(halfWidth.toPrecision(2)))}`;
    }),
  ]);
  const classes = new Map<string, string>();
  for (const group of groupBy(cells, ({ overcommit }) => overcommit).values()) {
    for (const [column, name] of names.entries()) {
      const { best, worst } = extremes(group, name);
      const place = (index: number): string =>
        `${cells.indexOf(group[index] as Shown)} ${column + 2}`;
      if (best !== undefined) classes.set(place(best), "best");
      if (worst !== undefined) classes.set(place(worst), "worst");
    }
  }
  const head = names.map((name) => `${figures[name].title} ${figures[name].unit}`);
  return table(["policy", "overcommit", ...head], rows, (row, column) =>
    classes.get(`${row} ${column}`),
  );
}

const short = (value: number): string =>
  Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString("en")
    : String(Number(value.toPrecision(3)));

function troubles(cells: readonly Shown[]): readonly string[] {
  return cells.flatMap(({ policy, overcommit, troubles: lines }) =>
    lines.map((text) => alarm(`${policy}, ${overcommit}:1, ${text.split("\n", 1)[0]}`)),
  );
}

function throughputPicture(cells: readonly Shown[]): readonly string[] {
  const overcommits = [...new Set(cells.map(({ overcommit }) => overcommit))].sort((a, b) => a - b);
  const known = cells.filter((cell) => cell.figures.relativeThroughput.runs > 0);
  if (overcommits.length < 2 || known.length === 0) return [];
  const policies = [...groupBy(known, ({ policy }) => policy)];
  const ideal = { name: "1/N, N vCPUs per LP", points: idealShare(known) };
  const picture = lineChart(
    { title: "throughput against overcommit", x: "overcommit", y: "% of throughput alone" },
    policies.map(([name, group]) => ({
      name,
      points: group.map((cell) => [cell.overcommit, cell.figures.relativeThroughput.mean] as const),
    })),
    {
      ideal,
      spread: policies.map(([, group]) =>
        group.map((cell) => cell.figures.relativeThroughput.halfWidth),
      ),
    },
  );
  return [
    figure(
      picture,
      "Throughput of a VM against overcommit; 100 % is what it does alone under the same policy. On the dashed line nothing is lost by sharing, if all vCPUs want to run all the time.",
    ),
  ];
}

const idealSteps = 60;

/** What a VM would do if LPs were shared without loss: all it can as long as there is an LP for every vCPU, then less in proportion. */
function idealShare(cells: readonly Shown[]): Series["points"] {
  const [first, last] = [cells[0], cells.at(-1)];
  const crowding = (cell: Shown | undefined): number =>
    (cell?.runs[0]?.vcpus.length ?? 1) / (cell?.lps ?? 1);
  const [least, most] = [first?.overcommit ?? 1, last?.overcommit ?? 1];
  return Array.from({ length: idealSteps + 1 }, (_, n) => {
    const part = n / idealSteps;
    const vcpusPerLp = crowding(first) * (1 - part) + crowding(last) * part;
    return [least + (most - least) * part, 100 / Math.max(1, vcpusPerLp)] as const;
  });
}

const latencyPictures = [
  { name: "wakeToRun", what: "from wake-up to running" },
  { name: "lockWait", what: "waiting for a lock" },
  { name: "ipi", what: "from sending an IPI to its acknowledgement" },
  { name: "shootdown", what: "for a TLB shootdown" },
  { name: "post", what: "from posting an interrupt to its handler" },
  { name: "tick", what: "by which timers were late" },
] as const satisfies readonly { name: keyof Latencies; what: string }[];

function distributions(cells: readonly Shown[], overcommit: number): readonly string[] {
  return latencyPictures.flatMap(({ name, what }) => {
    const all = cells.map((cell) => ({ name: cell.policy, data: merged(cell, name) }));
    if (all.every(({ data }) => data.count === 0)) return [];
    const caption = `Distribution of the time ${what}, at ${overcommit}:1, all seeds.`;
    return [figure(distributionChart(what, `time ${what}`, all), caption)];
  });
}

function merged({ runs }: BenchCell, name: keyof Latencies): LogHistogramData {
  const histogram = new LogHistogram();
  for (const { latencies } of runs) histogram.merge(latencies[name].histogram);
  return histogram.data();
}

const timeParts = [
  { name: "guest", key: "guest" },
  { name: "hypervisor", key: "hypervisor" },
  { name: "steal", key: "steal" },
  { name: "blocked", key: "blocked" },
  { name: "halt polling", key: "haltPoll" },
  { name: "idle", key: "idle" },
] as const;

function timeBar({ policy, runs }: BenchCell): { name: string; parts: readonly number[] } {
  const wall = runs.reduce((sum, run) => sum + run.wall * run.times.length, 0);
  const parts = timeParts.map(({ key }) => {
    const time = runs.reduce(
      (sum, run) => sum + run.times.reduce((ofRun, of) => ofRun + of[key], 0),
      0,
    );
    return wall > 0 ? (100 * time) / wall : 0;
  });
  return { name: escapeText(policy), parts };
}

function fairnessSeries({ policy, runs }: BenchCell): Series {
  const samples = runs[0]?.fairnessOverTime ?? [];
  return { name: policy, points: samples.map(({ at, jain }) => [at, jain] as const) };
}

function ganttPicture({ policy, overcommit, record }: Shown): readonly string[] {
  if (record === undefined || record.duration === 0) return [];
  const caption = `${policy} at ${overcommit}:1, seed ${record.seed}: who ran on which LP. Numbers are vCPUs of the VM.`;
  return [figure(gantt(record), caption)];
}

function exitTable(cells: readonly Shown[]): string {
  const rows = cells.flatMap(({ policy, runs }) => {
    const [run] = runs;
    if (run === undefined) return [];
    return run.exits.map(({ title, durations: { count, mean, p5, p50, p95 } }) => [
      `${policy}: ${title}`,
      short((count * 1e9) / run.wall),
      ...[p5, p50, p95].map(formatNanoseconds),
      `${short((100 * count * mean) / (run.wall * run.lps))} %`,
    ]);
  });
  return table(["exit", "per second", "5 %", "median", "95 %", "of the LPs' time"], rows);
}
