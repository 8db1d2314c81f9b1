import {
  CandidateScan,
  type DirectedYieldRule,
  directedYieldRules,
  PauseWindows,
} from "./directed-yield.ts";
import { FairScheduler } from "./fair-scheduler.ts";
import type { Decision, Scheduler, SchedulerHost, VcpuHandle } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";

interface EevdfParameters {
  readonly slice: number;
  readonly runToParity: boolean;
  readonly balanceInterval: number;
  readonly directedYield: DirectedYieldRule;
  readonly pleGap: number;
  readonly pleWindow: number;
  readonly pleWindowGrow: number;
  readonly pleWindowMax: number;
}

/**
 * Linux and KVM: fair sharing by earliest eligible virtual deadline, and PAUSE-loop exits that hand the LP to a sibling which
 * may hold the lock. The window of PAUSE-loop exiting is a hint of each decision.
 */
class Eevdf implements Scheduler {
  readonly #fair: FairScheduler;
  readonly #scan: CandidateScan;
  readonly #windows: PauseWindows;

  constructor(host: SchedulerHost, parameters: EevdfParameters) {
    this.#fair = new FairScheduler(host, {
      slice: parameters.slice * linuxScale(host),
      runToParity: parameters.runToParity,
      balanceInterval: parameters.balanceInterval,
    });
    this.#scan = new CandidateScan(parameters.directedYield);
    const { pleGap, pleWindow, pleWindowGrow, pleWindowMax } = parameters;
    this.#windows = new PauseWindows(pleGap, pleWindow, pleWindowGrow, pleWindowMax);
  }

  add(vcpu: VcpuHandle): void {
    this.#fair.add(vcpu);
    this.#scan.add(vcpu);
  }

  wake(vcpu: VcpuHandle): void {
    this.#scan.woken(vcpu);
    this.#fair.wake(vcpu);
  }

  block(vcpu: VcpuHandle): void {
    this.#fair.block(vcpu);
  }

  yielded(vcpu: VcpuHandle, to?: VcpuHandle): void {
    if (to === undefined || !this.#fair.yieldTo(vcpu, to)) {
      this.#fair.yielded(vcpu);
    }
  }

  pauseLoop(vcpu: VcpuHandle): VcpuHandle | undefined {
    this.#windows.grow(vcpu);
    return this.#scan.help(vcpu, (to) => this.#fair.yieldTo(vcpu, to));
  }

  ran(vcpu: VcpuHandle, lp: number, ns: number): void {
    this.#fair.ran(vcpu, lp, ns);
  }

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    const decision = this.#fair.pick(lp, current);
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
    return this.#fair.gauges(vcpu);
  }
}

/** Linux's times are for one processor and grow with their number, up to eight. */
export function linuxScale({ topology }: SchedulerHost): number {
  return 1 + Math.floor(Math.log2(Math.min(8, topology.lps.length)));
}

/** What the policies built on Linux's share. */
export const fairParameters = {
  slice: {
    default: 700_000,
    unit: "ns",
    minimum: 100_000,
    about: "base_slice_ns, times 1 + log2 of the LPs, at most 8",
  },
  runToParity: { default: true, about: "RUN_TO_PARITY: who runs may finish its slice" },
  balanceInterval: {
    default: 64_000_000,
    unit: "ns",
    minimum: 1_000_000,
    about: "a busy LP balances so often; 16 ms per processor of the domain, of four",
  },
} as const;

/** Linux with KVM. Honours weights (of threads, no groups), ignores caps. */
export const eevdf = definePolicy({
  name: "eevdf",
  title: "Linux EEVDF with KVM's directed yield",
  source: "Linux: kernel/sched/fair.c, kernel/sched/features.h, virt/kvm/kvm_main.c, vmx.c",
  parameters: {
    ...fairParameters,
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
  },
  create: (host, parameters) => new Eevdf(host, parameters),
});
