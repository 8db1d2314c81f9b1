import type { Steps } from "../../isa/operations.ts";
import { DescheduleReason, noVcpu } from "../run-record.ts";
import type { Decision, WakeReason } from "../schedulers/scheduler.ts";
import { suppressing } from "../vmx/posted-interrupts.ts";
import { adjustPoll } from "./halt-polling.ts";
import type { HostLp } from "./host-lp.ts";
import type { LpCalls } from "./lp-calls.ts";
import { callPolicy, PolicyError } from "./policy-host.ts";
import { activate, awaitPost } from "./posted-interrupts.ts";
import type { SharedState } from "./shared-state.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/** What an LP tells the policy and asks of it, and what follows from the answers. */
export class LpPolicy {
  readonly #hypervisor: SharedState;
  readonly #lp: HostLp;
  readonly #calls: LpCalls;

  constructor(hypervisor: SharedState, lp: HostLp, calls: LpCalls) {
    this.#hypervisor = hypervisor;
    this.#lp = lp;
    this.#calls = calls;
  }

  // ——— a decision

  /** Tells the policy what the LP's vCPU has used. */
  account(): void {
    const lp = this.#lp;
    const { current } = lp;
    if (current === undefined) return;
    const now = this.#hypervisor.now();
    const used = now - lp.untold;
    lp.untold = now;
    callPolicy("ran", () => this.#hypervisor.scheduler.ran(current, lp.index, used));
  }

  /** Asks whom the LP is to run. What the policy wants beside is to be carried out (`hasWishes`). */
  decide(): VirtualCpu | undefined {
    const hypervisor = this.#hypervisor;
    const lp = this.#lp;
    lp.mustPick = false;
    const previous = lp.current;
    this.account();
    const decision = callPolicy("pick", () => hypervisor.scheduler.pick(lp.index, previous));
    const next = this.#checked(decision, previous);
    const now = hypervisor.now();
    if (next !== previous) {
      if (previous !== undefined) this.#deschedule(previous, now);
      if (next !== undefined) this.#dispatch(next, now);
      lp.current = next;
    }
    if (next !== undefined && decision.pauseLoopExiting !== undefined) {
      lp.pauseLoopExiting = decision.pauseLoopExiting;
    }
    this.#calls.owe(hypervisor.setup.costs["schedule.pick"]);
    lp.reason = DescheduleReason.Slice;
    lp.sliceEnd = now + lp.owed + decision.slice;
    lp.isTimerSet = false;
    return next;
  }

  /** A user's policy may answer anything. */
  #checked(
    decision: Decision | undefined,
    previous: VirtualCpu | undefined,
  ): VirtualCpu | undefined {
    const hypervisor = this.#hypervisor;
    const { index } = this.#lp;
    if (decision === undefined) throw new PolicyError(`pick(${index}) answered nothing`);
    const { vcpu, slice } = decision;
    if (!(slice > 0)) throw new PolicyError(`pick(${index}) gave a slice of ${slice} ns`);
    if (vcpu === undefined) return undefined;
    const next = hypervisor.vcpus[vcpu.id];
    if (next !== vcpu) {
      throw new PolicyError(`pick(${index}) answered something that is no vCPU of this run`);
    }
    if (next !== previous && next.state !== "ready") {
      const user = hypervisor.lps.find(({ current }) => current === next);
      const where = user === undefined ? "is blocked" : `runs on LP ${user.index}`;
      throw new PolicyError(`pick(${index}) answered ${nameOf(next)}, which ${where}`);
    }
    if (next.affinity[index] !== true) {
      throw new PolicyError(`pick(${index}) answered ${nameOf(next)}, which may not run there`);
    }
    return next;
  }

  #deschedule(vcpu: VirtualCpu, now: number): void {
    this.recordDispatch(now);
    this.recordExit(now);
    vcpu.state = "ready";
    // At once: another LP may take it from here on.
    if (vcpu.vm.usesDescriptors)
      this.#lp.environment.own.execute(suppressing(vcpu.pages.descriptor));
    this.#hypervisor.setup.recorder.deschedule(now, this.#lp.index, vcpu.id, this.#lp.reason);
  }

  #dispatch(vcpu: VirtualCpu, now: number): void {
    vcpu.state = "running";
    this.#lp.decidedAt = now;
    this.#lp.untold = now;
  }

  // ——— what it is told

  /** The LP's vCPU has nothing to do until something wakes it. */
  block(vcpu: VirtualCpu): void {
    const hypervisor = this.#hypervisor;
    const lp = this.#lp;
    if (vcpu.vm.usesDescriptors) {
      const { own } = lp.environment;
      if (own.run(awaitPost(vcpu, this.#calls.apicId))) {
        vcpu.hasRequest = true;
        own.run(activate(vcpu, this.#calls.apicId));
      }
    }
    // From the last look at what is asked of the vCPU on nothing comes between.
    if (vcpu.isAwake) {
      this.endWait(vcpu);
      return;
    }
    if (vcpu.vm.usesDescriptors) lp.blocked.add(vcpu);
    const now = hypervisor.now();
    this.account();
    this.recordDispatch(now);
    this.recordExit(now);
    vcpu.state = "blocked";
    lp.current = undefined;
    lp.mustPick = true;
    const { recorder } = hypervisor.setup;
    recorder.deschedule(now, lp.index, vcpu.id, DescheduleReason.Block, vcpu.blockCause);
    callPolicy("block", () => hypervisor.scheduler.block(vcpu));
  }

  /** The LP's vCPU lets another run. @param to the sibling it waits for */
  yielded(vcpu: VirtualCpu, to: VirtualCpu | undefined): void {
    this.account();
    callPolicy("yielded", () => this.#hypervisor.scheduler.yielded(vcpu, to));
    this.#lp.reason = DescheduleReason.Yield;
    this.#lp.mustPick = true;
  }

  /** The LP's vCPU spins. */
  pauseLoop(vcpu: VirtualCpu): void {
    this.account();
    callPolicy("pauseLoop", () => this.#hypervisor.scheduler.pauseLoop(vcpu));
    this.#lp.reason = DescheduleReason.PauseLoop;
    this.#lp.mustPick = true;
  }

  /** A blocked vCPU has something to do. */
  *wake(vcpu: VirtualCpu, reason: WakeReason, waker: VirtualCpu | undefined): Steps<void> {
    const hypervisor = this.#hypervisor;
    if (vcpu.state !== "blocked") return;
    this.#calls.owe(hypervisor.setup.costs["schedule.wake"]);
    if (vcpu.lp !== undefined) hypervisor.lps[vcpu.lp]?.blocked.delete(vcpu);
    vcpu.state = "ready";
    vcpu.isKicked = false;
    this.endWait(vcpu);
    const { recorder } = hypervisor.setup;
    recorder.wake(hypervisor.now(), this.#lp.index, vcpu.id, waker?.id ?? noVcpu);
    callPolicy("wake", () => hypervisor.scheduler.wake(vcpu, reason));
    if (this.hasWishes) yield* this.carryOut();
  }

  /** The vCPU that has halted has something to do. */
  endWait(vcpu: VirtualCpu): void {
    const { haltedAt } = vcpu;
    if (haltedAt === undefined) return;
    vcpu.haltedAt = undefined;
    const { setup } = this.#hypervisor;
    adjustPoll(vcpu, this.#hypervisor.now() - haltedAt, setup.features.haltPollMax);
  }

  // ——— what it asks for

  /** It has kicked LPs or set timers. */
  get hasWishes(): boolean {
    const { kicks, timers } = this.#hypervisor.policyHost;
    return kicks.length > 0 || timers.length > 0;
  }

  *carryOut(): Steps<void> {
    const { policyHost, lps } = this.#hypervisor;
    const { kicks, timers } = policyHost;
    policyHost.kicks = [];
    policyHost.timers = [];
    for (const { time, action } of timers) {
      this.#lp.timers.add({ time, due: { type: "policy", action } });
    }
    for (const index of kicks) {
      const target = lps[index];
      if (target === undefined) continue;
      target.mustPick = true;
      yield* this.#calls.call(target);
    }
    this.#calls.armTimer();
  }

  // ——— the record

  /** The first VM entry since the decision. */
  recordDispatch(now: number): void {
    const lp = this.#lp;
    const { current, decidedAt } = lp;
    if (decidedAt === undefined || current === undefined) return;
    lp.decidedAt = undefined;
    this.#hypervisor.setup.recorder.dispatch(decidedAt, lp.index, current.id, now - decidedAt);
  }

  /** The VM exit has been handled. */
  recordExit(now: number): void {
    const lp = this.#lp;
    const { leftAt, current } = lp;
    if (leftAt === undefined || current === undefined) return;
    lp.leftAt = undefined;
    const { recorder } = this.#hypervisor.setup;
    recorder.exit(leftAt, lp.index, current.id, now - leftAt, lp.exitReason);
  }
}

const nameOf = (vcpu: VirtualCpu): string => `vCPU ${vcpu.index} of ${vcpu.vm.name}`;
