import type { RecordEnding, RecordHeader, RunRecord } from "../../../hypervisor/run-record.ts";
import { exitReasonTable } from "../../../vmx/exit-reasons.ts";
import { type ExitRow, exitRows } from "./exits.ts";
import { type FairnessSample, fairnessOverTime, weightedJain } from "./fairness.ts";
import { type Latencies, latencies } from "./latencies.ts";
import { spinWaste } from "./spinning.ts";
import { throughput } from "./throughput.ts";
import { observe, stays } from "./timeline.ts";
import { type VcpuTimes, vcpuTimes } from "./vcpu-times.ts";
import { type WorkConservation, workConservation } from "./work-conservation.ts";

export interface VmSummary {
  readonly name: string;
  /** Units of work per second. */
  readonly throughput: number;
  /** Processor time in nanoseconds. */
  readonly run: number;
  readonly steal: number;
}

/** All figures of one run: a plain value. Times in nanoseconds, of the part of the run after `from`. */
export interface RunSummary extends RecordHeader {
  readonly ending: RecordEnding;
  /** Length of what was measured. */
  readonly wall: number;
  readonly events: number;
  /** Events that were too many to keep: if not 0 the figures are wrong. */
  readonly lost: number;
  readonly vmSummaries: readonly VmSummary[];
  /** By vCPU. */
  readonly times: readonly VcpuTimes[];
  readonly latencies: Latencies;
  readonly exits: readonly ExitRow[];
  /** By vCPU, only when asked for. */
  readonly exitsByVcpu: readonly (readonly ExitRow[])[];
  readonly fairness: number;
  readonly fairnessOverTime: readonly FairnessSample[];
  readonly conservation: WorkConservation;
  readonly spinWaste: number;
  /** PAUSE-loop exits per second. */
  readonly pauseLoopExits: number;
  readonly exitsPerSecond: number;
  readonly switchesPerSecond: number;
  readonly migrationsPerSecond: number;
}

export interface MeasureOptions {
  /** Nanoseconds at the start that do not count. */
  readonly from?: number;
  readonly exitsByVcpu?: boolean;
}

const fairnessSlices = 50;

/** @throws {SimulatorBug} the record contradicts itself */
export function measure(given: RunRecord, options: MeasureOptions = {}): RunSummary {
  const observed = observe(given, options.from);
  const { record, window } = observed;
  const { events, duration: _, ...header } = record;
  const all = stays(observed);
  const times = vcpuTimes(observed, all);
  const exits = exitRows(observed);
  const work = throughput(observed);
  const ofVm = (vm: number, what: "run" | "steal"): number =>
    times.reduce((sum, time, vcpu) => (record.vcpus[vcpu]?.vm === vm ? sum + time[what] : sum), 0);
  const vmSummaries = record.vms.map(({ name }, vm) => ({
    name,
    throughput: work[vm] ?? 0,
    run: ofVm(vm, "run"),
    steal: ofVm(vm, "steal"),
  }));
  const wall = window.to - window.from;
  const perSecond = (count: number): number => (wall > 0 ? (count * 1e9) / wall : 0);
  const pauses = exits.find(({ reason }) => reason === exitReasonTable.pause.number);
  return {
    ...header,
    wall,
    events: events.time.length,
    vmSummaries,
    times,
    latencies: latencies(observed),
    exits,
    exitsByVcpu: options.exitsByVcpu ? record.vcpus.map((_, vcpu) => exitRows(observed, vcpu)) : [],
    fairness: weightedJain(
      vmSummaries.map(({ run }) => run),
      vmSummaries.map(({ run, steal }) => run + steal),
      record.vms.map(({ weight }) => weight),
    ),
    fairnessOverTime: fairnessOverTime(observed, all, fairnessSlices),
    conservation: workConservation(observed, all),
    spinWaste: spinWaste(observed, all),
    pauseLoopExits: perSecond(pauses?.durations.count ?? 0),
    exitsPerSecond: perSecond(exits.reduce((sum, { durations }) => sum + durations.count, 0)),
    switchesPerSecond: perSecond(times.reduce((sum, { switches }) => sum + switches, 0)),
    migrationsPerSecond: perSecond(times.reduce((sum, { migrations }) => sum + migrations, 0)),
  };
}
