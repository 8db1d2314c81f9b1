import { Prng } from "../../../src/base/prng.ts";
import {
  type ParameterValues,
  resolveParameters,
} from "../../../src/hypervisor/schedulers/parameters.ts";
import type {
  Policy,
  Scheduler,
  SchedulerHost,
  VcpuHandle,
  VmHandle,
} from "../../../src/hypervisor/schedulers/scheduler.ts";
import { makeTopology, type Topology } from "../../../src/hypervisor/schedulers/topology.ts";

/**
 * A machine without a processor: LPs run vCPUs whose behaviour is a list of steps, time is counted by events, and every decision
 * of the policy is checked against what the interface promises.
 */

/** Run for `run` ns, then do something. */
export type Step =
  | { readonly run: number; readonly end: "block"; readonly sleep: number }
  /** Block until another vCPU's `wake` step names this one. */
  | { readonly run: number; readonly end: "wait" }
  | { readonly run: number; readonly end: "wake"; readonly index: number }
  | { readonly run: number; readonly end: "yield"; readonly to?: number }
  | { readonly run: number; readonly end: "pause" };

export type Behaviour = (random: Prng, turn: number) => Step;

export interface VcpuSetup {
  readonly behaviour: Behaviour;
  readonly lps?: readonly number[];
  /** When it first wakes. */
  readonly start?: number;
}

export interface VmSetup {
  readonly weight?: number;
  readonly cap?: number;
  readonly vcpus: readonly VcpuSetup[];
}

export interface BenchSetup {
  readonly lps?: number;
  readonly topology?: Topology;
  readonly vms: readonly VmSetup[];
  readonly parameters?: ParameterValues;
  readonly seed?: number;
  /** Time of a reschedule IPI, and from a VM exit to the decision. */
  readonly kickLatency?: number;
  readonly overhead?: number;
}

export const ms = 1_000_000;
export const us = 1_000;

export const hog: Behaviour = () => ({ run: 1e15, end: "pause" });
export const bursts =
  (run: number, sleep: number): Behaviour =>
  () => ({ run, end: "block", sleep });
/** Spins: a PAUSE-loop exit every `every` ns. */
export const spinner =
  (every: number): Behaviour =>
  () => ({ run: every, end: "pause" });

export type VcpuState = "blocked" | "ready" | "running";

export class BenchVcpu implements VcpuHandle {
  readonly id: number;
  readonly vm: VmHandle;
  readonly index: number;
  readonly affinity: readonly boolean[];
  readonly behaviour: Behaviour;
  readonly random: Prng;
  readonly start: number;
  state: VcpuState = "blocked";
  lp = -1;
  step: Step;
  left: number;
  turns = 1;
  switches = 0;
  migrations = 0;
  /** Time in each state, up to `changedAt`. */
  readonly spent = { blocked: 0, ready: 0, running: 0 };
  changedAt = 0;
  wokenAt = Number.NaN;
  /** From wake to run. */
  readonly latencies: number[] = [];

  constructor(
    id: number,
    vm: VmHandle,
    index: number,
    affinity: readonly boolean[],
    { behaviour, start = 0 }: VcpuSetup,
    seed: number,
  ) {
    this.id = id;
    this.vm = vm;
    this.index = index;
    this.affinity = affinity;
    this.behaviour = behaviour;
    this.start = start;
    this.random = new Prng(seed + id);
    this.step = behaviour(this.random, 0);
    this.left = this.step.run;
  }

  /** Share of the time since it started. */
  get share(): number {
    const { blocked, ready, running } = this.spent;
    return running / (blocked + ready + running);
  }
}

interface BenchLp {
  vcpu: BenchVcpu | undefined;
  /** Between a VM exit and the decision. */
  deciding: boolean;
  since: number;
  version: number;
}

interface Happening {
  readonly time: number;
  readonly order: number;
  readonly action: () => void;
}

export class BrokenPromise extends Error {}

export class Bench implements SchedulerHost {
  readonly topology: Topology;
  readonly random: Prng;
  readonly vcpus: BenchVcpu[] = [];
  readonly vms: VmHandle[] = [];
  readonly lps: BenchLp[];
  readonly scheduler: Scheduler;
  kicks = 0;
  picks = 0;
  /** How long an LP was idle while a vCPU that may run there was ready. */
  wasted = 0;
  boosted: (VcpuHandle | undefined)[] = [];
  /** Called with every stretch of time in which nothing changes. */
  watch: ((from: number, to: number) => void) | undefined;
  readonly #setup: BenchSetup;
  readonly #heap: Happening[] = [];
  #order = 0;
  #time = 0;

  constructor(policy: Policy, setup: BenchSetup) {
    const { lps = 1, seed = 1 } = setup;
    this.#setup = setup;
    this.topology =
      setup.topology ?? makeTopology({ sockets: 1, coresPerSocket: lps, threadsPerCore: 1 });
    this.random = new Prng(seed);
    this.lps = this.topology.lps.map(() => ({
      vcpu: undefined,
      deciding: false,
      since: 0,
      version: 0,
    }));
    for (const [id, vm] of setup.vms.entries()) {
      this.#addVm(id, vm, seed);
    }
    const parameters = resolveParameters(policy.parameters ?? {}, setup.parameters ?? {});
    this.scheduler = policy.create(this, parameters);
    for (const vcpu of this.vcpus) {
      this.scheduler.add(vcpu);
      this.#schedule(vcpu.start, () => this.#wake(vcpu, "start"));
    }
  }

  #addVm(id: number, { weight = 256, cap = 0, vcpus }: VmSetup, seed: number): void {
    const members: BenchVcpu[] = [];
    const vm: VmHandle = { id, name: `vm${id}`, weight, cap, vcpus: members };
    for (const [index, vcpu] of vcpus.entries()) {
      const affinity = this.lps.map((_, lp) => vcpu.lps?.includes(lp) ?? true);
      members.push(new BenchVcpu(this.vcpus.length, vm, index, affinity, vcpu, seed));
      this.vcpus.push(...members.slice(-1));
    }
    this.vms.push(vm);
  }

  vcpu(vm: number, index: number): BenchVcpu {
    const found = this.vcpus.find((vcpu) => vcpu.vm.id === vm && vcpu.index === index);
    if (found === undefined) throw new RangeError(`no vCPU ${index} of VM ${vm}`);
    return found;
  }

  // ——— SchedulerHost

  now(): number {
    return this.#time;
  }

  kick(lp: number): void {
    if (this.lps[lp] === undefined) throw new BrokenPromise(`kick of LP ${lp}`);
    this.kicks++;
    this.#schedule(this.#time + (this.#setup.kickLatency ?? 0), () => this.#leave(lp));
  }

  running(lp: number): VcpuHandle | undefined {
    return this.lps[lp]?.vcpu;
  }

  at(time: number, action: () => void): void {
    if (!(time >= this.#time) || !Number.isInteger(time))
      throw new BrokenPromise(`a timer at ${time}, now ${this.#time}`);
    this.#schedule(time, action);
  }

  // ——— events

  run(until: number): this {
    let atOnce = 0;
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.time > until) break;
      this.#pop();
      atOnce = next.time === this.#time ? atOnce + 1 : 0;
      if (atOnce > 10_000) throw new BrokenPromise(`no time passes after ${this.#time}`);
      this.#advance(next.time);
      next.action();
    }
    this.#advance(until);
    for (const vcpu of this.vcpus) this.#change(vcpu, vcpu.state);
    return this;
  }

  #advance(to: number): void {
    if (to === this.#time) return;
    const idle = this.lps.flatMap((lp, n) => (lp.vcpu === undefined && !lp.deciding ? [n] : []));
    if (idle.length > 0) {
      const waiting = this.vcpus.some(
        (vcpu) => vcpu.state === "ready" && idle.some((lp) => vcpu.affinity[lp]),
      );
      this.wasted += waiting ? to - this.#time : 0;
    }
    this.watch?.(this.#time, to);
    this.#time = to;
  }

  #change(vcpu: BenchVcpu, state: VcpuState): void {
    vcpu.spent[vcpu.state] += this.#time - vcpu.changedAt;
    vcpu.changedAt = this.#time;
    vcpu.state = state;
  }

  #wake(vcpu: BenchVcpu, reason: "start" | "timer" | "kick"): void {
    if (vcpu.state !== "blocked") return;
    this.#change(vcpu, "ready");
    vcpu.wokenAt = this.#time;
    this.scheduler.wake(vcpu, reason);
  }

  /** A VM exit: the slice is over, the step is done, or a kick has come. */
  #leave(n: number): void {
    const lp = this.#lp(n);
    if (lp.deciding) return;
    lp.deciding = true;
    lp.version++;
    const { vcpu } = lp;
    if (vcpu !== undefined) {
      const ns = this.#time - lp.since;
      vcpu.left -= ns;
      this.scheduler.ran(vcpu, n, ns);
      if (vcpu.left <= 0) this.#finishStep(vcpu, lp);
    }
    const { overhead = 0 } = this.#setup;
    if (overhead === 0) this.#decide(n);
    else this.#schedule(this.#time + overhead, () => this.#decide(n));
  }

  #finishStep(vcpu: BenchVcpu, lp: BenchLp): void {
    const { step } = vcpu;
    vcpu.step = vcpu.behaviour(vcpu.random, vcpu.turns++);
    vcpu.left = vcpu.step.run;
    switch (step.end) {
      case "block":
      case "wait":
        this.#change(vcpu, "blocked");
        lp.vcpu = undefined;
        this.scheduler.block(vcpu);
        if (step.end === "block")
          this.#schedule(this.#time + step.sleep, () => this.#wake(vcpu, "timer"));
        break;
      case "wake": {
        const sibling = this.vcpu(vcpu.vm.id, step.index);
        this.#schedule(this.#time, () => this.#wake(sibling, "kick"));
        break;
      }
      case "yield":
        this.scheduler.yielded(
          vcpu,
          step.to === undefined ? undefined : this.vcpu(vcpu.vm.id, step.to),
        );
        break;
      case "pause":
        this.boosted.push(this.scheduler.pauseLoop(vcpu));
    }
  }

  #decide(n: number): void {
    const lp = this.#lp(n);
    const current = lp.vcpu;
    this.picks++;
    const { vcpu: picked, slice } = this.scheduler.pick(n, current);
    const next = picked === undefined ? undefined : this.#checked(picked, n, current);
    if (!(slice > 0) || (Number.isFinite(slice) && !Number.isInteger(slice)))
      throw new BrokenPromise(`LP ${n}: a slice of ${slice}`);
    if (current !== undefined && next !== current) {
      this.#change(current, "ready");
      current.switches++;
    }
    lp.vcpu = next;
    lp.deciding = false;
    lp.since = this.#time;
    lp.version++;
    if (next !== undefined) this.#enter(next, n, current);
    const { version } = lp;
    const end =
      next === undefined ? Number.POSITIVE_INFINITY : this.#time + Math.min(slice, next.left);
    if (Number.isFinite(end))
      this.#schedule(end, () => {
        if (lp.version === version) this.#leave(n);
      });
  }

  #enter(vcpu: BenchVcpu, lp: number, current: BenchVcpu | undefined): void {
    if (vcpu !== current) {
      this.#change(vcpu, "running");
      if (vcpu.lp >= 0 && vcpu.lp !== lp) vcpu.migrations++;
      vcpu.lp = lp;
    }
    if (!Number.isNaN(vcpu.wokenAt)) vcpu.latencies.push(this.#time - vcpu.wokenAt);
    vcpu.wokenAt = Number.NaN;
  }

  #checked(picked: VcpuHandle, lp: number, current: BenchVcpu | undefined): BenchVcpu {
    const vcpu = this.vcpus.find((known) => known === picked);
    if (vcpu === undefined) throw new BrokenPromise(`LP ${lp}: an unknown vCPU`);
    const name = `LP ${lp}: vCPU ${vcpu.index} of ${vcpu.vm.name}`;
    if (!vcpu.affinity[lp]) throw new BrokenPromise(`${name} may not run here`);
    if (vcpu !== current && vcpu.state !== "ready")
      throw new BrokenPromise(`${name} is ${vcpu.state} at ${this.#time}`);
    return vcpu;
  }

  #lp(n: number): BenchLp {
    const lp = this.lps[n];
    if (lp === undefined) throw new RangeError(`no LP ${n}`);
    return lp;
  }

  // ——— a heap of happenings, earliest first

  #schedule(time: number, action: () => void): void {
    const heap = this.#heap;
    heap.push({ time, order: this.#order++, action });
    let at = heap.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#swapIfLater(parent, at)) break;
      at = parent;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    heap[0] = last;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      const right = left + 1;
      const child = right < heap.length && this.#isLater(left, right) ? right : left;
      if (child >= heap.length || !this.#swapIfLater(at, child)) return;
      at = child;
    }
  }

  #isLater(a: number, b: number): boolean {
    const x = this.#heap[a];
    const y = this.#heap[b];
    if (x === undefined || y === undefined) return false;
    return x.time === y.time ? x.order > y.order : x.time > y.time;
  }

  #swapIfLater(a: number, b: number): boolean {
    const x = this.#heap[a];
    const y = this.#heap[b];
    if (x === undefined || y === undefined || !this.#isLater(a, b)) return false;
    this.#heap[a] = y;
    this.#heap[b] = x;
    return true;
  }
}
