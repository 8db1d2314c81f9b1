import { present } from "../../base/assert.ts";
import { RunMeter } from "./run-meter.ts";
import type { VcpuHandle } from "./scheduler.ts";
import type { Topology } from "./topology.ts";

export const queueScopes = ["lp", "core", "socket", "all"] as const;
export type QueueScope = (typeof queueScopes)[number];

/** A mean that forgets: over about the last second. */
export class DecayingLoad {
  value = 0;
  #now = 0;
  #since = 0;
  static readonly #window = 2 ** 30;

  /** The load has been `#now` until this time and is another from then on. */
  change(time: number, by: number): void {
    const kept = Math.exp((this.#since - time) / DecayingLoad.#window);
    this.value = this.#now + (this.value - this.#now) * kept;
    this.#since = time;
    this.#now += by;
  }

  /** The mean at a time. */
  at(time: number): number {
    this.change(time, 0);
    return this.value;
  }
}

/** A vCPU as Credit2 knows it. */
export class Credit2Vcpu {
  readonly vcpu: VcpuHandle;
  queue: Credit2Queue;
  /** Where it runs, or was last. */
  lp: number;
  state: "blocked" | "waiting" | "running" | "parked" = "blocked";
  /** Nanoseconds at the weight of the heaviest. */
  credit: number;
  /** Nanoseconds it may run of its VM's cap. */
  budget: number;
  yielding = false;
  /** Where it shall go when it stops running. */
  moveTo: Credit2Queue | undefined;
  /** The LP that was called for it. */
  calledLp = -1;
  readonly load = new DecayingLoad();
  readonly meter = new RunMeter();

  constructor(vcpu: VcpuHandle, queue: Credit2Queue, lp: number, credit: number) {
    this.vcpu = vcpu;
    this.queue = queue;
    this.lp = lp;
    this.credit = credit;
    this.budget = vcpu.vm.cap > 0 ? 0 : Number.POSITIVE_INFINITY;
  }
}

/** A queue that some LPs share, most credit first. */
export class Credit2Queue {
  readonly lps: readonly number[];
  /** All that belong to it, whatever their state. */
  readonly members = new Set<Credit2Vcpu>();
  readonly waiting: Credit2Vcpu[] = [];
  /** Of the heaviest member: the one that burns credit as time passes. */
  maxWeight = 1;
  readonly load = new DecayingLoad();

  constructor(lps: readonly number[]) {
    this.lps = lps;
  }

  adopt(state: Credit2Vcpu): void {
    state.queue = this;
    this.members.add(state);
    this.maxWeight = Math.max(this.maxWeight, state.vcpu.vm.weight);
  }

  release(state: Credit2Vcpu): void {
    this.members.delete(state);
    this.maxWeight = 1;
    for (const { vcpu } of this.members) {
      this.maxWeight = Math.max(this.maxWeight, vcpu.vm.weight);
    }
  }

  insert(state: Credit2Vcpu): void {
    const at = this.waiting.findIndex(({ credit }) => credit < state.credit);
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, state);
    state.state = "waiting";
  }

  remove(state: Credit2Vcpu): void {
    this.waiting.splice(this.waiting.indexOf(state), 1);
  }

  /** An LP of the queue where a vCPU may run, the given one if possible. */
  lpFor(vcpu: VcpuHandle, preferred = -1): number | undefined {
    if (this.lps.includes(preferred) && vcpu.affinity[preferred]) {
      return preferred;
    }
    return this.lps.find((lp) => vcpu.affinity[lp]);
  }
}

/** One queue for each core, socket or machine, but none with more LPs than `lpsMax`. */
export function makeQueues(topology: Topology, scope: QueueScope, lpsMax: number): Credit2Queue[] {
  const groups = new Map<number, number[]>();
  for (const [lp, { core, socket }] of topology.lps.entries()) {
    const key = { lp, core, socket, all: 0 }[scope];
    const group = groups.get(key) ?? [];
    group.push(lp);
    groups.set(key, group);
  }
  return [...groups.values()].flatMap((lps) => {
    const parts = Math.ceil(lps.length / lpsMax);
    const size = Math.ceil(lps.length / parts);
    return Array.from(
      { length: parts },
      (_, part) => new Credit2Queue(lps.slice(part * size, (part + 1) * size)),
    );
  });
}

/** The vCPUs to exchange so that two loads come closest: one to push, one to pull, or either alone. */
export interface Exchange {
  readonly push: Credit2Vcpu | undefined;
  readonly pull: Credit2Vcpu | undefined;
}

export function bestExchange(from: Credit2Queue, to: Credit2Queue, now: number): Exchange {
  const pushes = [undefined, ...movable(from, to)];
  const pulls = [undefined, ...movable(to, from)];
  const difference = from.load.at(now) - to.load.at(now);
  let best: Exchange = { push: undefined, pull: undefined };
  let least = Math.abs(difference);
  for (const push of pushes) {
    for (const pull of pulls) {
      const moved = (push?.load.at(now) ?? 0) - (pull?.load.at(now) ?? 0);
      const left = Math.abs(difference - 2 * moved);
      if (left < least) {
        least = left;
        best = { push, pull };
      }
    }
  }
  return best;
}

function movable(from: Credit2Queue, to: Credit2Queue): Credit2Vcpu[] {
  return [...from.members].filter(
    ({ vcpu, moveTo }) => moveTo === undefined && to.lpFor(vcpu) !== undefined,
  );
}

/** The queue whose load differs most. */
export function mostDifferent(
  queue: Credit2Queue,
  queues: readonly Credit2Queue[],
  now: number,
): Credit2Queue {
  const difference = (other: Credit2Queue): number =>
    Math.abs(other.load.at(now) - queue.load.at(now));
  return present(
    queues.reduce((a, b) => (difference(b) > difference(a) ? b : a)),
    "there is a queue",
  );
}
