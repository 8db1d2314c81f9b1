import { type Steps, store } from "../../isa/operations.ts";
import type { WakeReason } from "../schedulers/scheduler.ts";
import { isOutstanding } from "../vmx/posted-interrupts.ts";
import type { HostLp } from "./host-lp.ts";
import type { LpCalls } from "./lp-calls.ts";
import type { LpPolicy } from "./lp-policy.ts";
import { wakeWord } from "./memory-plan.ts";
import { postRequest } from "./posted-interrupts.ts";
import type { SharedState } from "./shared-state.ts";
import { guestVector, hostVector } from "./vectors.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/** How an LP gets interrupts and kicks to vCPUs, wherever they are. */
export class VcpuInterrupts {
  readonly #hypervisor: SharedState;
  readonly #lp: HostLp;
  readonly #calls: LpCalls;
  readonly #policy: LpPolicy;

  constructor(hypervisor: SharedState, lp: HostLp, calls: LpCalls, policy: LpPolicy) {
    this.#hypervisor = hypervisor;
    this.#lp = lp;
    this.#calls = calls;
    this.#policy = policy;
  }

  #posts(): boolean {
    return this.#hypervisor.setup.features.posting;
  }

  /** A vCPU gets an interrupt. */
  *interrupt(
    vcpu: VirtualCpu,
    vector: number,
    reason: WakeReason,
    sender: VirtualCpu | undefined,
  ): Steps<void> {
    if (vector !== guestVector.device) this.#hypervisor.posts.posted(this.#lp.index, vcpu, vector);
    if (!this.#posts()) {
      vcpu.pending.add(vector);
      yield* this.#attract(vcpu, reason, sender);
    } else if (this.#lp.environment.own.run(postRequest(vcpu, vector))) {
      yield* this.#attract(vcpu, reason, sender);
    }
  }

  /** A sibling's hypercall ends a vCPU's HLT. */
  *kick(vcpu: VirtualCpu, sender: VirtualCpu): Steps<void> {
    vcpu.isKicked = true;
    yield* this.#attract(vcpu, "kick", sender);
  }

  /** Somebody has posted for a vCPU that blocked here. */
  *wakePosted(): Steps<void> {
    const { own } = this.#lp.environment;
    this.#calls.owe(this.#hypervisor.setup.costs["posted.descheduled"]);
    for (const vcpu of [...this.#lp.blocked]) {
      if (own.run(isOutstanding(vcpu.pages.descriptor))) {
        yield* this.#attract(vcpu, "interrupt", undefined);
      }
    }
  }

  *#attract(vcpu: VirtualCpu, reason: WakeReason, sender: VirtualCpu | undefined): Steps<void> {
    vcpu.hasRequest = true;
    if (vcpu.state === "blocked") {
      yield* this.#policy.wake(vcpu, reason, sender);
    } else if (vcpu.state === "running" && vcpu.lp !== undefined) {
      const target = this.#hypervisor.lps[vcpu.lp];
      if (vcpu.isPolled) yield store(wakeWord(vcpu.pages), 8, 1n);
      if (target === undefined || target.mode !== "guest" || target === this.#lp) return;
      if (reason === "kick" || !this.#posts()) yield* this.#calls.call(target);
      else yield* this.#calls.send(target, hostVector.posted);
    }
  }
}
