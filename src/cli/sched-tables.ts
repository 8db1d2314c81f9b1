import { groupBy } from "../base/group-by.ts";
import {
  type BenchCell,
  extremes,
  type FigureName,
  figureNames,
  figures,
} from "../machine/scheduling/bench-figures.ts";
import type { Estimate } from "../machine/scheduling/metrics/statistics.ts";
import { formatTable } from "./table.ts";

/** Marks of the best and the worst of a column. */
const bestMark = "+";
const worstMark = "-";
const exitKindsMax = 6;

/** A number in three digits, thousands and millions with their letter. */
export function shortNumber(value: number): string {
  if (!Number.isFinite(value)) return "?";
  const size = Math.abs(value);
  if (size >= 1e6) return `${digits(value / 1e6)}M`;
  if (size >= 1e4) return `${digits(value / 1e3)}k`;
  return digits(value);
}

function digits(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return size >= 0.005 ? value.toFixed(2) : value.toPrecision(1);
}

/** Below that part of the mean a spread is not worth its place. */
const leastSpread = 0.001;

/** An estimate with its confidence, when there is more than one run and they differ. */
export function formatEstimate({ mean, halfWidth, runs }: Estimate): string {
  if (runs === 0) return "";
  if (runs === 1 || halfWidth <= Math.abs(mean) * leastSpread) return shortNumber(mean);
  return `${shortNumber(mean)} ±${shortNumber(Number(halfWidth.toPrecision(2)))}`;
}

/** Text of one table per scenario and cost profile, with what a reader must know to trust it. */
export function formatCells(cells: readonly BenchCell[]): string {
  const groups = groupBy(cells, ({ scenario, costs }) => `${scenario}\0${costs.profile}`);
  return [...groups.values()].map(formatGroup).join("\n");
}

function formatGroup(cells: readonly BenchCell[]): string {
  const [first] = cells;
  if (first === undefined) return "";
  const { scenario, lps, planned, costs } = first;
  const seeds = planned === 1 ? "1 seed" : `${planned} seeds`;
  const title =
    `${scenario}: ${lps} LPs, ${seeds}; costs ${costs.profile} ` +
    `(${costs.published} published, ${costs.estimate} estimated)\n`;
  const legend = `${bestMark} best, ${worstMark} worst of an overcommit${planned > 1 ? "; ± 95 % confidence over seeds" : ""}\n`;
  return `${title}${formatTable(figureRows(cells))}${legend}${formatExits(cells)}${troubles(cells)}`;
}

/** Columns that no cell has anything in are left out, and throughput beside a VM alone: that is the slowdown again. */
function figureRows(cells: readonly BenchCell[]): readonly (readonly string[])[] {
  const names = figureNames.filter(
    (name) => name !== "relativeThroughput" && cells.some((cell) => cell.figures[name].runs > 0),
  );
  const head = ["policy", "over", ...names.map((name) => figures[name].title)];
  const units = ["", "", ...names.map((name) => figures[name].unit)];
  const byOvercommit = groupBy(cells, ({ overcommit }) => overcommit);
  const rows = [...byOvercommit.values()].flatMap((group) => {
    const marks = new Map(names.map((name) => [name, extremes(group, name)]));
    return group.map((cell, index) => [
      cell.policy + (cell.whole < cell.planned ? ` (${cell.whole} of ${cell.planned} runs)` : ""),
      `${cell.overcommit}:1`,
      ...names.map((name) => formatEstimate(cell.figures[name]) + markOf(marks.get(name), index)),
    ]);
  });
  return [head, units, ...rows];
}

/** Cells without a mark keep its place, so that digits stand under digits. */
function markOf(found: ReturnType<typeof extremes> | undefined, index: number): string {
  if (found?.best === index) return ` ${bestMark}`;
  return found?.worst === index ? ` ${worstMark}` : "  ";
}

/** Exits per second by kind. */
function formatExits(cells: readonly BenchCell[]): string {
  const total = new Map<string, number>();
  for (const { exitsPerSecond } of cells) {
    for (const [title, rate] of Object.entries(exitsPerSecond)) {
      total.set(title, (total.get(title) ?? 0) + rate);
    }
  }
  const titles = [...total]
    .sort((a, b) => b[1] - a[1])
    .slice(0, exitKindsMax)
    .map(([title]) => title);
  if (titles.length === 0) return "";
  const rows = cells.map(({ policy, overcommit, exitsPerSecond }) => [
    policy,
    `${overcommit}:1`,
    ...titles.map((title) => shortNumber(exitsPerSecond[title] ?? 0)),
  ]);
  return `\n${formatTable([["exits/s", "over", ...titles], ...rows])}`;
}

function troubles(cells: readonly BenchCell[]): string {
  const lines = cells.flatMap(({ policy, overcommit, troubles: all }) =>
    all.map((line) => `  ${policy}, ${overcommit}:1, ${firstLine(line)}\n`),
  );
  return lines.length === 0
    ? ""
    : `\nruns that are not whole, and are left out above:\n${lines.join("")}`;
}

const firstLine = (text: string): string => text.split("\n", 1)[0] ?? "";

/** What a figure is called where there is one line for heads: `wake p50 (us)`. */
export function figureHead(name: FigureName): string {
  const { title, unit } = figures[name];
  return `${title} (${unit})`;
}
