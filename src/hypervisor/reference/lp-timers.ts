import { portOut, type Steps } from "../../isa/operations.ts";
import type { HostLp } from "./host-lp.ts";
import type { LpCalls } from "./lp-calls.ts";
import type { VcpuInterrupts } from "./lp-interrupts.ts";
import type { LpPolicy } from "./lp-policy.ts";
import { callPolicy } from "./policy-host.ts";
import { debugExitPort, type SharedState } from "./shared-state.ts";
import { guestVector } from "./vectors.ts";
import type { HostTimer, VirtualCpu } from "./virtual-machine.ts";

const never = Number.POSITIVE_INFINITY;

/** What is due on an LP at a time: actions of the policy, deadline timers of its vCPU, the end of the run. */
export class LpTimers {
  readonly #hypervisor: SharedState;
  readonly #lp: HostLp;
  readonly #calls: LpCalls;
  readonly #policy: LpPolicy;
  readonly #interrupts: VcpuInterrupts;

  constructor(
    hypervisor: SharedState,
    lp: HostLp,
    parts: { calls: LpCalls; policy: LpPolicy; interrupts: VcpuInterrupts },
  ) {
    this.#hypervisor = hypervisor;
    this.#lp = lp;
    this.#calls = parts.calls;
    this.#policy = parts.policy;
    this.#interrupts = parts.interrupts;
  }

  get isDue(): boolean {
    return this.#lp.timers.least <= this.#hypervisor.now();
  }

  *expire(): Steps<void> {
    const { timers } = this.#lp;
    while (this.isDue) {
      const timer = timers.take();
      if (timer !== undefined) yield* this.#carryOut(timer);
    }
    this.#calls.armTimer();
  }

  *#carryOut({ due }: HostTimer): Steps<void> {
    switch (due.type) {
      case "end":
        yield portOut(debugExitPort, 1, 0n);
        return;
      case "policy":
        callPolicy("an action of host.at", due.action);
        if (this.#policy.hasWishes) yield* this.#policy.carryOut();
        return;
      case "guest":
        due.vcpu.timer = undefined;
        yield* this.#interrupts.interrupt(due.vcpu, guestVector.timer, "timer", undefined);
    }
  }

  /** Sets a vCPU's own deadline timer, here where it runs. @param time infinity: off */
  set(vcpu: VirtualCpu, time: number): void {
    const { timers } = this.#lp;
    if (vcpu.timer !== undefined) timers.remove(vcpu.timer);
    vcpu.timer = time === never ? undefined : { time, due: { type: "guest", vcpu } };
    if (vcpu.timer === undefined) return;
    timers.add(vcpu.timer);
    this.#calls.armTimer();
  }

  /** The timer of a vCPU goes with it. */
  fetch({ timer }: VirtualCpu, from: number | undefined): void {
    if (timer !== undefined && from !== undefined) {
      if (this.#hypervisor.lps[from]?.timers.remove(timer)) this.#lp.timers.add(timer);
    }
    this.#calls.armTimer();
  }
}
