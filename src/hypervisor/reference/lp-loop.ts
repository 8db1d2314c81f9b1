import {
  cli,
  compute,
  hlt,
  type Operation,
  portOut,
  type Script,
  type ScriptEnvironment,
  type Steps,
  spin,
  sti,
  store,
  VmxResult,
  vmlaunch,
  vmresume,
} from "../../isa/operations.ts";
import { exitReason, vmcsField } from "../vmx/architecture.ts";
import { isOutstanding } from "../vmx/posted-interrupts.ts";
import { HypervisorError } from "../vmx/vmx-operation.ts";
import { type ExitContext, ExitHandlers } from "./exit-handlers.ts";
import { HostLp } from "./host-lp.ts";
import { LpCalls } from "./lp-calls.ts";
import { VcpuInterrupts } from "./lp-interrupts.ts";
import { LpPolicy } from "./lp-policy.ts";
import { prepareLp } from "./lp-preparation.ts";
import { LpResidence } from "./lp-residence.ts";
import { LpTimers } from "./lp-timers.ts";
import { wakeWord } from "./memory-plan.ts";
import { callPolicy, PolicyError } from "./policy-host.ts";
import { debugExitPort, type SharedState } from "./shared-state.ts";
import { guestVector, hostVector } from "./vectors.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

const never = Number.POSITIVE_INFINITY;
/** How long it polls at a time for posts that no store of a script tells of. */
const postGlance = 2000;
const preemptionTimerMax = 0xffff_ffff;
const basicReason = 0xffff;

/**
 * What one LP does: asks the policy whom to run, loads that vCPU, enters it, handles its VM exits until something makes a new
 * decision necessary; rests when there is nobody.
 *
 * What concerns others (what they ask of each other, the policy, the record) it does first, in the order of time; what is its own
 * (fields of the VMCS) it does at once behind that, and pays for all of it before it goes on.
 */
export class LpLoop implements ExitContext {
  readonly hypervisor: SharedState;
  readonly lp: HostLp;
  readonly calls: LpCalls;
  readonly policy: LpPolicy;
  readonly interrupts: VcpuInterrupts;
  readonly timers: LpTimers;
  readonly #residence: LpResidence;
  readonly #environment: ScriptEnvironment;
  readonly #exits: ExitHandlers;
  /** Nanoseconds of a tick of the preemption timer. */
  #tick = 1;

  constructor(hypervisor: SharedState, environment: ScriptEnvironment) {
    this.hypervisor = hypervisor;
    this.#environment = environment;
    const lp = new HostLp(environment.lp, environment);
    this.lp = lp;
    hypervisor.lps[lp.index] = lp;
    const calls = new LpCalls(hypervisor, lp);
    const policy = new LpPolicy(hypervisor, lp, calls);
    const interrupts = new VcpuInterrupts(hypervisor, lp, calls, policy);
    this.calls = calls;
    this.policy = policy;
    this.interrupts = interrupts;
    this.timers = new LpTimers(hypervisor, lp, { calls, policy, interrupts });
    this.#residence = new LpResidence(hypervisor, lp, calls, this.timers);
    this.#exits = new ExitHandlers(this);
  }

  *run(): Script {
    try {
      this.#tick = 2 ** (yield* prepareLp(this.hypervisor, this.#environment));
      if (this.lp.index === 0) yield* this.#start();
      for (;;) yield* this.#turn();
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      this.hypervisor.failure = error.message;
      yield portOut(debugExitPort, 1, 0n);
    }
  }

  *#start(): Steps<void> {
    const { hypervisor, lp } = this;
    callPolicy("create", () => hypervisor.start());
    lp.timers.add({ time: hypervisor.setup.duration, due: { type: "end" } });
    for (const vcpu of hypervisor.vcpus) {
      yield* this.policy.wake(vcpu, "start", undefined);
      yield this.calls.payment();
    }
  }

  *#turn(): Steps<void> {
    const { calls, lp, policy } = this;
    if (this.#isAsked()) yield* this.#attend();
    const vcpu = policy.decide();
    if (policy.hasWishes) yield* policy.carryOut();
    if (vcpu === undefined) {
      yield calls.payment();
      if (!lp.mustPick && lp.toClear.length === 0) yield* this.#rest();
    } else {
      yield* this.#residence.load(vcpu);
      yield calls.payment();
      yield* this.#runGuest(vcpu);
    }
  }

  // ——— what is asked of this LP

  /** Other LPs or the clock want something. */
  #isAsked(): boolean {
    const { taken, toClear } = this.lp;
    return taken.length > 0 || toClear.length > 0 || this.timers.isDue;
  }

  *#attend(): Steps<void> {
    const { lp } = this;
    for (let vector = lp.taken.pop(); vector !== undefined; vector = lp.taken.pop()) {
      const steps = this.took(vector);
      if (steps !== undefined) yield* steps;
    }
    if (lp.toClear.length > 0) yield* this.#residence.giveAway();
    if (this.timers.isDue) yield* this.timers.expire();
  }

  /** An interrupt has been taken, by a VM exit or out of rest. */
  took(vector: number): Steps<void> | undefined {
    switch (vector) {
      case hostVector.call:
        this.calls.owe(this.hypervisor.setup.costs["ipi.latency"]);
        this.lp.isCalled = false;
        return undefined;
      case hostVector.timer:
        this.lp.armed = never;
        return this.timers.expire();
      case hostVector.device:
        return this.#tookDevice();
      case hostVector.wakeUp:
        return this.interrupts.wakePosted();
      default:
        return undefined;
    }
  }

  *#tookDevice(): Steps<void> {
    for (const vcpu of this.hypervisor.setup.outside.takeRaised(this.lp.index)) {
      yield* this.interrupts.interrupt(vcpu, guestVector.device, "interrupt", undefined);
    }
  }

  // ——— resting

  *#rest(): Steps<void> {
    const { lp, hypervisor } = this;
    const since = hypervisor.now();
    lp.mode = "resting";
    // Whoever asks for something from here on sends an interrupt, which STI holds back until the LP is halted.
    yield sti();
    yield hlt();
    yield cli();
    lp.mode = "root";
    yield compute(this.#wakeLatency(hypervisor.now() - since));
    // Until then only mail was taken: the policy is asked in any case, there may be work by now.
  }

  #wakeLatency(rested: number): number {
    const { costs } = this.hypervisor.setup;
    if (rested >= costs["idle.c6-after"]) return costs["idle.c6-wake"];
    return rested >= costs["idle.c1e-after"] ? costs["idle.c1e-wake"] : costs["idle.c1-wake"];
  }

  /** The vCPU of this LP has halted: polls for a while, then blocks it. */
  halted(vcpu: VirtualCpu): Steps<void> | undefined {
    vcpu.haltedAt = this.hypervisor.now();
    if (vcpu.pollLimit > 0) return this.#pollFirst(vcpu);
    this.policy.block(vcpu);
    return undefined;
  }

  *#pollFirst(vcpu: VirtualCpu): Steps<void> {
    if (yield* this.#poll(vcpu)) this.policy.endWait(vcpu);
    else this.policy.block(vcpu);
  }

  /** Waits with interrupts on. @returns whether there is something for the vCPU */
  *#poll(vcpu: VirtualCpu): Steps<boolean> {
    const { hypervisor, lp } = this;
    const { recorder } = hypervisor.setup;
    yield this.calls.payment();
    const begun = hypervisor.now();
    const end = begun + vcpu.pollLimit;
    recorder.haltPollBegin(begun, lp.index, vcpu.id);
    const word = wakeWord(vcpu.pages);
    yield store(word, 8, 0n);
    vcpu.isPolled = true;
    while (!vcpu.isAwake && !lp.mustPick && lp.toClear.length === 0 && hypervisor.now() < end) {
      lp.mode = "resting";
      yield sti();
      // The handler of an interrupt writes the word, as does whoever has something for the vCPU.
      const left = end - hypervisor.now();
      yield spin(word, 8, 0n, vcpu.vm.usesDescriptors ? Math.min(left, postGlance) : left);
      yield cli();
      lp.mode = "root";
      yield store(word, 8, 0n);
      yield* this.#attend();
      if (vcpu.vm.usesDescriptors && (yield* isOutstanding(vcpu.pages.descriptor)))
        vcpu.hasRequest = true;
    }
    vcpu.isPolled = false;
    recorder.haltPollEnd(hypervisor.now(), lp.index, vcpu.id, vcpu.isAwake);
    return vcpu.isAwake;
  }

  // ——— running a vCPU

  /** Until the policy is to be asked again. */
  *#runGuest(vcpu: VirtualCpu): Steps<void> {
    const { calls, lp } = this;
    for (;;) {
      if (lp.toClear.length > 0) {
        yield* this.#residence.giveAway();
      } else if (lp.mustPick || lp.current !== vcpu) {
        return;
      } else if (vcpu.hasRequest) {
        vcpu.hasRequest = false;
        this.#exits.prepareInterrupt(vcpu);
      } else if (lp.owed > 0) {
        yield calls.payment();
      } else if (!lp.isTimerSet) {
        this.#setSliceTimer();
      } else {
        const result = yield this.#entry(vcpu);
        const steps = this.#left(vcpu, result);
        if (steps !== undefined) yield* steps;
        if (this.hypervisor.now() + lp.owed >= lp.sliceEnd) lp.mustPick = true;
      }
    }
  }

  #setSliceTimer(): void {
    const { lp, hypervisor } = this;
    const left = lp.sliceEnd - hypervisor.now();
    if (left <= 0) {
      lp.mustPick = true;
      return;
    }
    lp.isTimerSet = true;
    const ticks = Math.min(preemptionTimerMax, Math.ceil(left / this.#tick));
    this.#environment.own.vmwriteLow(vmcsField.preemptionTimerValue, ticks);
  }

  /** Nothing comes between the last look at what is asked of this LP and the VM entry. */
  #entry(vcpu: VirtualCpu): Operation {
    const { lp, hypervisor, policy } = this;
    const now = hypervisor.now();
    policy.recordDispatch(now);
    policy.recordExit(now);
    lp.mode = "guest";
    return vcpu.isLaunched ? vmresume(vcpu.registers) : vmlaunch(vcpu.registers);
  }

  /** The VM exit, or the entry that failed. @returns what is left to do about it that others have to do with, if anything */
  #left(vcpu: VirtualCpu, result: bigint): Steps<void> | undefined {
    const { lp, hypervisor } = this;
    const { own } = this.#environment;
    lp.mode = "root";
    if (result !== VmxResult.Success) {
      const error = own.vmreadLow(vmcsField.instructionError);
      throw new HypervisorError(`vCPU ${vcpu.id}: VM entry failed, instruction error ${error}`);
    }
    vcpu.isLaunched = true;
    const { costs } = hypervisor.setup;
    const leftAt = hypervisor.now();
    lp.leftAt = leftAt - costs["vmx.exit"];
    const reason = own.vmreadLow(vmcsField.exitReason);
    lp.exitReason = reason & basicReason;
    if (reason === exitReason.preemptionTimer) {
      lp.mustPick = true;
      this.calls.owe(costs["dispatch.exit"]);
      return undefined;
    }
    return this.#exits.handle(vcpu, reason);
  }
}
