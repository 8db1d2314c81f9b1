import { assert, present } from "../../base/assert.ts";
import type { SchedulerHost, VcpuHandle } from "./scheduler.ts";

/**
 * What most policies keep of the LPs: who runs there, and who has been called. An idle LP that has been kicked but has not
 * looked yet is as good as taken, else two vCPUs that wake at the same moment would be sent to the same one.
 */
export class LpBoard {
  readonly #host: SchedulerHost;
  readonly count: number;
  readonly #running: (VcpuHandle | undefined)[];
  readonly #called: boolean[];

  constructor(host: SchedulerHost) {
    this.#host = host;
    this.count = host.topology.lps.length;
    this.#running = new Array(this.count).fill(undefined);
    this.#called = new Array(this.count).fill(false);
  }

  running(lp: number): VcpuHandle | undefined {
    return this.#running[lp];
  }

  /** Idle, and nobody has been sent there. */
  isFree(lp: number): boolean {
    return this.#running[lp] === undefined && this.#called[lp] === false;
  }

  isCalled(lp: number): boolean {
    return this.#called[lp] === true;
  }

  kick(lp: number): void {
    if (!this.#called[lp]) {
      this.#called[lp] = true;
      this.#host.kick(lp);
    }
  }

  /** The LP looks: it may be called again. Its vCPU does not count as running until `decide`. */
  look(lp: number): void {
    this.#called[lp] = false;
    this.#running[lp] = undefined;
  }

  /** Its vCPU has blocked: the LP is about to look by itself. */
  leave(lp: number): void {
    this.#called[lp] = true;
    this.#running[lp] = undefined;
  }

  decide(lp: number, vcpu: VcpuHandle | undefined): void {
    this.#running[lp] = vcpu;
  }

  /** A free LP where a vCPU may run, the nearest to where it was: that LP, its core, its socket, any. */
  freeFor(vcpu: VcpuHandle, near: number): number | undefined {
    const { lps } = this.#host.topology;
    if (this.isFree(near) && vcpu.affinity[near]) {
      return near;
    }
    const home = lps[near];
    let best: number | undefined;
    let bestScore = -1;
    for (let lp = 0; lp < this.count; lp++) {
      if (this.isFree(lp) && vcpu.affinity[lp]) {
        const place = present(lps[lp], "an LP has a place");
        const score = place.core === home?.core ? 2 : place.socket === home?.socket ? 1 : 0;
        if (score > bestScore) {
          best = lp;
          bestScore = score;
        }
      }
    }
    return best;
  }
}

/** Of the LPs a vCPU may use, the one with the least of something; the first of equals. */
export function leastLp(vcpu: VcpuHandle, load: (lp: number) => number): number {
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  vcpu.affinity.forEach((allowed, lp) => {
    const here = allowed ? load(lp) : Number.POSITIVE_INFINITY;
    if (here < least) {
      best = lp;
      least = here;
    }
  });
  assert(best >= 0, `vCPU ${vcpu.index} of ${vcpu.vm.name} may run somewhere`);
  return best;
}
