import { type BenchCell, figureNames } from "../machine/scheduling/bench-figures.ts";
import { figureHead } from "./sched-tables.ts";

/** One line per cell. Quoted as RFC 4180 has it. */
export function benchCsv(cells: readonly BenchCell[]): string {
  const head = [
    ...["scenario", "costs", "lps", "overcommit", "policy", "runs", "whole"],
    ...figureNames.flatMap((name) => [figureHead(name), `${figureHead(name)} ±`]),
  ];
  const rows = cells.map((cell) => [
    ...[cell.scenario, cell.costs.profile, cell.lps, cell.overcommit, cell.policy],
    ...[cell.planned, cell.whole],
    ...figureNames.flatMap((name): readonly (string | number)[] => {
      const { mean, halfWidth, runs } = cell.figures[name];
      return runs === 0 ? ["", ""] : [mean, halfWidth];
    }),
  ]);
  return [head, ...rows].map((row) => `${row.map(csvCell).join(",")}\r\n`).join("");
}

function csvCell(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Everything that was found, run by run, as JSON. What is not known is null. */
export function benchJson(cells: readonly BenchCell[], interrupted: boolean): string {
  return `${JSON.stringify({ complete: isComplete(cells) && !interrupted, interrupted, cells }, undefined, 2)}\n`;
}

export function isComplete(cells: readonly BenchCell[]): boolean {
  return cells.every(({ whole, planned }) => whole === planned);
}
