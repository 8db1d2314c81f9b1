import type { LpReport, LpStatistics, RunResult } from "../machine/run-result.ts";
import { formatTable } from "./table.ts";

type Column = readonly [
  title: string,
  value: (statistics: LpStatistics, result: RunResult) => string,
];

const seconds = (value: number): string => value.toFixed(3);
const count = (value: number): string => value.toLocaleString("en-US");
/** Names and counts, the largest first. */
const counts = (
  entries: Readonly<Record<string, number>>,
): readonly (readonly [string, number])[] => Object.entries(entries).sort(([, a], [, b]) => b - a);
const total = (entries: Readonly<Record<string, number>>): number =>
  Object.values(entries).reduce((sum, value) => sum + value, 0);

/**
 * Millions of instructions per second of wall-clock time: of the time the LP was not halted, or, where all LPs share a
 * thread and an LP's time is virtual, of the whole run.
 */
function mips(lp: LpStatistics, { driver, runSeconds }: RunResult): string {
  const busy = driver === "threads" ? lp.secondsRoot + lp.secondsNonRoot : runSeconds;
  return busy > 0 ? (lp.instructions / busy / 1e6).toFixed(1) : "-";
}

const columns: readonly Column[] = [
  ["instructions", (lp) => count(lp.instructions)],
  ["MIPS", mips],
  ["root s", (lp) => seconds(lp.secondsRoot)],
  ["non-root s", (lp) => seconds(lp.secondsNonRoot)],
  ["halted s", (lp) => seconds(lp.secondsHalted)],
  ["VM entries", (lp) => count(lp.entries)],
  ["VM exits", (lp) => count(total(lp.exits))],
  ["IPIs sent", (lp) => count(lp.interruptsSent)],
  ["interrupts", (lp) => count(lp.interruptsReceived)],
  ["TLB misses", (lp) => count(lp.tlbMisses)],
  ["device accesses", (lp) => count(lp.deviceAccesses)],
];

/** What `--stats` prints: a table of the LPs, one of the VM exits, and what the guests tried that is not simulated. */
export function formatStatistics(result: RunResult): string {
  const { lps } = result;
  const head = ["LP", ...columns.map(([title]) => title)];
  const rows = lps.map(({ state, statistics }) => [
    String(state.index),
    ...columns.map(([, value]) => value(statistics, result)),
  ]);
  const clock = result.driver === "threads" ? "wall clock" : "virtual time of 1 ns per instruction";
  const time = `start ${seconds(result.startSeconds)} s, run ${seconds(result.runSeconds)} s; times per LP: ${clock}\n`;
  return [formatTable([head, ...rows]), formatExits(lps), formatUnsupported(lps), time]
    .filter((part) => part !== "")
    .join("\n");
}

type Counts = Readonly<Record<string, number>>;

/** VM exits: a row per reason that occurred, a column per LP; the same by what the qualification tells; then by reason per VMCS. Empty when there were none. */
export function formatExits(lps: readonly LpReport[]): string {
  const byLp = lps.map(({ state, statistics }) => [`LP ${state.index}`, statistics.exits] as const);
  const byVmcs = new Map<string, Counts>();
  for (const { statistics } of lps) {
    for (const [pointer, exits] of Object.entries(statistics.exitsByVmcs)) {
      byVmcs.set(`VMCS ${pointer}`, sumCounts([byVmcs.get(`VMCS ${pointer}`) ?? {}, exits]));
    }
  }
  const details = lps.map(
    ({ state, statistics }) => [`LP ${state.index}`, statistics.exitDetails] as const,
  );
  const vmcss = [...byVmcs].sort(([a], [b]) => (a < b ? -1 : 1));
  const tables = [
    formatExitTable("VM exits by reason", byLp),
    formatExitTable("VM exits by qualification", details),
    formatExitTable("VM exits by reason", vmcss),
  ];
  return tables.filter((table) => table !== "").join("\n");
}

function formatExitTable(
  title: string,
  columns: readonly (readonly [title: string, exits: Counts])[],
): string {
  const sums = sumCounts(columns.map(([, exits]) => exits));
  if (total(sums) === 0) return "";
  const head = [title, ...columns.map(([column]) => column), "all"];
  const rows = counts(sums).map(([reason, sum]) => [
    reason,
    ...columns.map(([, exits]) => count(exits[reason] ?? 0)),
    count(sum),
  ]);
  return formatTable([head, ...rows]);
}

function sumCounts(list: readonly Counts[]): Counts {
  const sums: Record<string, number> = {};
  for (const counted of list) {
    for (const [name, value] of Object.entries(counted)) sums[name] = (sums[name] ?? 0) + value;
  }
  return sums;
}

function formatUnsupported(lps: readonly LpReport[]): string {
  const lines = lps.flatMap(({ state, statistics }) =>
    counts(statistics.unsupported).map(
      ([mnemonic, times]) =>
        `LP ${state.index}: ${mnemonic} is not simulated, ${count(times)} × #UD\n`,
    ),
  );
  return lines.join("");
}
