import { type EventColumns, EventKind } from "./run-record.ts";

const digitBits = 16;
const digits = 2 ** digitBits;

/**
 * The events as their readers want them: in the order of time, and no vCPU nor LP changing its state backwards in time. LPs run ahead of
 * each other, so one may take a vCPU a little before the moment at which another, whose clock is ahead, gave it up; such an event is
 * moved to the moment of the one appended before it.
 * @returns new columns, or the same when nothing is to be changed
 */
export function settled(events: EventColumns): EventColumns {
  const time = withoutReturns(events);
  if (time === events.time && isAscending(time)) return events;
  const order = orderOf(time);
  return {
    time: time.map((_, n) => time[order[n] ?? 0] ?? 0),
    kind: events.kind.map((_, n) => events.kind[order[n] ?? 0] ?? 0),
    lp: events.lp.map((_, n) => events.lp[order[n] ?? 0] ?? 0),
    vcpu: events.vcpu.map((_, n) => events.vcpu[order[n] ?? 0] ?? 0),
    a: events.a.map((_, n) => events.a[order[n] ?? 0] ?? 0),
    b: events.b.map((_, n) => events.b[order[n] ?? 0] ?? 0),
  };
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

/** Indices of the times from the least to the greatest, equal ones as they are: a radix sort. */
function orderOf(time: Float64Array): Uint32Array {
  const low = new Uint32Array(time.length);
  const high = new Uint32Array(time.length);
  let order = new Uint32Array(time.length);
  for (let n = 0; n < time.length; n++) {
    const value = time[n] ?? 0;
    high[n] = Math.floor(value / 2 ** 32);
    low[n] = value % 2 ** 32;
    order[n] = n;
  }
  for (const [part, shift] of [
    [low, 0],
    [low, digitBits],
    [high, 0],
    [high, digitBits],
  ] as const) {
    if (part.some((value) => value >>> shift !== 0)) order = sortedByDigit(order, part, shift);
  }
  return order;
}

function sortedByDigit(
  order: Uint32Array<ArrayBuffer>,
  part: Uint32Array,
  shift: number,
): Uint32Array<ArrayBuffer> {
  const start = new Uint32Array(digits + 1);
  for (let n = 0; n < part.length; n++) {
    const next = (((part[n] ?? 0) >>> shift) & (digits - 1)) + 1;
    start[next] = (start[next] ?? 0) + 1;
  }
  for (let n = 1; n <= digits; n++) start[n] = (start[n] ?? 0) + (start[n - 1] ?? 0);
  const sorted = new Uint32Array(order.length);
  for (let n = 0; n < order.length; n++) {
    const index = order[n] ?? 0;
    const digit = ((part[index] ?? 0) >>> shift) & (digits - 1);
    const place = start[digit] ?? 0;
    start[digit] = place + 1;
    sorted[place] = index;
  }
  return sorted;
}
