import { beforeAll, describe, expect, it } from "vitest";
import { LogHistogram, quantileOf } from "../../src/base/log-histogram.ts";
import { defaultProfile } from "../../src/hypervisor/costs/built-in-profiles.ts";
import { builtInScenarios } from "../../src/hypervisor/scenarios/built-in.ts";
import { benchCells } from "../../src/machine/scheduling/bench-figures.ts";
import { planBench } from "../../src/machine/scheduling/bench-plan.ts";
import { observe, stays, VcpuState } from "../../src/machine/scheduling/metrics/timeline.ts";
import { performJob } from "../../src/machine/scheduling/perform-job.ts";
import { formatNanoseconds, linearAxis, logAxis } from "../../src/trace/report/axes.ts";
import { cumulative } from "../../src/trace/report/curves.ts";
import { gantt, ipiWaits, preemptedHolders } from "../../src/trace/report/gantt.ts";
import { element, table } from "../../src/trace/report/markup.ts";
import { postingReport } from "../../src/trace/report/posting-report.ts";
import type { PostingReportData } from "../../src/trace/report/posting-report-data.ts";
import { schedulingReport } from "../../src/trace/report/scheduling-report.ts";
import { sampleRecord, us } from "../machine/scheduling/sample-record.ts";
import { toySimulation } from "../machine/scheduling/toy-simulation.ts";

const voidElements = new Set(["meta", "!doctype"]);

/** Checks that every element is closed, in order. */
function expectWellFormed(html: string): void {
  const open: string[] = [];
  for (const [, close, name = "", self] of html
    .replace(/<style>[\s\S]*?<\/style>/, "")
    .matchAll(/<(\/?)([\w!]+)(?:\s[^<>]*?)?(\/?)>/g)) {
    if (voidElements.has(name) || self === "/") continue;
    if (close === "/") expect(open.pop()).toBe(name);
    else open.push(name);
  }
  expect(open).toEqual([]);
}

/** Nothing is fetched, and nothing runs. */
function expectSelfContained(html: string): void {
  expect(html).not.toMatch(/<script|<link|<img|\bsrc=|\bhref=|https?:|url\(|@import|\son\w+=/i);
}

const count = (html: string, pattern: RegExp): number => html.match(pattern)?.length ?? 0;

describe("the report of a bench", () => {
  let html = "";
  let whole = "";
  beforeAll(async () => {
    const scenarios = builtInScenarios.filter(({ name }) => name === "weights");
    const plan = planBench({
      policies: ["round-robin", "null", '<b>"bad"</b>'].map((name) => ({
        label: name,
        source: { type: "built-in", name },
        parameters: {},
      })),
      scenarios: scenarios.map((scenario) => ({
        ...{ scenario: { ...scenario, warmup: 0 }, lps: 2, duration: 50_000_000 },
      })),
      overcommits: [1, 2],
      seeds: [1, 2],
      costs: [defaultProfile],
      check: false,
      keepRecords: true,
    });
    const outcomes = await Promise.all(
      plan.jobs.map((job) => performJob(async (one) => toySimulation(one), job)),
    );
    const report = () => {
      const records = plan.cells.map(({ runs }) => {
        const outcome = outcomes[runs[0] ?? -1];
        return outcome?.type === "done" ? outcome.record : undefined;
      });
      return { cells: benchCells(plan, outcomes), records };
    };
    whole = schedulingReport({ ...report(), interrupted: false });
    outcomes[plan.cells[5]?.runs[0] ?? 0] = { type: "failed", message: "a < b", bug: false };
    html = schedulingReport({ ...report(), interrupted: true });
  });

  it("is complete in itself, and well formed", () => {
    for (const one of [html, whole]) {
      expectSelfContained(one);
      expectWellFormed(one);
      expect(one).not.toMatch(/NaN|undefined|Infinity/);
      expect(one).not.toContain("<b>");
    }
    expect(html).toContain("&lt;b&gt;&quot;bad&quot;&lt;/b&gt;");
  });

  it("reads in the dark and on paper", () => {
    expect(whole).toContain("prefers-color-scheme:dark");
    expect(whole).toContain("@media print");
  });

  it("has all pictures and the tables", () => {
    // Throughput, wake-up, lock wait, IPI, stacked time, fairness, and a Gantt chart per policy.
    expect(count(whole, /<svg/g)).toBe(6 + 3);
    expect(whole).toContain('aria-label="throughput against overcommit"');
    expect(whole).toContain('class="ideal"');
    expect(count(whole, /aria-label="processors over time"/g)).toBe(3);
    expect(whole).toContain("VM exits at 2:1");
    expect(whole).toContain('<td class="best">');
    expect(whole).toContain('<td class="worst">');
    expect(whole).toMatch(/\d+ are published figures and \d+ are estimates/);
    expect(whole).not.toContain('<p class="alarm">');
  });

  it("marks what is partial", () => {
    expect(html).toContain("these results are partial");
    expect(html).toContain("seed 1: a &lt; b");
  });
});

describe("the Gantt chart", () => {
  const observed = observe(sampleRecord());
  const runs = stays(observed).filter(({ state }) => state === VcpuState.Running);

  it("marks lock holders that were preempted, and IPIs to vCPUs that did not run", () => {
    expect(preemptedHolders(observed.record.events)).toEqual([{ at: 400 * us, lp: 0, vcpu: 0 }]);
    // vCPU 0 ran when the IPI was sent to it: it was not the scheduler's fault.
    const { window } = observed;
    expect(ipiWaits(observed.record, runs, window)).toEqual([]);
    const later = runs.filter(({ from }) => from > 0);
    expect(ipiWaits(observed.record, later, window)).toEqual([
      { from: 250 * us, to: 710 * us, lp: 1 },
    ]);
    expect(ipiWaits(observed.record, later, { from: 0, to: 200 * us })).toEqual([]);
  });

  it("has a bar per stay, coloured by VM, with what it is", () => {
    const svg = gantt(sampleRecord());
    const bars = [...svg.matchAll(/<rect class="f(\d)"[^>]*><title>([^<]*)/g)];
    expect(bars.map(([, color, title]) => `${color} ${title}`).sort()).toEqual([
      "0 left/0: 0 ns + 400 us",
      "0 left/0: 700 us + 300 us",
      "0 left/1: 0 ns + 600 us",
      "0 left/1: 800 us + 200 us",
      "1 right/0: 400 us + 400 us",
    ]);
    expect(count(svg, /<polygon class="bad"/g)).toBe(1);
  });
});

describe("scales", () => {
  it("have round ticks", () => {
    const texts = (axis: ReturnType<typeof linearAxis>) => axis.ticks.map(({ text }) => text);
    expect(texts(linearAxis("", 0, 100))).toEqual(["0", "20", "40", "60", "80", "100"]);
    expect(texts(linearAxis("", 0, 0.7))).toEqual(["0", "0.2", "0.4", "0.6"]);
    expect(texts(linearAxis("", 5, 5)).length).toBeGreaterThan(0);
    const log = logAxis("", 1500, 2e6, formatNanoseconds);
    expect(texts(log)).toEqual(["1 us", "10 us", "100 us", "1 ms", "10 ms"]);
    expect(log.place(1e5)).toBeCloseTo(0.5, 12);
  });

  it("a cumulative distribution ends at 1, at the greatest value", () => {
    const histogram = new LogHistogram();
    for (const value of [100, 200, 200, 3000]) histogram.add(value);
    const steps = cumulative(histogram.data());
    expect(steps.at(-1)).toEqual([3000, 1]);
    expect(steps[1]?.[1]).toBe(0.25);
    expect(steps.map(([, part]) => part)).toEqual([...steps.map(([, part]) => part)].sort());
  });

  it("quantiles of a histogram are right to the width of a bucket, also of merged ones", () => {
    const [low, high] = [new LogHistogram(), new LogHistogram()];
    for (let n = 1; n <= 1000; n++) (n <= 500 ? low : high).add(n * 1000);
    low.merge(high.data());
    for (const part of [0.1, 0.5, 0.9, 0.99]) {
      const found = quantileOf(low.data(), part) / (part * 1e6);
      expect(found).toBeGreaterThan(0.999);
      expect(found).toBeLessThan(1.1);
    }
    expect(quantileOf(low.data(), 1)).toBe(1e6);
    expect(quantileOf(new LogHistogram().data(), 0.5)).toBe(0);
  });
});

it("text cannot become markup", () => {
  expect(table(["a<b"], [['"&']])).toContain("<th>a&lt;b</th>");
  expect(element("rect", { title: '"><script>' })).toBe('<rect title="&quot;&gt;&lt;script&gt;"/>');
});

describe("the report of a posting stress", () => {
  const latency = new LogHistogram();
  for (let n = 1; n <= 5000; n++) latency.add(400 + (n * n) / 50);
  const totals = {
    ...{ posts: 5000, deliveries: 4000, coalesced: 990, pending: 10, lost: 0, spurious: 0 },
    ...{ notifications: 3000, exits: 200, wakeUps: 150, migrations: 40 },
  };
  const data: PostingReportData = {
    options: { lps: 4, vcpus: 8, rate: "max" },
    unit: "ns",
    totals,
    perLp: [1000, 1000, 500, 1500],
    perSeed: [{ seed: 7, seconds: 0.5, findings: 0, ...totals }],
    latency: latency.data(),
    timeline: Array.from({ length: 20 }, (_, n) => ({
      ...{ at: (n + 1) / 40, posts: 250, deliveries: 200, coalesced: 45, outstanding: n },
    })),
    findings: [],
  };

  it("has the distribution and the timeline as pictures, and the counts", () => {
    const html = postingReport(data);
    expectSelfContained(html);
    expectWellFormed(html);
    expect(html).not.toMatch(/NaN|undefined|Infinity/);
    expect(count(html, /<svg/g)).toBe(3);
    expect(html).toContain("none lost, none spurious, no finding");
    expect(html).toContain("lps 4, vcpus 8, rate max");
    expect(html).toContain("0.800 per post");
    expect(html).toContain("<td>LP 3</td><td>1,500</td><td>0.375</td>");
    const bars = [...html.matchAll(/<title>[^<]*: (\d+)<\/title>/g)].map(([, many]) =>
      Number(many),
    );
    expect(bars.reduce((sum, many) => sum + many, 0)).toBe(5000);
  });

  it("shows findings with their steps, in red", () => {
    const steps = ["LP 0: set ON", "LP 1: clear SN <lost>"];
    const finding = { seed: 7, invariant: "lost", message: "post 12 is lost", steps };
    const seed = { seed: 7, seconds: 0.5, findings: 1, ...totals, lost: 1 };
    const html = postingReport({
      ...{ ...data, totals: { ...totals, lost: 1 }, perSeed: [seed] },
      findings: Array.from({ length: 25 }, () => finding),
    });
    expectWellFormed(html);
    expect(html).toContain("1 lost, 0 spurious, 25 findings.");
    expect(html).toContain("clear SN &lt;lost&gt;");
    expect(html).toContain('<td class="worst">1</td>');
    expect(html).toContain("5 more");
  });

  it("of nothing at all", () => {
    const nothing = Object.fromEntries(Object.keys(totals).map((key) => [key, 0])) as typeof totals;
    const html = postingReport({
      ...{ ...data, totals: nothing, perSeed: [], timeline: [], perLp: [] },
      latency: new LogHistogram().data(),
    });
    expectWellFormed(html);
    expect(html).not.toMatch(/NaN|undefined|Infinity/);
  });
});
