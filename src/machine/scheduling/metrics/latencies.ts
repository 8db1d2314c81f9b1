import {
  DescheduleReason,
  EventKind,
  type RunRecord,
  WaitKind,
} from "../../../hypervisor/run-record.ts";
import { type Distribution, Samples } from "./statistics.ts";
import type { Observed } from "./timeline.ts";

/** Latencies in nanoseconds over all vCPUs. Each belongs to the window when it ends there. */
export interface Latencies {
  /** From the moment a halted vCPU becomes ready until it is on an LP. */
  readonly wakeToRun: Distribution;
  /** From sending an IPI to the receiver's acknowledgement. */
  readonly ipi: Distribution;
  readonly lockWait: Distribution;
  readonly barrierWait: Distribution;
  readonly shootdown: Distribution;
  /** From posting an interrupt to the guest's handler. */
  readonly post: Distribution;
  /** How late periodic events were noticed. */
  readonly tick: Distribution;
  readonly request: Distribution;
}

export function latencies(observed: Observed): Latencies {
  const { record, window } = observed;
  const between = (
    begin: EventKind,
    end: EventKind,
    key: (events: RunRecord["events"], n: number) => number | undefined,
  ): Distribution => {
    const samples = new Samples();
    for (const { from, to } of pairs(record, begin, end, key)) {
      if (to >= window.from && to < window.to) samples.add(to - from);
    }
    return samples.distribution();
  };
  const waits = (kind: WaitKind): Distribution =>
    between(EventKind.LockWait, EventKind.LockAcquire, waiter(kind));
  return {
    wakeToRun: wakeToRun(observed),
    ipi: between(EventKind.IpiSend, EventKind.IpiAcknowledge, id),
    lockWait: waits(WaitKind.Lock),
    barrierWait: waits(WaitKind.Barrier),
    shootdown: between(EventKind.ShootdownBegin, EventKind.ShootdownEnd, id),
    post: between(EventKind.Post, EventKind.Deliver, id),
    tick: ticks(observed),
    request: between(EventKind.RequestStart, EventKind.RequestComplete, id),
  };
}

/** What tells one pair of events from others: the id they carry. */
export const id = (events: RunRecord["events"], n: number): number => events.a[n] ?? 0;

/** For waits: the vCPU and the lock, for one kind of lock. */
const waiter =
  (kind: WaitKind) =>
  (events: RunRecord["events"], n: number): number | undefined =>
    events.b[n] === kind ? (events.a[n] ?? 0) * 2 ** 16 + (events.vcpu[n] ?? 0) : undefined;

/** A pair of events with the same key; indices of both. */
export interface Pair {
  readonly begin: number;
  readonly end: number;
  readonly from: number;
  readonly to: number;
}

/** Pairs of events, in the order of their ends. Those without an end are left out. */
export function* pairs(
  { events }: RunRecord,
  beginKind: EventKind,
  endKind: EventKind,
  key: (events: RunRecord["events"], n: number) => number | undefined,
): Generator<Pair> {
  const open = new Map<number, number>();
  for (let n = 0; n < events.time.length; n++) {
    const kind = events.kind[n];
    if (kind !== beginKind && kind !== endKind) continue;
    const name = key(events, n);
    if (name === undefined) continue;
    if (kind === beginKind) {
      open.set(name, n);
      continue;
    }
    const begin = open.get(name);
    if (begin === undefined) continue;
    open.delete(name);
    yield { begin, end: n, from: events.time[begin] ?? 0, to: events.time[n] ?? 0 };
  }
}

function wakeToRun({ record: { events, vcpus }, window }: Observed): Distribution {
  const samples = new Samples();
  const halted = vcpus.map(() => true);
  const wokenAt = new Map<number, number>();
  for (let n = 0; n < events.time.length; n++) {
    const vcpu = events.vcpu[n] ?? 0;
    const at = events.time[n] ?? 0;
    const kind = events.kind[n];
    if (kind === EventKind.Wake && halted[vcpu] === true) {
      halted[vcpu] = false;
      wokenAt.set(vcpu, at);
    } else if (kind === EventKind.Deschedule) {
      halted[vcpu] = events.a[n] === DescheduleReason.Block;
    } else if (kind === EventKind.Dispatch) {
      const since = wokenAt.get(vcpu);
      if (since !== undefined && at >= window.from && at < window.to) samples.add(at - since);
      wokenAt.delete(vcpu);
      halted[vcpu] = false;
    }
  }
  return samples.distribution();
}

function ticks({ record: { events }, window }: Observed): Distribution {
  const samples = new Samples();
  for (let n = 0; n < events.time.length; n++) {
    const at = events.time[n] ?? 0;
    if (events.kind[n] === EventKind.Tick && at >= window.from && at < window.to) {
      samples.add(events.a[n] ?? 0);
    }
  }
  return samples.distribution();
}
