import { EventKind } from "../../../hypervisor/run-record.ts";
import { exitReasonTable } from "../../../vmx/exit-reasons.ts";
import { type Distribution, Samples } from "./statistics.ts";
import type { Observed } from "./timeline.ts";

/** VM exits with one basic reason: how many, and how long until the guest ran again or lost its LP. */
export interface ExitRow {
  readonly reason: number;
  readonly title: string;
  readonly durations: Distribution;
}

const titles = new Map<number, string>(
  Object.values(exitReasonTable).map(({ number, title }) => [number, title]),
);

/** Title of a basic exit reason, or its number. */
export function exitTitle(reason: number): string {
  return titles.get(reason) ?? `exit reason ${reason}`;
}

/** Exits that began in the window by reason, most frequent first. @param vcpu only this one's */
export function exitRows(
  { record: { events }, window }: Observed,
  vcpu?: number,
): readonly ExitRow[] {
  const byReason = new Map<number, Samples>();
  for (let n = 0; n < events.time.length; n++) {
    if (events.kind[n] !== EventKind.Exit) continue;
    const at = events.time[n] ?? 0;
    if (at < window.from || at >= window.to) continue;
    if (vcpu !== undefined && events.vcpu[n] !== vcpu) continue;
    const reason = events.b[n] ?? 0;
    let samples = byReason.get(reason);
    if (samples === undefined) {
      samples = new Samples();
      byReason.set(reason, samples);
    }
    samples.add(events.a[n] ?? 0);
  }
  return [...byReason]
    .map(([reason, samples]) => ({
      reason,
      title: exitTitle(reason),
      durations: samples.distribution(),
    }))
    .sort((a, b) => b.durations.count - a.durations.count || a.reason - b.reason);
}
