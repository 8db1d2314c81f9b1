import { ascendingOrder } from "../../../base/ascending-order.ts";
import { type Observed, overlap, type Stay, VcpuState } from "./timeline.ts";

/** Idle LPs beside ready vCPUs that may run there. */
export interface WorkConservation {
  /** Intervals longer than the grace. */
  readonly violations: number;
  /** Their length together, LP by LP, in nanoseconds. */
  readonly wasted: number;
}

/** What a wake-up takes to reach an idle LP: an IPI, waking from a C-state, picking. */
export const wakeUpGrace = 20_000;

/**
 * Intervals in which an LP runs nothing although a vCPU with matching affinity is ready. VMs with a cap do not count: they are kept from
 * LPs on purpose.
 * @param all the stays of the same run, in the order of their ends
 */
export function workConservation(observed: Observed, all: readonly Stay[]): WorkConservation {
  const { vcpus, vms } = observed.record;
  const uncapped = vcpus.map(({ vm }) => vms[vm]?.cap === 0);
  const ending = all.filter(
    ({ state, vcpu }) =>
      state === VcpuState.Running || (state === VcpuState.Runnable && uncapped[vcpu] === true),
  );
  const beginning = ascendingOrder(Float64Array.from(ending, ({ from }) => from));
  const watch = new IdleWatch(observed);
  let begun = 0;
  let ended = 0;
  let at = 0;
  for (;;) {
    const end = ending[ended];
    const begin = ending[beginning[begun] ?? -1];
    if (end === undefined) break;
    // At one moment ends come first.
    const isBegin = begin !== undefined && begin.from < end.to;
    const next = isBegin ? begin.from : end.to;
    // Everything of a moment happens before anybody looks.
    if (next !== at) watch.look(at);
    at = next;
    if (isBegin) {
      watch.pass(begin, 1);
      begun++;
    } else {
      watch.pass(end, -1);
      ended++;
    }
  }
  watch.look(at);
  return watch.end();
}

/** Knows which LPs are idle and how many ready vCPUs may run on each. */
class IdleWatch {
  readonly #observed: Observed;
  readonly #ready: Int32Array;
  readonly #taken: Uint8Array;
  /** Since when an LP is idle beside a ready vCPU, or -1. */
  readonly #wrongSince: Float64Array;
  #violations = 0;
  #wasted = 0;

  constructor(observed: Observed) {
    const { lps } = observed.record;
    this.#observed = observed;
    this.#ready = new Int32Array(lps);
    this.#taken = new Uint8Array(lps);
    this.#wrongSince = new Float64Array(lps).fill(-1);
  }

  /** @param step 1 where the stay begins, -1 where it ends */
  pass(stay: Stay, step: 1 | -1): void {
    if (stay.state === VcpuState.Running) {
      this.#taken[stay.lp] = step > 0 ? 1 : 0;
      return;
    }
    for (const lp of this.#observed.record.vcpus[stay.vcpu]?.affinity ?? []) {
      this.#ready[lp] = (this.#ready[lp] ?? 0) + step;
    }
  }

  look(at: number): void {
    for (let lp = 0; lp < this.#ready.length; lp++) {
      const wrong = this.#taken[lp] === 0 && (this.#ready[lp] ?? 0) > 0;
      if (!wrong) this.#close(lp, at);
      else if (this.#wrongSince[lp] === -1) this.#wrongSince[lp] = at;
    }
  }

  #close(lp: number, at: number): void {
    const since = this.#wrongSince[lp] ?? -1;
    if (since < 0) return;
    this.#wrongSince[lp] = -1;
    const length = overlap(this.#observed.window, since, at);
    if (length <= wakeUpGrace) return;
    this.#violations++;
    this.#wasted += length;
  }

  end(): WorkConservation {
    for (let lp = 0; lp < this.#ready.length; lp++) this.#close(lp, this.#observed.record.duration);
    return { violations: this.#violations, wasted: this.#wasted };
  }
}
