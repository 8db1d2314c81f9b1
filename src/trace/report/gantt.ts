import {
  DescheduleReason,
  type EventColumns,
  EventKind,
  noLp,
  type RunRecord,
} from "../../hypervisor/run-record.ts";
import { id, pairs } from "../../machine/scheduling/metrics/latencies.ts";
import {
  observe,
  type Stay,
  stays,
  VcpuState,
  type Window,
} from "../../machine/scheduling/metrics/timeline.ts";
import { formatNanoseconds, linearAxis } from "./axes.ts";
import { chart, fillClass, label, line, type Plot } from "./chart.ts";
import { element, escapeText } from "./markup.ts";

const rowHeight = 26;
const barHeight = 16;
/** More bars than that are not a picture any more. */
const barsMax = 700;
const longest = 20_000_000;
const shortest = 100_000;

/** Who ran on each LP for a lively while of a run, with locks that lost their holder and IPIs that had to wait. */
export function gantt(given: RunRecord): string {
  const observed = observe(given);
  const { record } = observed;
  const all = stays(observed);
  const runs = all.filter(({ state }) => state === VcpuState.Running);
  const window = windowOf(record, runs);
  const rows = record.lps * rowHeight;
  const y = {
    label: "LP",
    place: (lp: number) => 1 - (lp + 0.5) / record.lps,
    ticks: Array.from({ length: record.lps }, (_, lp) => ({ value: lp, text: String(lp) })),
  };
  const x = linearAxis("time", window.from, window.to, formatNanoseconds);
  const legend = [
    ...record.vms.map(({ name }, vm) => ({ text: name, swatch: fillClass(vm) })),
    { text: "lock holder preempted", swatch: "bad" },
    { text: "IPI waits for a vCPU that does not run", swatch: "wait" },
  ];
  const draw = (plot: Plot): readonly string[] => [
    ...runs.filter((stay) => within(window, stay)).map((stay) => bar(plot, record, window, stay)),
    ...preemptedHolders(record.events)
      .filter(({ at }) => at >= window.from && at <= window.to)
      .map(({ at, lp }) => triangle(plot.x(at), plot.y(lp) - barHeight / 2)),
    ...ipiWaits(record, runs, window).map((wait) => waitLine(plot, window, wait)),
  ];
  return chart("processors over time", x, y, legend, draw, rows);
}

const within = (window: Window, { from, to }: Window): boolean =>
  to > window.from && from < window.to;

/** Where most happens of what can be drawn, as long as can be drawn. */
function windowOf({ duration }: RunRecord, runs: readonly Stay[]): Window {
  for (let length = Math.min(longest, duration); ; length /= 2) {
    const begins = new Float64Array(Math.ceil(duration / length) * 2 + 1);
    for (const { from } of runs) {
      const half = Math.floor((2 * from) / length);
      begins[half] = (begins[half] ?? 0) + 1;
    }
    // A window begins at any half of its length.
    const bars = (half: number): number => (begins[half] ?? 0) + (begins[half + 1] ?? 0);
    const halves = Array.from({ length: Math.floor((2 * duration) / length) - 1 }, (_, n) => n);
    const drawable = halves.filter((half) => bars(half) <= barsMax);
    const liveliest = drawable.reduce(
      (best, half) => (bars(half) > bars(best) ? half : best),
      drawable[0] ?? 0,
    );
    if (drawable.length > 0 || length <= shortest) {
      const from = (liveliest * length) / 2;
      return { from, to: from + length };
    }
  }
}

function bar(plot: Plot, record: RunRecord, window: Window, { vcpu, lp, from, to }: Stay): string {
  const { vm = 0, index = 0 } = record.vcpus[vcpu] ?? {};
  const left = plot.x(Math.max(from, window.from));
  const right = plot.x(Math.min(to, window.to));
  const width = Math.max(right - left, 0.3);
  const name = `${record.vms[vm]?.name}/${index}`;
  const about = `${name}: ${formatNanoseconds(from)} + ${formatNanoseconds(to - from)}`;
  const top = plot.y(lp) - barHeight / 2;
  const box = element(
    "rect",
    { class: fillClass(vm), x: left, y: top, width, height: barHeight },
    element("title", {}, escapeText(about)),
  );
  return width > 24 ? box + label(left + 3, top + 12, String(index), "start") : box;
}

function triangle(x: number, y: number): string {
  const points = `${(x - 4).toFixed(1)},${y - 5} ${(x + 4).toFixed(1)},${y - 5} ${x.toFixed(1)},${y + 2}`;
  return element("polygon", { class: "bad", points });
}

/** Moments at which a vCPU lost its LP while it held a lock. */
export function preemptedHolders(
  events: EventColumns,
): readonly { readonly at: number; readonly lp: number; readonly vcpu: number }[] {
  const held = new Map<number, number>();
  const found: { at: number; lp: number; vcpu: number }[] = [];
  for (let n = 0; n < events.time.length; n++) {
    const vcpu = events.vcpu[n] ?? 0;
    switch (events.kind[n]) {
      case EventKind.LockAcquire:
        // Barriers are not held.
        if (events.b[n] === 0) held.set(vcpu, (held.get(vcpu) ?? 0) + 1);
        break;
      case EventKind.LockRelease:
        held.set(vcpu, Math.max(0, (held.get(vcpu) ?? 0) - 1));
        break;
      case EventKind.Deschedule:
        if (events.a[n] !== DescheduleReason.Block && (held.get(vcpu) ?? 0) > 0) {
          found.push({ at: events.time[n] ?? 0, lp: events.lp[n] ?? noLp, vcpu });
        }
        break;
    }
  }
  return found;
}

export interface IpiWait extends Window {
  /** Of the sender, when it sent. */
  readonly lp: number;
}

/** IPIs sent to vCPUs that were not on an LP, until they were acknowledged: those that touch the window. */
export function ipiWaits(
  record: RunRecord,
  runs: readonly Stay[],
  window: Window,
): readonly IpiWait[] {
  const { events } = record;
  const byVcpu = record.vcpus.map((): Stay[] => []);
  for (const stay of runs) byVcpu[stay.vcpu]?.push(stay);
  const found: IpiWait[] = [];
  for (const { begin, from, to } of pairs(
    record,
    EventKind.IpiSend,
    EventKind.IpiAcknowledge,
    id,
  )) {
    if (!within(window, { from, to })) continue;
    const receiver = byVcpu[events.b[begin] ?? 0] ?? [];
    const runs = receiver.some((stay) => stay.from <= from && stay.to > from);
    const lp = events.lp[begin] ?? noLp;
    if (!runs && lp < record.lps) found.push({ from, to, lp });
  }
  return found;
}

function waitLine(plot: Plot, window: Window, { from, to, lp }: IpiWait): string {
  const y = plot.y(lp) + barHeight / 2 + 3;
  return line("wait", plot.x(Math.max(from, window.from)), y, plot.x(Math.min(to, window.to)), y);
}
