import { LpBoard } from "./lp-board.ts";
import { RunMeter } from "./run-meter.ts";
import type { Decision, Scheduler, SchedulerHost, VcpuHandle } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";
import { VcpuStates } from "./vcpu-states.ts";

interface RtdsParameters {
  readonly period: number;
  readonly budget: number;
  readonly extraTime: boolean;
}

class RtdsVcpu {
  readonly vcpu: VcpuHandle;
  lp: number;
  state: "blocked" | "waiting" | "running" = "blocked";
  /** End of its period: nanoseconds of the host's clock. */
  deadline = 0;
  /** Left of this period's, or of this level's. */
  budget = 0;
  /** How often it has used up its budget in this period; 0 is first. */
  level = 0;
  readonly meter = new RunMeter();

  constructor(vcpu: VcpuHandle) {
    this.vcpu = vcpu;
    this.lp = vcpu.affinity.indexOf(true);
  }
}

/**
 * RTDS: global earliest deadline first. Each vCPU is a deferrable server: it has a budget in every period, burns it while it
 * runs and keeps it while it is blocked; its deadline is the end of the period. With extra time, a vCPU without budget gets
 * another one at a lower level, which all with budget at a higher level come before; without, it waits for its next period.
 */
class Rtds implements Scheduler {
  readonly #host: SchedulerHost;
  readonly #parameters: RtdsParameters;
  readonly #board: LpBoard;
  readonly #states = new VcpuStates<RtdsVcpu>();
  readonly #all: RtdsVcpu[] = [];
  /** Those that wait, best first; those without budget, who cannot be picked, among them. */
  readonly #queue: RtdsVcpu[] = [];
  /** Time of the timer that is set. */
  #replenishing = Number.POSITIVE_INFINITY;

  constructor(host: SchedulerHost, parameters: RtdsParameters) {
    this.#host = host;
    this.#parameters = parameters;
    this.#board = new LpBoard(host);
  }

  add(vcpu: VcpuHandle): void {
    const state = new RtdsVcpu(vcpu);
    this.#states.add(vcpu, state);
    this.#all.push(state);
  }

  wake(vcpu: VcpuHandle): void {
    const state = this.#states.of(vcpu);
    state.state = "waiting";
    if (this.#host.now() >= state.deadline) {
      this.#replenish(state);
    }
    this.#enqueue(state);
    this.#setTimer(state.deadline);
    this.#callFor(state);
  }

  block(vcpu: VcpuHandle): void {
    const state = this.#states.of(vcpu);
    state.state = "blocked";
    state.meter.stop();
    this.#board.leave(state.lp);
  }

  /** A server that yields still has its deadline: it goes on if that is the earliest. */
  yielded(): void {}

  pauseLoop(): undefined {}

  ran(vcpu: VcpuHandle, _lp: number, ns: number): void {
    const state = this.#states.of(vcpu);
    this.#burn(state, state.meter.tell(this.#host.now(), ns));
  }

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    this.#board.look(lp);
    const state = current === undefined ? undefined : this.#states.of(current);
    let next = this.#queue.find(({ vcpu, budget }) => budget > 0 && vcpu.affinity[lp]);
    if (state !== undefined && state.budget > 0 && !(next && comesBefore(next, state))) {
      next = state;
    }
    this.#board.decide(lp, next?.vcpu);
    if (next !== undefined && next !== state) {
      this.#queue.splice(this.#queue.indexOf(next), 1);
    }
    if (state !== undefined && next !== state) {
      state.meter.stop();
      state.state = "waiting";
      this.#enqueue(state);
      this.#callFor(state);
    }
    if (next === undefined) {
      return { vcpu: undefined, slice: Number.POSITIVE_INFINITY };
    }
    next.state = "running";
    next.lp = lp;
    next.meter.start(this.#host.now());
    return { vcpu: next.vcpu, slice: next.budget };
  }

  gauges(vcpu: VcpuHandle): Readonly<Record<string, number>> {
    const { budget, level, deadline } = this.#states.of(vcpu);
    return { budget, level, deadline };
  }

  #enqueue(state: RtdsVcpu): void {
    const at = this.#queue.findIndex((other) => comesBefore(state, other));
    this.#queue.splice(at < 0 ? this.#queue.length : at, 0, state);
  }

  #burn(state: RtdsVcpu, ns: number): void {
    state.budget -= ns;
    if (state.budget > 0) {
      return;
    }
    state.budget = 0;
    if (this.#parameters.extraTime) {
      state.level++;
      state.budget = this.#parameters.budget;
    }
  }

  /** A new period; periods that nobody asked for are skipped. */
  #replenish(state: RtdsVcpu): void {
    const { period, budget } = this.#parameters;
    const periods = Math.floor((this.#host.now() - state.deadline) / period) + 1;
    state.deadline += periods * period;
    state.budget = budget;
    state.level = 0;
  }

  #setTimer(time: number): void {
    if (time < this.#replenishing) {
      this.#replenishing = time;
      this.#host.at(time, () => {
        // A timer that an earlier one has replaced finds nothing due.
        if (this.#host.now() >= this.#replenishing) {
          this.#replenishAll();
        }
      });
    }
  }

  #replenishAll(): void {
    const now = this.#host.now();
    const due = this.#all.filter(({ state, deadline }) => state !== "blocked" && deadline <= now);
    for (const state of due) {
      if (state.state === "running") {
        this.#burn(state, state.meter.glance(now));
      }
      this.#replenish(state);
    }
    this.#queue.sort((a, b) => a.level - b.level || a.deadline - b.deadline);
    for (const state of due) {
      if (state.state === "waiting") {
        this.#callFor(state);
      } else {
        this.#challenge(state);
      }
    }
    this.#replenishing = Number.POSITIVE_INFINITY;
    let next = Number.POSITIVE_INFINITY;
    for (const { state, deadline } of this.#all) {
      if (state !== "blocked") {
        next = Math.min(next, deadline);
      }
    }
    if (next < Number.POSITIVE_INFINITY) {
      this.#setTimer(next);
    }
  }

  /** One that runs has got a later deadline: the first that waits may have become the better one. */
  #challenge(running: RtdsVcpu): void {
    const first = this.#queue.find(({ vcpu, budget }) => budget > 0 && vcpu.affinity[running.lp]);
    if (first !== undefined && comesBefore(first, running)) {
      this.#board.kick(running.lp);
    }
  }

  /** Kicks an idle LP for one that waits, else the one that runs the least urgent vCPU. */
  #callFor(state: RtdsVcpu): void {
    if (state.budget <= 0) {
      return;
    }
    const free = this.#board.freeFor(state.vcpu, state.lp);
    if (free !== undefined) {
      this.#board.kick(free);
      return;
    }
    let last: RtdsVcpu | undefined;
    for (let lp = 0; lp < this.#board.count; lp++) {
      const vcpu = this.#board.running(lp);
      if (vcpu === undefined || !state.vcpu.affinity[lp] || this.#board.isCalled(lp)) {
        continue;
      }
      const running = this.#states.of(vcpu);
      if (last === undefined || comesBefore(last, running)) {
        last = running;
      }
    }
    if (last !== undefined && comesBefore(state, last)) {
      this.#board.kick(last.lp);
    }
  }
}

function comesBefore(a: RtdsVcpu, b: RtdsVcpu): boolean {
  return a.level === b.level ? a.deadline < b.deadline : a.level < b.level;
}

/** Xen's real-time scheduler. Ignores weights and caps: a share is budget over period. */
export const rtds = definePolicy({
  name: "rtds",
  title: "Xen RTDS",
  source: "Xen: xen/common/sched/rt.c",
  parameters: {
    period: { default: 10_000_000, unit: "ns", minimum: 10_000, about: "of every vCPU" },
    budget: { default: 4_000_000, unit: "ns", minimum: 10_000, about: "in each period" },
    extraTime: { default: true, about: "run without budget where nobody has any" },
  },
  create: (host, parameters) => new Rtds(host, parameters),
});
