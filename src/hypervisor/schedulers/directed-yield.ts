import type { Decision, Scheduler, VcpuHandle, VmHandle, WakeReason } from "./scheduler.ts";
import { VcpuStates } from "./vcpu-states.ts";

/**
 * Whom a vCPU that spins may help: nobody, siblings that were preempted, or also those that an interrupt has woken and that
 * have not run since.
 */
export const directedYieldRules = ["none", "preempted", "preempted-or-ipi-receiver"] as const;
export type DirectedYieldRule = (typeof directedYieldRules)[number];

interface Candidate {
  /** Why it waits for an LP, if it does. */
  waits: "no" | "preempted" | "woken";
  /** It was descheduled by its own PAUSE loop: it is no likely holder of a lock. */
  spinning: boolean;
  /** One that spins is taken every other time. */
  turn: boolean;
}

/**
 * The candidate scan of KVM: siblings in the order of their numbers, beginning after the one helped last, those skipped that do
 * not wait or that spin themselves, at most three vain tries.
 */
export class CandidateScan {
  readonly #rule: DirectedYieldRule;
  readonly #candidates = new VcpuStates<Candidate>();
  readonly #lastHelped = new Map<VmHandle, number>();
  static readonly #tries = 3;

  constructor(rule: DirectedYieldRule) {
    this.#rule = rule;
  }

  add(vcpu: VcpuHandle): void {
    this.#candidates.add(vcpu, { waits: "no", spinning: false, turn: false });
  }

  /** A vCPU's part in the scan, told when it changes. */
  woken(vcpu: VcpuHandle): void {
    this.#candidates.of(vcpu).waits = "woken";
  }

  preempted(vcpu: VcpuHandle): void {
    this.#candidates.of(vcpu).waits = "preempted";
  }

  scheduled(vcpu: VcpuHandle): void {
    const candidate = this.#candidates.of(vcpu);
    candidate.waits = "no";
    candidate.spinning = false;
    candidate.turn = false;
  }

  /**
   * @param yieldTo tries to let a sibling run; false: in vain
   * @returns the sibling that comes next
   */
  help(vcpu: VcpuHandle, yieldTo: (to: VcpuHandle) => boolean): VcpuHandle | undefined {
    if (this.#rule === "none") {
      return undefined;
    }
    const { vm } = vcpu;
    const first = (this.#lastHelped.get(vm) ?? -1) + 1;
    let tries = CandidateScan.#tries;
    for (let step = 0; step < vm.vcpus.length && tries > 0; step++) {
      const to = vm.vcpus[(first + step) % vm.vcpus.length];
      if (to === undefined || to === vcpu || !this.#isCandidate(to)) {
        continue;
      }
      if (yieldTo(to)) {
        this.#lastHelped.set(vm, to.index);
        this.#candidates.of(vcpu).spinning = true;
        return to;
      }
      tries--;
    }
    return undefined;
  }

  #isCandidate(vcpu: VcpuHandle): boolean {
    const candidate = this.#candidates.find(vcpu);
    if (candidate === undefined || candidate.waits === "no") {
      return false;
    }
    if (candidate.waits === "woken" && this.#rule === "preempted") {
      return false;
    }
    if (!candidate.spinning) {
      return true;
    }
    candidate.turn = !candidate.turn;
    return !candidate.turn;
  }
}

/** KVM's window of each vCPU: grows with every exit, and is as it was when the vCPU is scheduled again. */
export class PauseWindows {
  readonly #gap: number;
  readonly #base: number;
  readonly #growth: number;
  readonly #largest: number;
  readonly #windows = new Map<number, number>();

  /** Gap, base and largest window in cycles. @param growth factor, or 0 for a window that stays */
  constructor(gap: number, base: number, growth: number, largest: number) {
    this.#gap = gap;
    this.#base = base;
    this.#growth = growth;
    this.#largest = largest;
  }

  of(vcpu: VcpuHandle): { gap: number; window: number } {
    return { gap: this.#gap, window: this.#windows.get(vcpu.id) ?? this.#base };
  }

  grow(vcpu: VcpuHandle): void {
    if (this.#growth > 1) {
      const { window } = this.of(vcpu);
      this.#windows.set(vcpu.id, Math.min(this.#largest, window * this.#growth));
    }
  }

  reset(vcpu: VcpuHandle): void {
    this.#windows.delete(vcpu.id);
  }
}

/** What a policy with directed yield is told to do. */
export interface DirectedYieldParameters {
  readonly directedYield: DirectedYieldRule;
  readonly pleGap: number;
  readonly pleWindow: number;
  readonly pleWindowGrow: number;
  readonly pleWindowMax: number;
}

/** With the defaults of Linux's kvm-intel module. */
export const directedYieldParameters = {
  directedYield: {
    default: "preempted-or-ipi-receiver",
    choices: directedYieldRules,
    about: "whom a PAUSE loop helps",
  },
  pleGap: { default: 128, unit: "cycles", about: "ple_gap" },
  pleWindow: { default: 4096, unit: "cycles", about: "ple_window; 0: no PAUSE-loop exits" },
  pleWindowGrow: { default: 2, about: "ple_window_grow: factor at each exit; 0: none" },
  pleWindowMax: {
    default: 2 ** 32 - 1,
    unit: "cycles",
    maximum: 2 ** 32 - 1,
    about: "ple_window_max",
  },
} as const;

/** A scheduler that can run one vCPU for another. */
export interface YieldingScheduler extends Scheduler {
  /**
   * A running vCPU gives way and one that waits comes next.
   * @returns false if that one does not wait for an LP; then nothing has changed
   */
  yieldTo(vcpu: VcpuHandle, to: VcpuHandle): boolean;
}

/** KVM around a scheduler: its answer to PAUSE loops, and the window of PAUSE-loop exiting as a hint of each decision. */
export class HelpingScheduler implements Scheduler {
  readonly #inner: YieldingScheduler;
  readonly #scan: CandidateScan;
  readonly #windows: PauseWindows;

  constructor(inner: YieldingScheduler, parameters: DirectedYieldParameters) {
    this.#inner = inner;
    this.#scan = new CandidateScan(parameters.directedYield);
    const { pleGap, pleWindow, pleWindowGrow, pleWindowMax } = parameters;
    this.#windows = new PauseWindows(pleGap, pleWindow, pleWindowGrow, pleWindowMax);
  }

  add(vcpu: VcpuHandle): void {
    this.#inner.add(vcpu);
    this.#scan.add(vcpu);
  }

  wake(vcpu: VcpuHandle, reason: WakeReason): void {
    this.#scan.woken(vcpu);
    this.#inner.wake(vcpu, reason);
  }

  block(vcpu: VcpuHandle): void {
    this.#inner.block(vcpu);
  }

  yielded(vcpu: VcpuHandle, to?: VcpuHandle): void {
    if (to === undefined || !this.#inner.yieldTo(vcpu, to)) {
      this.#inner.yielded(vcpu);
    }
  }

  pauseLoop(vcpu: VcpuHandle): VcpuHandle | undefined {
    this.#windows.grow(vcpu);
    return this.#scan.help(vcpu, (to) => this.#inner.yieldTo(vcpu, to));
  }

  ran(vcpu: VcpuHandle, lp: number, ns: number): void {
    this.#inner.ran(vcpu, lp, ns);
  }

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    const decision = this.#inner.pick(lp, current);
    const { vcpu } = decision;
    if (current !== undefined && vcpu !== current) {
      this.#scan.preempted(current);
    }
    if (vcpu === undefined) {
      return decision;
    }
    this.#scan.scheduled(vcpu);
    if (vcpu !== current) {
      this.#windows.reset(vcpu);
    }
    return { ...decision, pauseLoopExiting: this.#windows.of(vcpu) };
  }

  gauges(vcpu: VcpuHandle): Readonly<Record<string, number>> {
    return this.#inner.gauges?.(vcpu) ?? {};
  }
}
