import { quantileOf } from "../../base/log-histogram.ts";
import type { PostingCounts, PostingFinding } from "../../machine/stress/posting-result.ts";
import { formatNanoseconds } from "./axes.ts";
import { bucketChart, lineChart } from "./curves.ts";
import { element, escapeText, table } from "./markup.ts";
import { figure, heading, note, page } from "./page.ts";
import type { PostingReportData } from "./posting-report-data.ts";

/** Findings shown with their steps; more are counted. */
const findingsMax = 20;
const seedsMax = 1000;

/** A stress of interrupt posting as a page of HTML with pictures, complete in itself. */
export function postingReport(data: PostingReportData): string {
  const { totals, options, unit, latency, perSeed, timeline, findings } = data;
  const format = unit === "ns" ? formatNanoseconds : formatCycles;
  const words = Object.entries(options).map(([name, value]) => `${name} ${value}`);
  return page("Interrupt posting", [
    heading(1, "Interrupt posting"),
    verdict(totals, findings),
    note(words.join(", ")),
    totalsTable(totals),
    heading(3, "Latency from post to handler"),
    table(
      ["", "p50", "p90", "p99", "p99.9", "max"],
      [["latency", ...[0.5, 0.9, 0.99, 0.999, 1].map((part) => format(quantileOf(latency, part)))]],
    ),
    ...(latency.count === 0
      ? []
      : [
          figure(
            bucketChart("latency distribution", `latency (${unit})`, latency, format),
            "Posts by the time until their handler; both axes are logarithmic.",
          ),
        ]),
    ...timelinePictures(timeline),
    ...perLpTable(data),
    heading(3, "Seeds"),
    seedTable(perSeed),
    ...(findings.length === 0 ? [] : [heading(2, "Findings")]),
    ...findings.slice(0, findingsMax).map(findingBlock),
    ...(findings.length > findingsMax ? [note(`${findings.length - findingsMax} more`)] : []),
  ]);
}

const formatCycles = (value: number): string => `${Math.round(value).toLocaleString("en")} cycles`;
const whole = (value: number): string => value.toLocaleString("en");
const ratio = (part: number, of: number): string => (of === 0 ? "" : (part / of).toPrecision(3));

function verdict({ lost, spurious }: PostingCounts, findings: readonly PostingFinding[]): string {
  if (lost === 0 && spurious === 0 && findings.length === 0) {
    return element("p", {}, "Every post is accounted for: none lost, none spurious, no finding.");
  }
  const text = `${whole(lost)} lost, ${whole(spurious)} spurious, ${whole(findings.length)} findings.`;
  return element("p", { class: "alarm" }, escapeText(text));
}

function totalsTable(totals: PostingCounts): string {
  const { posts, deliveries, coalesced, pending, lost, spurious } = totals;
  const { notifications, exits, wakeUps, migrations } = totals;
  return table(
    ["", "count", "ratio"],
    [
      ["posts", whole(posts), ""],
      ["deliveries", whole(deliveries), `${ratio(deliveries, posts)} per post`],
      ["coalesced", whole(coalesced), `${ratio(coalesced, posts)} per post`],
      ["pending at the end", whole(pending), ""],
      ["lost", whole(lost), ""],
      ["spurious", whole(spurious), ""],
      ["notifications", whole(notifications), `${ratio(notifications, posts)} per post`],
      ["VM exits", whole(exits), `${ratio(exits, deliveries)} per delivery`],
      ["wake-ups", whole(wakeUps), ""],
      ["migrations", whole(migrations), ""],
    ],
  );
}

function timelinePictures(timeline: PostingReportData["timeline"]): readonly string[] {
  if (timeline.length < 2) return [];
  const rates = (key: "posts" | "deliveries" | "coalesced") => ({
    name: `${key}/s`,
    points: timeline.map((sample, n) => {
      const length = sample.at - (timeline[n - 1]?.at ?? 0);
      return [sample.at, length > 0 ? sample[key] / length : 0] as const;
    }),
  });
  const outstanding = {
    name: "outstanding",
    points: timeline.map((sample) => [sample.at, sample.outstanding] as const),
  };
  return [
    figure(
      lineChart({ title: "rates over time", x: "seconds", y: "per second" }, [
        rates("posts"),
        rates("deliveries"),
        rates("coalesced"),
      ]),
      "Posts, deliveries and coalesced posts per second over the first seed's run.",
    ),
    figure(
      lineChart({ title: "outstanding posts", x: "seconds", y: "posts" }, [outstanding]),
      "Posts on their way: neither delivered nor coalesced.",
    ),
  ];
}

function perLpTable({ perLp, totals }: PostingReportData): readonly string[] {
  if (perLp.length === 0) return [];
  const rows = perLp.map((count, lp) => [
    `LP ${lp}`,
    whole(count),
    ratio(count, totals.deliveries),
  ]);
  return [heading(3, "Deliveries by LP"), table(["LP", "deliveries", "share"], rows)];
}

function seedTable(seeds: PostingReportData["perSeed"]): string {
  const rows = seeds
    .slice(0, seedsMax)
    .map((seed) => [
      String(seed.seed),
      ...[seed.posts, seed.deliveries, seed.coalesced, seed.pending].map(whole),
      ...[seed.lost, seed.spurious, seed.findings].map(whole),
      `${seed.seconds.toPrecision(3)} s`,
    ]);
  const head = ["seed", "posts", "deliveries", "coalesced", "pending", "lost", "spurious"];
  return table([...head, "findings", "time"], rows, (row, column) => {
    const seed = seeds[row];
    const wrong = seed !== undefined && [seed.lost, seed.spurious, seed.findings][column - 5] !== 0;
    return column >= 5 && column <= 7 && wrong ? "worst" : undefined;
  });
}

function findingBlock({ seed, invariant, message, steps }: PostingFinding): string {
  return [
    heading(3, `${invariant}, seed ${seed}`),
    element("p", { class: "alarm" }, escapeText(message)),
    element("pre", {}, escapeText(steps.join("\n"))),
  ].join("\n");
}
