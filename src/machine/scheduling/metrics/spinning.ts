import { EventKind, type RunRecord, WaitKind } from "../../../hypervisor/run-record.ts";
import { pairs } from "./latencies.ts";
import { type Observed, overlap, type Stay, VcpuState } from "./timeline.ts";

/** A wait of a vCPU for others, from `from` to `to`. */
export interface Wait {
  readonly vcpu: number;
  readonly from: number;
  readonly to: number;
  readonly kind: "lock" | "barrier" | "shootdown";
}

/** Waits for locks, barriers and shootdowns, by the order of their ends. */
export function waits(record: RunRecord): readonly Wait[] {
  const { events } = record;
  const who = (n: number): number => events.vcpu[n] ?? 0;
  const found: Wait[] = [];
  const locks = pairs(
    record,
    EventKind.LockWait,
    EventKind.LockAcquire,
    (_, n) => (events.a[n] ?? 0) * 2 ** 16 + who(n),
  );
  for (const { begin, from, to } of locks) {
    const kind = events.b[begin] === WaitKind.Barrier ? "barrier" : "lock";
    found.push({ vcpu: who(begin), from, to, kind });
  }
  const shootdowns = pairs(
    record,
    EventKind.ShootdownBegin,
    EventKind.ShootdownEnd,
    (_, n) => events.a[n] ?? 0,
  );
  for (const { begin, from, to } of shootdowns) {
    found.push({ vcpu: who(begin), from, to, kind: "shootdown" });
  }
  return found.sort((a, b) => a.to - b.to || a.from - b.from);
}

/** Nanoseconds that vCPUs waited while on an LP: processor time that did nothing but spin. */
export function spinWaste({ record, window }: Observed, all: readonly Stay[]): number {
  const byVcpu = record.vcpus.map((): Stay[] => []);
  for (const stay of all) if (stay.state === VcpuState.Running) byVcpu[stay.vcpu]?.push(stay);
  let waste = 0;
  for (const { vcpu, from, to } of waits(record)) {
    const wait = { from: Math.max(from, window.from), to: Math.min(to, window.to) };
    if (wait.to <= wait.from) continue;
    const mine = byVcpu[vcpu] ?? [];
    for (let n = firstEndingAfter(mine, from); n < mine.length; n++) {
      const stay = mine[n];
      if (stay === undefined || stay.from >= to) break;
      waste += overlap(wait, stay.from, stay.to);
    }
  }
  return waste;
}

/** Index of the first stay that ends after a moment; the stays are in the order of time. */
function firstEndingAfter(sorted: readonly Stay[], at: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle]?.to ?? 0) > at) high = middle;
    else low = middle + 1;
  }
  return low;
}
