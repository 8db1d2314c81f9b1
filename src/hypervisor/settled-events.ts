import { ascendingOrder } from "../base/ascending-order.ts";
import { type EventColumns, EventKind } from "./run-record.ts";

/**
 * The events as their readers want them: in the order of time, and no vCPU nor LP changing its state backwards in time. LPs run ahead of
 * each other, so one may take a vCPU a little before the moment at which another, whose clock is ahead, gave it up; such an event is
 * moved to the moment of the one appended before it.
 * @returns new columns, or the same when nothing is to be changed
 */
export function settled(events: EventColumns): EventColumns {
  const time = withoutReturns(events);
  if (time === events.time && isAscending(time)) return events;
  const order = ascendingOrder(time);
  return {
    time: inOrder(time, order),
    kind: inOrder(events.kind, order),
    lp: inOrder(events.lp, order),
    vcpu: inOrder(events.vcpu, order),
    a: inOrder(events.a, order),
    b: inOrder(events.b, order),
  };
}

function inOrder<Column extends EventColumns[keyof EventColumns]>(
  column: Column,
  order: Uint32Array,
): Column {
  const sorted = column.slice() as Column;
  for (let n = 0; n < order.length; n++) sorted[n] = column[order[n] ?? 0] ?? 0;
  return sorted;
}

/** Times at which no change of state comes before an earlier one of the same vCPU or LP. */
function withoutReturns({ time, kind, lp, vcpu }: EventColumns): Float64Array<ArrayBuffer> {
  const ofVcpu = new Float64Array(2 ** 16);
  const ofLp = new Float64Array(2 ** 16);
  let moved: Float64Array<ArrayBuffer> | undefined;
  for (let n = 0; n < time.length; n++) {
    const what = kind[n] ?? 0;
    // The three kinds that change states are the first.
    if (what > EventKind.Wake) continue;
    const who = vcpu[n] ?? 0;
    const where = lp[n] ?? 0;
    let at = Math.max(time[n] ?? 0, ofVcpu[who] ?? 0);
    if (what !== EventKind.Wake) {
      at = Math.max(at, ofLp[where] ?? 0);
      ofLp[where] = at;
    }
    ofVcpu[who] = at;
    if (at !== time[n]) {
      moved ??= time.slice();
      moved[n] = at;
    }
  }
  return moved ?? time;
}

function isAscending(time: Float64Array): boolean {
  for (let n = 1; n < time.length; n++) {
    if ((time[n - 1] ?? 0) > (time[n] ?? 0)) return false;
  }
  return true;
}
