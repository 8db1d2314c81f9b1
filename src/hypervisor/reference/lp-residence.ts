import { invvpid, type Operation, type Steps, spin, store, vmclear } from "../../isa/operations.ts";
import type { PauseLoopExiting } from "../schedulers/scheduler.ts";
import { distance } from "../schedulers/topology.ts";
import { vmcsField } from "../vmx/architecture.ts";
import { loadVmcsAtOnce, writeHostContinuationAtOnce } from "../vmx/vmcs-at-once.ts";
import { HypervisorError } from "../vmx/vmx-operation.ts";
import type { HostLp } from "./host-lp.ts";
import type { LpCalls } from "./lp-calls.ts";
import type { LpTimers } from "./lp-timers.ts";
import { activate } from "./posted-interrupts.ts";
import type { SharedState } from "./shared-state.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/** How long an LP waits at a time for another to clear a VMCS, in nanoseconds. */
const waitMax = 1_000_000;
/** INVVPID of all translations of one VPID. */
const singleContext = 1;

/** Whose VMCS is on an LP: fetching them from others, giving them away, and what changing them costs. */
export class LpResidence {
  readonly #hypervisor: SharedState;
  readonly #lp: HostLp;
  readonly #calls: LpCalls;
  readonly #timers: LpTimers;

  constructor(hypervisor: SharedState, lp: HostLp, calls: LpCalls, timers: LpTimers) {
    this.#hypervisor = hypervisor;
    this.#lp = lp;
    this.#calls = calls;
    this.#timers = timers;
  }

  /** The vCPU is to run here. */
  *load(vcpu: VirtualCpu): Steps<void> {
    const lp = this.#lp;
    const from = vcpu.lp;
    vcpu.lp = lp.index;
    if (lp.loaded !== vcpu) {
      if (vcpu.residence !== undefined && vcpu.residence !== lp.index) yield* this.#takeOver(vcpu);
      loadVmcsAtOnce(lp.environment.own, vcpu.pages.vmcs);
      lp.loaded = vcpu;
      vcpu.residence = lp.index;
    }
    if (from !== lp.index) {
      if (from !== undefined) this.#recordMigration(vcpu, from);
      writeHostContinuationAtOnce(lp.environment);
      this.#timers.fetch(vcpu, from);
    }
    if (vcpu.vm.usesDescriptors) {
      if (lp.environment.own.run(activate(vcpu, this.#calls.apicId))) vcpu.hasRequest = true;
    }
    if (vcpu.mustFlush) {
      vcpu.mustFlush = false;
      lp.environment.own.execute(invvpid(singleContext, vcpu.vpid));
    }
    if (lp.pauseLoopExiting !== undefined) this.#tunePauses(vcpu, lp.pauseLoopExiting);
    this.#payForSwitch(vcpu, from);
  }

  /** What the policy wants of PAUSE-loop exiting, if the scenario has it at all. */
  #tunePauses(vcpu: VirtualCpu, { gap, window }: PauseLoopExiting): void {
    if (this.#hypervisor.setup.features.pauseWindow === 0) return;
    const { own } = this.#lp.environment;
    if (vcpu.pauseGap !== gap) own.vmwriteLow(vmcsField.pleGap, gap);
    if (vcpu.pauseWindow !== window) own.vmwriteLow(vmcsField.pleWindow, window);
    vcpu.pauseGap = gap;
    vcpu.pauseWindow = window;
  }

  /** The VMCS is active on another LP: that LP has to clear it. */
  *#takeOver(vcpu: VirtualCpu): Steps<void> {
    const owner = this.#hypervisor.lps[vcpu.residence ?? -1];
    if (owner === undefined) throw new HypervisorError(`vCPU ${vcpu.id} lives on no LP`);
    const { index, toClear } = this.#lp;
    owner.toClear.push(vcpu);
    // Who waits, waits with interrupts off.
    if (owner.isWaiting) yield this.#waking(owner.index);
    else yield* this.#calls.call(owner);
    const word = this.#waitWord(index);
    while (vcpu.residence !== undefined) {
      yield store(word, 8, 0n);
      this.#lp.isWaiting = true;
      // The other may be waiting for this one.
      if (toClear.length > 0) yield* this.giveAway();
      else if (vcpu.residence !== undefined) yield spin(word, 8, 0n, waitMax);
      this.#lp.isWaiting = false;
    }
  }

  #waitWord(lp: number): bigint {
    return this.#hypervisor.plan.waitWords[lp] ?? 0n;
  }
  #waking(lp: number): Operation {
    return store(this.#waitWord(lp), 8, 1n);
  }

  /** Clears the VMCSs that others want, and tells them. */
  *giveAway(): Steps<void> {
    const lp = this.#lp;
    for (let vcpu = lp.toClear.pop(); vcpu !== undefined; vcpu = lp.toClear.pop()) {
      yield vmclear(vcpu.pages.vmcs);
      if (lp.loaded === vcpu) lp.loaded = undefined;
      vcpu.isLaunched = false;
      vcpu.residence = undefined;
      if (vcpu.lp !== undefined) yield this.#waking(vcpu.lp);
    }
  }

  #payForSwitch(vcpu: VirtualCpu, from: number | undefined): void {
    const lp = this.#lp;
    const { costs } = this.#hypervisor.setup;
    const { warm } = lp;
    if (warm === vcpu && from === lp.index) return;
    lp.warm = vcpu;
    let cost = warm?.vm === vcpu.vm ? costs["switch.same-vm"] : costs["switch.other-vm"];
    if (from === lp.index) cost += costs["warm.same-lp"];
    else if (from !== undefined) cost += this.#warmth(from) + costs["vmx.vmcs-migration"];
    this.#calls.owe(cost);
  }
  #warmth(from: number): number {
    const where = distance(this.#hypervisor.setup.topology, from, this.#lp.index);
    return where === "same" ? 0 : this.#hypervisor.setup.costs[`warm.${where}`];
  }

  #recordMigration(vcpu: VirtualCpu, from: number): void {
    const lp = this.#lp;
    const { costs, recorder } = this.#hypervisor.setup;
    const cost = this.#warmth(from) + costs["vmx.vmcs-migration"];
    recorder.migrate(lp.decidedAt ?? this.#hypervisor.now(), lp.index, vcpu.id, cost, from);
  }
}
