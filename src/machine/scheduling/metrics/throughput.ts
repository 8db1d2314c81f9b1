import { EventKind } from "../../../hypervisor/run-record.ts";
import type { Observed } from "./timeline.ts";

/** By VM: units of work per second of simulated time; a VM that counts no work is measured by its completed requests. */
export function throughput({ record, window }: Observed): readonly number[] {
  const { events, vms, vcpus } = record;
  const work = vms.map(() => 0);
  const requests = vms.map(() => 0);
  for (let n = 0; n < events.time.length; n++) {
    const kind = events.kind[n];
    if (kind !== EventKind.Work && kind !== EventKind.RequestComplete) continue;
    const at = events.time[n] ?? 0;
    if (at < window.from || at >= window.to) continue;
    const vm = vcpus[events.vcpu[n] ?? 0]?.vm ?? 0;
    if (kind === EventKind.Work) work[vm] = (work[vm] ?? 0) + (events.a[n] ?? 0);
    else requests[vm] = (requests[vm] ?? 0) + 1;
  }
  const seconds = (window.to - window.from) / 1e9;
  return work.map((units, vm) => (seconds > 0 ? (units || (requests[vm] ?? 0)) / seconds : 0));
}
