import { jainIndex } from "./statistics.ts";
import { type Observed, overlap, type Stay, VcpuState } from "./timeline.ts";

/** How evenly processor time was shared in one slice of the run. */
export interface FairnessSample {
  /** Middle of the slice, nanoseconds. */
  readonly at: number;
  /** Jain's index over VMs of processor time by weight. */
  readonly jain: number;
  /** Part of the machine's processor time by VM, 0 to 1. */
  readonly shares: readonly number[];
}

/**
 * Jain's index over the VMs that wanted to run: processor time divided by weight, or, when a VM wanted less than that share, its contentment
 * (what it got of what it wanted) times the largest, so that an idle VM does not look like a wronged one.
 */
export function weightedJain(
  run: readonly number[],
  wanted: readonly number[],
  weights: readonly number[],
): number {
  const normalized = run.map((time, vm) => time / (weights[vm] ?? 1));
  const most = Math.max(0, ...normalized);
  const judged = normalized.flatMap((share, vm) => {
    const demand = wanted[vm] ?? 0;
    if (demand === 0) return [];
    return [Math.max(share, (most * (run[vm] ?? 0)) / demand)];
  });
  return jainIndex(judged);
}

/** Run and wanted (run and steal) time by VM, in each of `count` equal slices of the window. */
export function fairnessOverTime(
  { record, window }: Observed,
  all: readonly Stay[],
  count: number,
): readonly FairnessSample[] {
  const { vms, vcpus, lps } = record;
  const length = (window.to - window.from) / count;
  if (length <= 0) return [];
  const empty = (): Float64Array[] =>
    Array.from({ length: count }, () => new Float64Array(vms.length));
  const run = empty();
  const wanted = empty();
  for (const { vcpu, state, from, to } of all) {
    if (state < VcpuState.Runnable || to <= window.from) continue;
    const vm = vcpus[vcpu]?.vm ?? 0;
    const first = Math.max(0, Math.floor((from - window.from) / length));
    const last = Math.min(count - 1, Math.floor((to - window.from) / length));
    for (let n = first; n <= last; n++) {
      const slice = { from: window.from + n * length, to: window.from + (n + 1) * length };
      const time = overlap(slice, from, to);
      add(wanted[n], vm, time);
      if (state === VcpuState.Running) add(run[n], vm, time);
    }
  }
  const weights = vms.map(({ weight }) => weight);
  return run.map((times, n) => ({
    at: window.from + (n + 0.5) * length,
    jain: weightedJain([...times], [...(wanted[n] ?? [])], weights),
    shares: [...times].map((time) => time / (length * lps)),
  }));
}

function add(times: Float64Array | undefined, vm: number, time: number): void {
  if (times !== undefined) times[vm] = (times[vm] ?? 0) + time;
}
