import { LpBoard, leastLp } from "./lp-board.ts";
import type { Decision, Scheduler, SchedulerHost, VcpuHandle } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";

/**
 * Round robin: a queue for each LP, everybody gets the same slice in turn. A vCPU that wakes goes to a free LP, else to the
 * shortest queue; an LP whose queue is empty takes from the longest. Ignores weights and caps.
 */
class RoundRobin implements Scheduler {
  readonly #board: LpBoard;
  readonly #queues: VcpuHandle[][];
  readonly #slice: number;
  readonly #pauseYields: boolean;
  /** Where each vCPU was last, by id. */
  readonly #last = new Map<number, number>();
  /** End of the current vCPU's slice, by LP. */
  readonly #sliceEnds: number[];
  /** vCPUs that began there, by LP. */
  readonly #added: number[];
  readonly #host: SchedulerHost;

  constructor(host: SchedulerHost, slice: number, pauseYields: boolean) {
    this.#pauseYields = pauseYields;
    this.#host = host;
    this.#board = new LpBoard(host);
    this.#slice = slice;
    this.#queues = host.topology.lps.map(() => []);
    this.#added = host.topology.lps.map(() => 0);
    this.#sliceEnds = host.topology.lps.map(() => 0);
  }

  add(vcpu: VcpuHandle): void {
    const lp = leastLp(vcpu, (lp) => this.#added[lp] ?? 0);
    this.#added[lp] = (this.#added[lp] ?? 0) + 1;
    this.#last.set(vcpu.id, lp);
  }

  wake(vcpu: VcpuHandle): void {
    const lp = this.#board.freeFor(vcpu, this.#lastLp(vcpu)) ?? this.#shortestQueue(vcpu);
    this.#queues[lp]?.push(vcpu);
    if (this.#board.isFree(lp)) {
      this.#board.kick(lp);
    }
  }

  block(vcpu: VcpuHandle): void {
    this.#board.leave(this.#lastLp(vcpu));
  }

  yielded(vcpu: VcpuHandle): void {
    this.#sliceEnds[this.#lastLp(vcpu)] = 0;
  }

  pauseLoop(vcpu: VcpuHandle): undefined {
    if (this.#pauseYields) {
      this.yielded(vcpu);
    }
  }

  ran(): void {}

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    this.#board.look(lp);
    const left = (this.#sliceEnds[lp] ?? 0) - this.#host.now();
    if (current !== undefined && left > 0) {
      this.#board.decide(lp, current);
      return { vcpu: current, slice: left };
    }
    const vcpu = this.#queues[lp]?.shift() ?? (current === undefined ? this.#steal(lp) : current);
    this.#board.decide(lp, vcpu);
    if (current !== undefined && vcpu !== current) {
      this.wake(current);
    }
    if (vcpu === undefined) {
      return { vcpu, slice: Number.POSITIVE_INFINITY };
    }
    this.#last.set(vcpu.id, lp);
    this.#sliceEnds[lp] = this.#host.now() + this.#slice;
    return { vcpu, slice: this.#slice };
  }

  #lastLp(vcpu: VcpuHandle): number {
    return this.#last.get(vcpu.id) ?? 0;
  }

  /** The LP with the fewest vCPUs waiting, among equals where it was last. */
  #shortestQueue(vcpu: VcpuHandle): number {
    let best = this.#lastLp(vcpu);
    for (let lp = 0; lp < this.#board.count; lp++) {
      if (vcpu.affinity[lp] && this.#waiting(lp) < this.#waiting(best)) {
        best = lp;
      }
    }
    return best;
  }

  #waiting(lp: number): number {
    return this.#queues[lp]?.length ?? 0;
  }

  /** The first vCPU that may run here, from the longest queue that has one. */
  #steal(lp: number): VcpuHandle | undefined {
    const victims = this.#queues
      .filter((queue) => queue.some((vcpu) => vcpu.affinity[lp]))
      .sort((a, b) => b.length - a.length);
    const queue = victims[0];
    if (queue === undefined) {
      return undefined;
    }
    const [vcpu] = queue.splice(
      queue.findIndex((waiting) => waiting.affinity[lp]),
      1,
    );
    return vcpu;
  }
}

/** A turn of 10 ms for each. */
export const roundRobin = definePolicy({
  name: "round-robin",
  title: "Round robin",
  source: "textbook; the slice is a usual one",
  parameters: {
    slice: { default: 10_000_000, unit: "ns", minimum: 1000, about: "length of a turn" },
    pauseYields: { default: true, about: "a PAUSE loop ends the turn" },
  },
  create: (host, { slice, pauseYields }) => new RoundRobin(host, slice, pauseYields),
});
