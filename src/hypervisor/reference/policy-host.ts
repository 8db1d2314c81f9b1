import type { Prng } from "../../base/prng.ts";
import type { SchedulerHost, VcpuHandle } from "../schedulers/scheduler.ts";
import type { Topology } from "../schedulers/topology.ts";

/** The policy broke a rule of its interface, or threw: the run ends. The message names the call and what was wrong. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
}

/** What a policy asked for during a call, for the LP that made the call to carry out. */
export class PolicyHost implements SchedulerHost {
  readonly topology: Topology;
  readonly random: Prng;
  readonly #now: () => number;
  readonly #running: (lp: number) => VcpuHandle | undefined;
  #latest = 0;
  /** LPs kicked, and timers asked for, since they were last taken. */
  kicks: number[] = [];
  timers: { readonly time: number; readonly action: () => void }[] = [];

  constructor(
    topology: Topology,
    random: Prng,
    now: () => number,
    running: (lp: number) => VcpuHandle | undefined,
  ) {
    this.topology = topology;
    this.random = random;
    this.#now = now;
    this.#running = running;
  }

  /** LPs are apart by as much as one does at once: for the policy time never goes back. */
  now(): number {
    this.#latest = Math.max(this.#latest, this.#now());
    return this.#latest;
  }
  kick(lp: number): void {
    if (!(lp in this.topology.lps)) {
      throw new PolicyError(`host.kick(${lp}): there is no such LP`);
    }
    this.kicks.push(lp);
  }
  running(lp: number): VcpuHandle | undefined {
    return this.#running(lp);
  }
  at(time: number, action: () => void): void {
    if (!(time < Number.POSITIVE_INFINITY)) {
      throw new PolicyError(`host.at(${time}): not a time`);
    }
    this.timers.push({ time, action });
  }
}

/** Calls the policy; whatever it throws is its own error, with the call named. */
export function callPolicy<Result>(call: string, make: () => Result): Result {
  try {
    return make();
  } catch (error) {
    if (error instanceof PolicyError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new PolicyError(`${call} threw: ${message}`, { cause: error });
  }
}
