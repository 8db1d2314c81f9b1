import { assert } from "../../../base/assert.ts";
import {
  BlockCause,
  DescheduleReason,
  EventKind,
  noLp,
  type RunRecord,
} from "../../../hypervisor/run-record.ts";
import { settled } from "../../../hypervisor/settled-events.ts";

/** What a vCPU is doing, as seen by a scheduler. */
export const VcpuState = { Idle: 0, Blocked: 1, Runnable: 2, Running: 3 } as const;
export type VcpuState = (typeof VcpuState)[keyof typeof VcpuState];

/** One stay of a vCPU in a state. `lp` is `noLp` unless it runs. */
export interface Stay {
  readonly vcpu: number;
  readonly state: VcpuState;
  readonly lp: number;
  readonly from: number;
  readonly to: number;
  /** Why it left `Running`; undefined when it left another state or the run ended. */
  readonly reason: DescheduleReason | undefined;
}

/**
 * The part of a record that counts. Metrics are of [from, to).
 */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** A record with its events settled, for any number of readers. */
export interface Observed {
  readonly record: RunRecord;
  readonly window: Window;
}

/** @param from nanoseconds at the start of the run that do not count */
export function observe(record: RunRecord, from = 0): Observed {
  return {
    record: { ...record, events: settled(record.events) },
    window: { from: Math.min(from, record.duration), to: record.duration },
  };
}

/** Length of the part of [from, to) that lies within the window. */
export function overlap(window: Window, from: number, to: number): number {
  return Math.max(0, Math.min(to, window.to) - Math.max(from, window.from));
}

/**
 * All stays of all vCPUs through the whole run, in the order of their ends; those that the end of the run cuts come last, by vCPU.
 * Together the stays of a vCPU are the run, without gaps. Stays of no length are left out.
 * @throws {SimulatorBug} a vCPU is run twice, or an LP runs two
 */
export function stays({ record }: Observed): readonly Stay[] {
  const { events, duration, lps, vcpus } = record;
  const found: Stay[] = [];
  const now = vcpus.map(() => ({ state: VcpuState.Idle as VcpuState, lp: noLp, since: 0 }));
  const runningOn = new Uint16Array(lps).fill(noLp);

  const leave = (vcpu: number, at: number, reason?: DescheduleReason): (typeof now)[number] => {
    const stay = now[vcpu];
    assert(stay !== undefined, `run record: no vCPU ${vcpu}`);
    if (at > stay.since) {
      const { state, lp, since } = stay;
      found.push({ vcpu, state, lp, from: since, to: at, reason });
    }
    stay.since = at;
    return stay;
  };

  for (let n = 0; n < events.time.length; n++) {
    const kind = events.kind[n];
    if (kind === undefined || kind > EventKind.Wake) continue;
    const at = Math.min(events.time[n] ?? 0, duration);
    const lp = events.lp[n] ?? noLp;
    const vcpu = events.vcpu[n] ?? 0;
    const state = now[vcpu]?.state;
    if (kind === EventKind.Wake) {
      if (state === VcpuState.Idle || state === VcpuState.Blocked) {
        leave(vcpu, at).state = VcpuState.Runnable;
      }
    } else if (kind === EventKind.Dispatch) {
      assert(state !== VcpuState.Running, `run record: vCPU ${vcpu} runs already, at ${at} ns`);
      assert(runningOn[lp] === noLp, `run record: LP ${lp} runs a vCPU already, at ${at} ns`);
      Object.assign(leave(vcpu, at), { state: VcpuState.Running, lp });
      runningOn[lp] = vcpu;
    } else {
      assert(runningOn[lp] === vcpu, `run record: vCPU ${vcpu} is not on LP ${lp}, at ${at} ns`);
      const reason = (events.a[n] ?? 0) as DescheduleReason;
      const next = stateAfter(reason, events.b[n] ?? 0);
      Object.assign(leave(vcpu, at, reason), { state: next, lp: noLp });
      runningOn[lp] = noLp;
    }
  }
  for (const vcpu of vcpus.keys()) leave(vcpu, duration);
  return found;
}

function stateAfter(reason: DescheduleReason, cause: number): VcpuState {
  if (reason !== DescheduleReason.Block) return VcpuState.Runnable;
  return cause === BlockCause.Idle ? VcpuState.Idle : VcpuState.Blocked;
}
