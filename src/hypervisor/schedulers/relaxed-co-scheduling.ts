import {
  directedYieldParameters,
  HelpingScheduler,
  type YieldingScheduler,
} from "./directed-yield.ts";
import { fairParameters, linuxScale } from "./eevdf.ts";
import type { FairVcpu } from "./eevdf-queue.ts";
import { type FairRules, FairScheduler } from "./fair-scheduler.ts";
import type { Decision, SchedulerHost, VcpuHandle, VmHandle } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";
import { VcpuStates } from "./vcpu-states.ts";

const shortestSlice = 100_000;

/** How far a vCPU has come. One that is blocked keeps up with its siblings. */
interface Progress {
  /** Nanoseconds, comparable between siblings. */
  done: number;
  /** Not running before the slowest sibling has come closer. */
  stopped: boolean;
}

/**
 * Relaxed co-scheduling: fair sharing of single vCPUs, except that one which has got too far ahead of a sibling is stopped
 * until that has caught up half of the lead. Siblings need not run at the same time, but never drift apart.
 */
class RelaxedCoScheduling implements YieldingScheduler {
  readonly #host: SchedulerHost;
  readonly #threshold: number;
  readonly #fair: FairScheduler;
  readonly #progress = new VcpuStates<Progress>();
  /** What the slowest of a VM has done, as long as it is true. */
  readonly #slowest = new Map<VmHandle, { readonly at: number; readonly done: number }>();
  /** A timer will ask that LP to look again. */
  readonly #rechecking: boolean[];

  constructor(host: SchedulerHost, fair: FairRules, threshold: number) {
    this.#host = host;
    this.#threshold = threshold;
    this.#rechecking = host.topology.lps.map(() => false);
    this.#fair = new FairScheduler(host, {
      ...fair,
      mayRun: (state) => !this.#isStopped(state),
    });
  }

  add(vcpu: VcpuHandle): void {
    this.#fair.add(vcpu);
    this.#progress.add(vcpu, { done: 0, stopped: false });
  }

  /** A vCPU comes back between the slowest and the limit of a lead. */
  wake(vcpu: VcpuHandle): void {
    const progress = this.#progress.of(vcpu);
    const slowest = this.#slowestOf(vcpu.vm);
    if (slowest < Number.POSITIVE_INFINITY) {
      progress.done = Math.min(slowest + this.#threshold / 2, Math.max(slowest, progress.done));
    }
    progress.stopped = false;
    this.#slowest.delete(vcpu.vm);
    this.#fair.wake(vcpu);
  }

  block(vcpu: VcpuHandle): void {
    this.#fair.block(vcpu);
    this.#slowest.delete(vcpu.vm);
  }

  yielded(vcpu: VcpuHandle): void {
    this.#fair.yielded(vcpu);
  }

  yieldTo(vcpu: VcpuHandle, to: VcpuHandle): boolean {
    return !this.#progress.of(to).stopped && this.#fair.yieldTo(vcpu, to);
  }

  pauseLoop(): undefined {}

  ran(vcpu: VcpuHandle, lp: number, ns: number): void {
    this.#progress.of(vcpu).done += ns;
    this.#fair.ran(vcpu, lp, ns);
    this.#slowest.delete(vcpu.vm);
  }

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    const { vcpu, slice } = this.#fair.pick(lp, current);
    if (current !== undefined) {
      this.#slowest.delete(current.vm);
    }
    for (const state of this.#fair.membersOf(lp)) {
      if (this.#progress.of(state.vcpu).stopped) {
        this.#recheck(lp);
      }
    }
    if (vcpu === undefined) {
      return { vcpu, slice };
    }
    const rest = Math.ceil(this.#threshold - this.#lead(this.#fair.states.of(vcpu)));
    return { vcpu, slice: Math.min(slice, Math.max(shortestSlice, rest)) };
  }

  gauges(vcpu: VcpuHandle): Readonly<Record<string, number>> {
    return { ...this.#fair.gauges(vcpu), lead: this.#lead(this.#fair.states.of(vcpu)) };
  }

  #isStopped(state: FairVcpu): boolean {
    const progress = this.#progress.of(state.vcpu);
    const limit = progress.stopped ? this.#threshold / 2 : this.#threshold;
    progress.stopped = this.#lead(state) >= limit;
    return progress.stopped;
  }

  /** Nanoseconds ahead of the slowest of its VM that is awake. */
  #lead(state: FairVcpu): number {
    const done = this.#doneOf(state, this.#host.now());
    return Math.max(0, done - this.#slowestOf(state.vcpu.vm));
  }

  /** Infinity: all are blocked. */
  #slowestOf(vm: VmHandle): number {
    const now = this.#host.now();
    const known = this.#slowest.get(vm);
    if (known?.at === now) {
      return known.done;
    }
    let done = Number.POSITIVE_INFINITY;
    for (const vcpu of vm.vcpus) {
      const state = this.#fair.states.find(vcpu);
      if (state !== undefined && state.state !== "blocked") {
        done = Math.min(done, this.#doneOf(state, now));
      }
    }
    this.#slowest.set(vm, { at: now, done });
    return done;
  }

  /** Up to now: of a vCPU that runs, the time since it was last told is not in `done` yet. */
  #doneOf({ vcpu, meter }: FairVcpu, now: number): number {
    return this.#progress.of(vcpu).done + meter.elapsed(now);
  }

  #recheck(lp: number): void {
    if (!this.#rechecking[lp]) {
      this.#rechecking[lp] = true;
      this.#host.at(this.#host.now() + Math.ceil(this.#threshold / 4), () => {
        this.#rechecking[lp] = false;
        this.#host.kick(lp);
      });
    }
  }
}

/** What VMware ESX does since version 3. Honours weights, ignores caps. */
export const relaxedCoScheduling = definePolicy({
  name: "relaxed-co",
  title: "Relaxed co-scheduling on EEVDF",
  source: "VMware, The CPU scheduler in VMware vSphere; the threshold is an estimate",
  parameters: {
    ...fairParameters,
    ...directedYieldParameters,
    threshold: {
      default: 3_000_000,
      unit: "ns",
      minimum: 200_000,
      about: "lead over the slowest sibling at which a vCPU stops",
    },
  },
  create: (host, { threshold, slice, runToParity, yielding, balanceInterval, ...help }) => {
    const fair = { slice: slice * linuxScale(host), runToParity, yielding, balanceInterval };
    return new HelpingScheduler(new RelaxedCoScheduling(host, fair, threshold), help);
  },
});
