import { LpBoard } from "./lp-board.ts";
import type { Decision, Scheduler, SchedulerHost, VcpuHandle } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";

/**
 * Null: each LP belongs to one vCPU for good. There are no queues and no slices; vCPUs for which no LP is left never run.
 * Whatever a policy with decisions achieves can be compared with this.
 *
 * Ignores weights and caps.
 */
class NullScheduler implements Scheduler {
  readonly #board: LpBoard;
  /** By LP. */
  readonly #owners: (VcpuHandle | undefined)[];
  readonly #lps = new Map<VcpuHandle, number>();
  readonly #awake = new Set<VcpuHandle>();

  constructor(host: SchedulerHost) {
    this.#board = new LpBoard(host);
    this.#owners = host.topology.lps.map(() => undefined);
  }

  add(vcpu: VcpuHandle): void {
    const lp = this.#owners.findIndex((owner, n) => owner === undefined && vcpu.affinity[n]);
    if (lp >= 0) {
      this.#owners[lp] = vcpu;
      this.#lps.set(vcpu, lp);
    }
  }

  wake(vcpu: VcpuHandle): void {
    this.#awake.add(vcpu);
    const lp = this.#lps.get(vcpu);
    if (lp !== undefined) {
      this.#board.kick(lp);
    }
  }

  block(vcpu: VcpuHandle): void {
    this.#awake.delete(vcpu);
  }

  yielded(): void {}

  pauseLoop(): undefined {}

  ran(): void {}

  pick(lp: number): Decision {
    this.#board.look(lp);
    const owner = this.#owners[lp];
    const vcpu = owner !== undefined && this.#awake.has(owner) ? owner : undefined;
    return { vcpu, slice: Number.POSITIVE_INFINITY };
  }
}

/** Xen's null scheduler, for machines that are not overcommitted. */
export const nullPolicy = definePolicy({
  name: "null",
  title: "Null: one vCPU per LP",
  source: "Xen: xen/common/sched/null.c",
  parameters: {},
  create: (host) => new NullScheduler(host),
});
