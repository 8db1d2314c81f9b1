import { quantileOf } from "../base/log-histogram.ts";
import type { DriverName } from "../machine/configuration.ts";
import { watchedInvariants } from "../machine/stress/invariants.ts";
import type { PostingFinding } from "../machine/stress/posting-result.ts";
import type { PostingSummary } from "../machine/stress/posting-summary.ts";
import { formatTable } from "./table.ts";

const findingsShown = 5;

const whole = (value: number): string => Math.round(value).toLocaleString("en");
const ratio = (part: number, of: number): string => (of === 0 ? "-" : (part / of).toFixed(3));
const rate = (count: number, seconds: number): string =>
  seconds > 0 ? whole(count / seconds) : "-";

/** The sums of a stress, one per line. */
export function formatSummary(summary: PostingSummary, driver: DriverName): string {
  const { totals, latency, perLp, seconds, hostSeconds, bySource, disturbances } = summary;
  const unit = driver === "threads" ? "ns" : "cycles";
  const deliveries = perLp.reduce((sum, count) => sum + count, 0);
  const rows: string[][] = [
    ["posts", whole(totals.posts)],
    ...Object.entries(bySource)
      .filter(([, count]) => count > 0)
      .map(([source, count]) => [`  by ${source}`, whole(count)]),
    ["deliveries", whole(totals.deliveries)],
    ["coalesced", whole(totals.coalesced)],
    ["pending", whole(totals.pending)],
    ["lost", whole(totals.lost)],
    ["spurious", whole(totals.spurious)],
    ["coalesced per post", ratio(totals.coalesced, totals.posts)],
    ["notifications per post", ratio(totals.notifications, totals.posts)],
    ["exits per interrupt", ratio(totals.exits, totals.deliveries)],
    ["wake-ups", whole(totals.wakeUps)],
    ["migrations", whole(totals.migrations)],
    ...Object.entries(disturbances)
      .filter(([, count]) => count > 0)
      .map(([how, count]) => [`disturbed by ${how}`, whole(count)]),
    ...([0.5, 0.99, 0.999, 1] as const).map((part) => [
      `latency ${part === 1 ? "max" : `p${part * 100}`}, ${unit}`,
      latency.count === 0 ? "-" : whole(quantileOf(latency, part)),
    ]),
    ...perLp.map((count, lp) => [`share of LP ${lp}`, ratio(count, deliveries)]),
    ["machine seconds", seconds.toFixed(6)],
    ["posts per host second", rate(totals.posts, hostSeconds)],
    ["findings", whole(summary.findings.length)],
  ];
  return formatTable(rows);
}

/** Findings in full; of many, the first. */
export function formatFindings(findings: readonly PostingFinding[], all: boolean): string {
  const shown = all ? findings : findings.slice(0, findingsShown);
  const rest = findings.length - shown.length;
  const more = rest > 0 ? `${rest} more findings; --json has them all\n` : "";
  return shown.map(formatFinding).join("") + more;
}

function formatFinding({ seed, invariant, message, steps }: PostingFinding): string {
  const lines = steps.map((step) => `  ${step}\n`).join("");
  return `\n${titleOf(invariant)}\n${message}\nseed ${seed}; the steps before it, then where everybody was:\n${lines}repeat it with --replay --seed ${seed} and the same options\n`;
}

function titleOf(invariant: string): string {
  const text = (watchedInvariants as Readonly<Record<string, string>>)[invariant];
  return text === undefined ? `finding: ${invariant}` : `finding: invariant ${invariant}, ${text}`;
}
