import { RunMeter } from "./run-meter.ts";
import type { VcpuHandle } from "./scheduler.ts";

/** A vCPU that is scheduled by virtual time. */
export class FairVcpu {
  readonly vcpu: VcpuHandle;
  /** 1 is usual. Virtual time of a vCPU passes at 1/weight. */
  readonly weight: number;
  /** Where it runs or waits, or was last. */
  lp: number;
  state: "blocked" | "waiting" | "running" = "blocked";
  vruntime = 0;
  deadline = 0;
  /** Virtual time owed to it, while it is in no queue. */
  lag = 0;
  readonly meter = new RunMeter();

  constructor(vcpu: VcpuHandle, lp: number) {
    this.vcpu = vcpu;
    this.weight = vcpu.vm.weight / 256;
    this.lp = lp;
  }
}

/**
 * One LP's queue: earliest eligible virtual deadline first. A vCPU is eligible when it has had no more than its share, that is,
 * when its virtual time is not past the average of all, weighted; of the eligible ones the deadline decides, a slice of virtual
 * time after the last.
 */
export class EevdfQueue {
  readonly waiting: FairVcpu[] = [];
  /** Competes too, and is not among those who wait. */
  running: FairVcpu | undefined;
  readonly #slice: number;
  /** The average, as it was when somebody was there. */
  #lastAverage = 0;

  /** @param slice nanoseconds */
  constructor(slice: number) {
    this.#slice = slice;
  }

  /** Sum of weights. */
  get load(): number {
    let sum = this.running?.weight ?? 0;
    for (const { weight } of this.waiting) {
      sum += weight;
    }
    return sum;
  }

  /** Virtual time at which nobody is owed anything. */
  average(): number {
    let weights = 0;
    let sum = 0;
    const base = this.#lastAverage;
    if (this.running !== undefined) {
      weights = this.running.weight;
      sum = weights * (this.running.vruntime - base);
    }
    for (const { weight, vruntime } of this.waiting) {
      weights += weight;
      sum += weight * (vruntime - base);
    }
    if (weights > 0) {
      this.#lastAverage = base + sum / weights;
    }
    return this.#lastAverage;
  }

  lagOf({ vruntime }: FairVcpu): number {
    return this.average() - vruntime;
  }

  /** A vCPU joins with the lag it left with, and a fresh deadline. */
  join(vcpu: FairVcpu): void {
    const load = this.load;
    // Its own weight moves the average; the lag is what shall be left after that.
    const lag = load > 0 ? (vcpu.lag * (load + vcpu.weight)) / load : 0;
    vcpu.vruntime = this.average() - lag;
    vcpu.deadline = vcpu.vruntime + this.#slice / vcpu.weight;
    vcpu.state = "waiting";
    this.waiting.push(vcpu);
  }

  /** A vCPU that waits goes elsewhere, or one that ran blocks. */
  leave(vcpu: FairVcpu): void {
    const limit = (2 * this.#slice) / vcpu.weight;
    vcpu.lag = Math.min(limit, Math.max(-limit, this.lagOf(vcpu)));
    if (this.running === vcpu) {
      this.running = undefined;
    } else {
      this.waiting.splice(this.waiting.indexOf(vcpu), 1);
    }
    this.average();
  }

  /** Makes one that waits the running one, or nobody; the one before waits again. */
  run(vcpu: FairVcpu | undefined): void {
    if (vcpu === this.running) {
      return;
    }
    if (this.running !== undefined) {
      this.running.state = "waiting";
      this.waiting.push(this.running);
    }
    if (vcpu !== undefined) {
      this.waiting.splice(this.waiting.indexOf(vcpu), 1);
      vcpu.state = "running";
    }
    this.running = vcpu;
  }

  /** @returns whether this used up its slice; then it has a new deadline */
  charge(vcpu: FairVcpu, ns: number): boolean {
    vcpu.vruntime += ns / vcpu.weight;
    if (vcpu.vruntime < vcpu.deadline) {
      return false;
    }
    vcpu.deadline = vcpu.vruntime + this.#slice / vcpu.weight;
    return true;
  }

  /** Comes behind the others that are eligible, however often. */
  postpone(vcpu: FairVcpu): void {
    vcpu.deadline += this.#slice / vcpu.weight;
  }

  /**
   * Gives up the rest of its request, as if it had used it: comes behind others. Who is alone gives up nothing, nor who has had
   * more than its share already; it could only fall behind without end.
   */
  forfeit(vcpu: FairVcpu): void {
    if (this.waiting.length === 0 || !this.isEligible(vcpu)) return;
    vcpu.vruntime = vcpu.deadline;
    vcpu.deadline += this.#slice / vcpu.weight;
  }

  isEligible(vcpu: FairVcpu): boolean {
    return vcpu.vruntime <= this.average();
  }

  /** Who should run of those that may. Nobody being eligible, because only some may run: who is owed most. */
  best(mayRun: (vcpu: FairVcpu) => boolean): FairVcpu | undefined {
    const average = this.average();
    let best: FairVcpu | undefined;
    const consider = (vcpu: FairVcpu): void => {
      if (mayRun(vcpu) && (best === undefined || comesBefore(vcpu, best, average))) {
        best = vcpu;
      }
    };
    if (this.running !== undefined) {
      consider(this.running);
    }
    for (const vcpu of this.waiting) {
      consider(vcpu);
    }
    return best;
  }
}

function comesBefore(a: FairVcpu, b: FairVcpu, average: number): boolean {
  const aEligible = a.vruntime <= average;
  const bEligible = b.vruntime <= average;
  if (aEligible !== bEligible) {
    return aEligible;
  }
  return aEligible ? a.deadline < b.deadline : a.vruntime < b.vruntime;
}
