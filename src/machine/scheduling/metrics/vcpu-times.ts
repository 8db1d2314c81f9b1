import { EventKind } from "../../../hypervisor/run-record.ts";
import { type Observed, overlap, type Stay, VcpuState } from "./timeline.ts";

/**
 * Where a vCPU's time went, in nanoseconds. `run` + `steal` + `blocked` + `idle` is the window's length, exactly; `run` is all time on an LP:
 * `guest` + `hypervisor` + `haltPoll`.
 */
export interface VcpuTimes {
  run: number;
  /** Ready, and not on an LP. */
  steal: number;
  /** Halted, with something outstanding. */
  blocked: number;
  /** Halted with nothing to do, or not started. */
  idle: number;
  guest: number;
  /** Dispatch and handling of VM exits. */
  hypervisor: number;
  haltPoll: number;
  /** Times it was put on an LP. */
  switches: number;
  migrations: number;
}

const stateNames = ["idle", "blocked", "steal", "run"] as const;

/** By vCPU. @param all the stays of the same run */
export function vcpuTimes(observed: Observed, all: readonly Stay[]): readonly VcpuTimes[] {
  const { record, window } = observed;
  const times = record.vcpus.map((): VcpuTimes => {
    const none = { run: 0, steal: 0, blocked: 0, idle: 0, guest: 0, hypervisor: 0, haltPoll: 0 };
    return { ...none, switches: 0, migrations: 0 };
  });
  for (const { vcpu, state, from, to } of all) {
    const of = times[vcpu];
    if (of !== undefined) of[stateNames[state]] += overlap(window, from, to);
  }
  addPartsOfRunning(observed, all, times);
  for (const of of times) {
    // The exit of HLT holds its poll.
    of.hypervisor -= of.haltPoll;
    of.guest = of.run - of.hypervisor - of.haltPoll;
  }
  return times;
}

/** Adds what happens while a vCPU is on an LP. Time in VM exits is cut where the vCPU leaves the LP. */
function addPartsOfRunning(
  { record: { events }, window }: Observed,
  all: readonly Stay[],
  times: readonly VcpuTimes[],
): void {
  const onLp = stretches(all, times.length);
  const pollSince = new Map<number, number>();
  for (let n = 0; n < events.time.length; n++) {
    const vcpu = events.vcpu[n] ?? 0;
    const of = times[vcpu];
    if (of === undefined) continue;
    const at = events.time[n] ?? 0;
    const counts = at >= window.from && at < window.to ? 1 : 0;
    switch (events.kind[n]) {
      case EventKind.Dispatch:
        of.switches += counts;
        of.hypervisor += overlap(window, at, onLp.end(vcpu, at, at + (events.a[n] ?? 0)));
        break;
      case EventKind.Exit:
        of.hypervisor += overlap(window, at, onLp.end(vcpu, at, at + (events.a[n] ?? 0)));
        break;
      case EventKind.HaltPollBegin:
        pollSince.set(vcpu, at);
        break;
      case EventKind.HaltPollEnd:
        of.haltPoll += overlap(window, pollSince.get(vcpu) ?? at, onLp.end(vcpu, at, at));
        pollSince.delete(vcpu);
        break;
      case EventKind.Migrate:
        of.migrations += counts;
        break;
    }
  }
}

/** Tells until when a vCPU stays on its LP. Asked in the order of time. */
function stretches(
  all: readonly Stay[],
  vcpus: number,
): { end(vcpu: number, from: number, to: number): number } {
  const runs: Stay[][] = Array.from({ length: vcpus }, () => []);
  for (const stay of all) if (stay.state === VcpuState.Running) runs[stay.vcpu]?.push(stay);
  const next = new Uint32Array(vcpus);
  return {
    end(vcpu, from, to) {
      const mine = runs[vcpu] ?? [];
      let n = next[vcpu] ?? 0;
      while ((mine[n]?.to ?? Number.POSITIVE_INFINITY) < from) n++;
      next[vcpu] = n;
      const stay = mine[n];
      // A moment between two stays belongs to neither.
      if (stay === undefined || from < stay.from) return from;
      return Math.min(to, stay.to);
    },
  };
}
