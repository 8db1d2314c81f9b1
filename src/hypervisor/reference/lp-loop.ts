import {
  cli,
  compute,
  hlt,
  invvpid,
  portOut,
  rdmsr,
  type Script,
  type ScriptEnvironment,
  type Steps,
  spin,
  sti,
  store,
  VmxResult,
  vmclear,
  vmlaunch,
  vmread,
  vmresume,
  wrmsr,
} from "../../isa/operations.ts";
import { DescheduleReason, noVcpu, type RunRecorder } from "../run-record.ts";
import type { Decision, PauseLoopExiting, WakeReason } from "../schedulers/scheduler.ts";
import { distance } from "../schedulers/topology.ts";
import { exitReason, msr, vmcsField } from "../vmx/architecture.ts";
import { type ControlWords, chooseControls } from "../vmx/controls.ts";
import { guestLayout, guestStart, interruptGate } from "../vmx/guest-memory.ts";
import { isOutstanding, suppress } from "../vmx/posted-interrupts.ts";
import { createVmcs, loadVmcs, writeField, writeHostContinuation } from "../vmx/vmcs.ts";
import { enableApic, enterVmxOperation, HypervisorError } from "../vmx/vmx-operation.ts";
import { type ExitContext, ExitHandlers } from "./exit-handlers.ts";
import { guestProgram } from "./guest-software.ts";
import { adjustPoll } from "./halt-polling.ts";
import { HostLp } from "./host-lp.ts";
import { wakeWord } from "./memory-plan.ts";
import { callPolicy, PolicyError } from "./policy-host.ts";
import {
  activate,
  awaitPost,
  fillPidTable,
  postRequest,
  setVirtualApicId,
} from "./posted-interrupts.ts";
import type { HypervisorSetup, SharedState } from "./shared-state.ts";
import { guestVector, hostVector } from "./vectors.ts";
import type { HostTimer, VirtualCpu } from "./virtual-machine.ts";

const never = Number.POSITIVE_INFINITY;
/** How long an LP waits between two looks at something that another LP is about to change. */
const glance = 200;
const debugExitPort = 0xf4;
/** TSC-deadline mode of the local APIC's timer. */
const deadlineMode = 2n << 17n;
/** The same while it polls for posts that no store of a script tells of. */
const postGlance = 2000;
/** INVVPID of all translations of one VPID. */
const singleContext = 1;
const gateBytes = 16;
const preemptionTimerMax = 0xffff_ffff;

/**
 * What one LP does: asks the policy whom to run, loads that vCPU, enters it, handles its VM exits until something makes a new
 * decision necessary; rests when there is nobody.
 */
export class LpLoop implements ExitContext {
  readonly hypervisor: SharedState;
  readonly lp: HostLp;
  readonly #environment: ScriptEnvironment;
  readonly #exits: ExitHandlers;
  /** Ticks of the preemption timer are nanoseconds shifted by this. */
  #timerShift = 0;

  constructor(hypervisor: SharedState, environment: ScriptEnvironment) {
    this.hypervisor = hypervisor;
    this.#environment = environment;
    this.lp = new HostLp(environment.lp, environment);
    hypervisor.lps[environment.lp] = this.lp;
    this.#exits = new ExitHandlers(this);
  }

  get #costs(): HypervisorSetup["costs"] {
    return this.hypervisor.setup.costs;
  }
  get recorder(): RunRecorder {
    return this.hypervisor.setup.recorder;
  }

  *run(): Script {
    try {
      yield* this.#prepare();
      for (;;) yield* this.#turn();
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      this.hypervisor.failure = error.message;
      yield portOut(debugExitPort, 1, 0n);
    }
  }

  *#turn(): Steps<void> {
    yield* this.#attend();
    const vcpu = yield* this.#decide();
    if (vcpu === undefined) {
      yield* this.#rest();
    } else {
      yield* this.#load(vcpu);
      yield* this.#runGuest(vcpu);
    }
  }

  // ——— getting ready

  *#prepare(): Steps<void> {
    const { hypervisor, lp } = this;
    const { plan, setup, vcpus } = hypervisor;
    const lpCount = setup.topology.lps.length;
    yield* enableApic();
    yield wrmsr(msr.x2apicTimer, deadlineMode | BigInt(hostVector.timer));
    yield* enterVmxOperation(this.#environment, BigInt(plan.vmxonRegions[lp.index] ?? 0));
    this.#timerShift = Number((yield rdmsr(msr.misc)) & 31n);
    const { posting, ipiVirtualization, pauseWindow } = setup.features;
    const controls = yield* chooseControls({
      posting,
      ipiVirtualization,
      pauseLoops: pauseWindow > 0,
      hltExiting: true,
      preemptionTimer: true,
    });
    if (lp.index === 0) yield* this.#prepareGuests();
    for (const vcpu of vcpus) {
      if (vcpu.id % lpCount === lp.index) yield* this.#create(vcpu, controls);
    }
    hypervisor.prepared += 1;
    while (hypervisor.prepared < lpCount || (hypervisor.origin === undefined && lp.index !== 0)) {
      yield compute(glance);
    }
    if (lp.index === 0) yield* this.#start();
  }

  *#prepareGuests(): Steps<void> {
    const { plan, vms } = this.hypervisor;
    const { ipiVirtualization, posting } = this.hypervisor.setup.features;
    for (const vm of vms) {
      if (ipiVirtualization) vm.usesDescriptors = true;
      if (!posting) vm.usesDescriptors = false;
      yield* fillPidTable(BigInt(plan.pidTables[vm.id] ?? 0), vm.vcpus);
      if (this.hypervisor.setup.vms[vm.id]?.image !== undefined) continue;
      const idt = BigInt((plan.guests[vm.id] ?? 0) + guestLayout.idt);
      for (const vector of Object.values(guestVector)) {
        const gate = this.#environment.gate(guestProgram.interrupt, vector);
        const at = idt + BigInt(vector * gateBytes);
        const [low, high] = interruptGate(gate);
        yield store(at, 8, low);
        yield store(at + 8n, 8, high);
      }
    }
  }

  *#create(vcpu: VirtualCpu, controls: ControlWords): Steps<void> {
    const { hypervisor } = this;
    const { plan, setup } = hypervisor;
    const { pauseGap, pauseWindow } = setup.features;
    const entry =
      setup.vms[vcpu.vm.id]?.image?.entry(vcpu.index) ??
      this.#environment.entry(guestProgram.main, vcpu.id);
    yield* createVmcs(this.#environment, {
      controls,
      pages: vcpu.pages,
      eptPointer: hypervisor.eptPointer(vcpu.vm),
      vpid: vcpu.vpid,
      msrBitmaps: BigInt(plan.msrBitmaps),
      notificationVector: hostVector.posted,
      pidTable: BigInt(plan.pidTables[vcpu.vm.id] ?? 0),
      lastPidIndex: vcpu.vm.vcpus.length - 1,
      guest: guestStart(vcpu.index, entry, 0n),
    });
    if (pauseWindow > 0) {
      yield* writeField(vmcsField.pleGap, BigInt(pauseGap));
      yield* writeField(vmcsField.pleWindow, BigInt(pauseWindow));
      vcpu.pauseGap = pauseGap;
      vcpu.pauseWindow = pauseWindow;
    }
    vcpu.controls = controls;
    yield* setVirtualApicId(vcpu);
    yield vmclear(vcpu.pages.vmcs);
  }

  *#start(): Steps<void> {
    const { hypervisor, lp } = this;
    callPolicy("create", () => hypervisor.start());
    lp.timers.add({ time: hypervisor.setup.duration, due: { type: "end" } });
    for (const vcpu of hypervisor.vcpus) yield* this.wake(vcpu, "start", undefined);
  }

  // ——— the policy

  /** Tells the policy what the LP's vCPU has used. */
  account(): void {
    const { lp } = this;
    const { current } = lp;
    if (current === undefined) return;
    const now = this.hypervisor.now();
    const used = now - lp.untold;
    lp.untold = now;
    callPolicy("ran", () => this.hypervisor.scheduler.ran(current, lp.index, used));
  }

  *#decide(): Steps<VirtualCpu | undefined> {
    const { hypervisor, lp } = this;
    yield compute(this.#costs["schedule.pick"]);
    lp.mustPick = false;
    const previous = lp.current;
    this.account();
    const decision = callPolicy("pick", () => hypervisor.scheduler.pick(lp.index, previous));
    const next = this.#checked(decision, previous);
    const now = hypervisor.now();
    if (next !== previous) {
      if (previous !== undefined) {
        this.#deschedule(previous, now);
        if (previous.vm.usesDescriptors) yield* suppress(previous.pages.descriptor);
      }
      if (next !== undefined) this.#dispatch(next, now);
      lp.current = next;
    }
    if (next !== undefined && decision.pauseLoopExiting !== undefined) {
      lp.pauseLoopExiting = decision.pauseLoopExiting;
    }
    lp.reason = DescheduleReason.Slice;
    lp.sliceEnd = now + decision.slice;
    lp.isTimerSet = false;
    yield* this.afterPolicy();
    return next;
  }

  /** A user's policy may answer anything. */
  #checked(
    decision: Decision | undefined,
    previous: VirtualCpu | undefined,
  ): VirtualCpu | undefined {
    const { hypervisor, lp } = this;
    if (decision === undefined) throw new PolicyError(`pick(${lp.index}) answered nothing`);
    const { vcpu, slice } = decision;
    if (!(slice > 0)) throw new PolicyError(`pick(${lp.index}) gave a slice of ${slice} ns`);
    if (vcpu === undefined) return undefined;
    const next = hypervisor.vcpus[vcpu.id];
    if (next !== vcpu) {
      throw new PolicyError(`pick(${lp.index}) answered something that is no vCPU of this run`);
    }
    const name = `vCPU ${next.index} of ${next.vm.name}`;
    if (next !== previous && next.state !== "ready") {
      const user = hypervisor.lps.find(({ current }) => current === next);
      const where = user === undefined ? "is blocked" : `runs on LP ${user.index}`;
      throw new PolicyError(`pick(${lp.index}) answered ${name}, which ${where}`);
    }
    if (next.affinity[lp.index] !== true) {
      throw new PolicyError(`pick(${lp.index}) answered ${name}, which may not run there`);
    }
    return next;
  }

  #deschedule(vcpu: VirtualCpu, now: number): void {
    this.#recordDispatch(now);
    this.#recordExit(now);
    vcpu.state = "ready";
    this.recorder.deschedule(now, this.lp.index, vcpu.id, this.lp.reason);
  }

  #dispatch(vcpu: VirtualCpu, now: number): void {
    vcpu.state = "running";
    this.lp.decidedAt = now;
    this.lp.untold = now;
  }

  /** The LP's vCPU has nothing to do until something wakes it. */
  *#block(vcpu: VirtualCpu): Steps<void> {
    const { hypervisor, lp } = this;
    if (vcpu.vm.usesDescriptors) {
      if (yield* awaitPost(vcpu, this.apicId)) {
        vcpu.hasRequest = true;
        yield* activate(vcpu, this.apicId);
      }
    }
    // From the last look at what is asked of the vCPU on nothing comes between.
    if (vcpu.isAwake) {
      this.#endWait(vcpu);
      return;
    }
    if (vcpu.vm.usesDescriptors) lp.blocked.add(vcpu);
    const now = hypervisor.now();
    this.account();
    this.#recordDispatch(now);
    this.#recordExit(now);
    vcpu.state = "blocked";
    lp.current = undefined;
    lp.mustPick = true;
    this.recorder.deschedule(now, lp.index, vcpu.id, DescheduleReason.Block, vcpu.blockCause);
    callPolicy("block", () => hypervisor.scheduler.block(vcpu));
  }

  /** The LP's vCPU lets another run. @param to the sibling it waits for */
  *yielded(vcpu: VirtualCpu, to: VirtualCpu | undefined): Steps<void> {
    const { hypervisor, lp } = this;
    this.account();
    callPolicy("yielded", () => hypervisor.scheduler.yielded(vcpu, to));
    lp.reason = DescheduleReason.Yield;
    lp.mustPick = true;
    yield* this.afterPolicy();
  }

  /** The LP's vCPU spins. */
  *pauseLoop(vcpu: VirtualCpu): Steps<void> {
    const { hypervisor, lp } = this;
    this.account();
    callPolicy("pauseLoop", () => hypervisor.scheduler.pauseLoop(vcpu));
    lp.reason = DescheduleReason.PauseLoop;
    lp.mustPick = true;
    yield* this.afterPolicy();
  }

  /** A blocked vCPU has something to do. */
  *wake(vcpu: VirtualCpu, reason: WakeReason, waker: VirtualCpu | undefined): Steps<void> {
    const { hypervisor, lp } = this;
    yield compute(this.#costs["schedule.wake"]);
    if (vcpu.state !== "blocked") return;
    if (vcpu.lp !== undefined) hypervisor.lps[vcpu.lp]?.blocked.delete(vcpu);
    vcpu.state = "ready";
    vcpu.isKicked = false;
    this.#endWait(vcpu);
    this.recorder.wake(hypervisor.now(), lp.index, vcpu.id, waker?.id ?? noVcpu);
    callPolicy("wake", () => hypervisor.scheduler.wake(vcpu, reason));
    yield* this.afterPolicy();
  }

  /** The vCPU that has halted has something to do. */
  #endWait(vcpu: VirtualCpu): void {
    const { haltedAt } = vcpu;
    if (haltedAt === undefined) return;
    vcpu.haltedAt = undefined;
    const { setup } = this.hypervisor;
    adjustPoll(vcpu, this.hypervisor.now() - haltedAt, setup.features.haltPollMax);
  }

  /** The vCPU of this LP has halted: polls for a while, then blocks it. */
  *halted(vcpu: VirtualCpu): Steps<void> {
    vcpu.haltedAt = this.hypervisor.now();
    if (vcpu.pollLimit > 0 && (yield* this.#poll(vcpu))) {
      this.#endWait(vcpu);
      return;
    }
    yield* this.#block(vcpu);
  }

  /** Waits with interrupts on. @returns whether there is something for the vCPU */
  *#poll(vcpu: VirtualCpu): Steps<boolean> {
    const { hypervisor, lp, recorder } = this;
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

  /** Carries out what the policy has asked for. */
  *afterPolicy(): Steps<void> {
    const { policyHost, lps } = this.hypervisor;
    const { kicks, timers } = policyHost;
    if (kicks.length === 0 && timers.length === 0) return;
    policyHost.kicks = [];
    policyHost.timers = [];
    for (const { time, action } of timers) {
      this.lp.timers.add({ time, due: { type: "policy", action } });
    }
    for (const index of kicks) {
      const target = lps[index];
      if (target === undefined) continue;
      target.mustPick = true;
      yield* this.call(target);
    }
    yield* this.armTimer();
  }

  // ——— LPs call each other

  /** Has another LP look at what is asked of it, unless it is about to look anyway. */
  *call(target: HostLp): Steps<void> {
    if (target === this.lp || target.mode === "root" || target.isCalled) return;
    target.isCalled = true;
    yield* this.#send(target, hostVector.call);
  }
  *#send(target: HostLp, vector: number): Steps<void> {
    const apicId = this.#environment.apicIds[target.index] ?? 0;
    yield wrmsr(msr.x2apicCommand, (BigInt(apicId) << 32n) | BigInt(vector));
  }
  /** x2APIC id of this LP. */
  get apicId(): number {
    return this.#environment.apicIds[this.lp.index] ?? 0;
  }

  /** What other LPs and the clock have asked for. */
  *#attend(): Steps<void> {
    const { lp } = this;
    for (let vector = lp.taken.pop(); vector !== undefined; vector = lp.taken.pop()) {
      yield* this.took(vector);
    }
    yield* this.#clearForOthers();
    if (lp.timers.least <= this.hypervisor.now()) yield* this.#expire();
  }

  /** An interrupt has been taken, by a VM exit or out of rest. */
  *took(vector: number): Steps<void> {
    if (vector === hostVector.call) yield compute(this.#costs["ipi.latency"]);
    switch (vector) {
      case hostVector.call:
        this.lp.isCalled = false;
        return;
      case hostVector.timer:
        this.lp.armed = never;
        yield* this.#expire();
        return;
      case hostVector.device:
        for (const vcpu of this.hypervisor.setup.outside.takeRaised(this.lp.index)) {
          yield* this.interrupt(vcpu, guestVector.device, "interrupt", undefined);
        }
        return;
      case hostVector.wakeUp:
        yield* this.#wakePosted();
        return;
      default:
    }
  }

  /** Somebody has posted for a vCPU that blocked here. */
  *#wakePosted(): Steps<void> {
    yield compute(this.#costs["posted.descheduled"]);
    for (const vcpu of [...this.lp.blocked]) {
      if (yield* isOutstanding(vcpu.pages.descriptor))
        yield* this.#attract(vcpu, "interrupt", undefined);
    }
  }

  *#clearForOthers(): Steps<void> {
    const { lp } = this;
    for (let vcpu = lp.toClear.pop(); vcpu !== undefined; vcpu = lp.toClear.pop()) {
      yield vmclear(vcpu.pages.vmcs);
      if (lp.loaded === vcpu) lp.loaded = undefined;
      vcpu.isLaunched = false;
      vcpu.residence = undefined;
    }
  }

  // ——— timers

  /** Sets the local APIC's timer when the next moment is not the one it is set to. */
  *armTimer(): Steps<void> {
    const { lp, hypervisor } = this;
    const next = lp.timers.least;
    if (next === lp.armed || next === never) return;
    lp.armed = next;
    yield wrmsr(msr.tscDeadline, BigInt(Math.ceil(next + (hypervisor.origin ?? 0))));
  }

  *#expire(): Steps<void> {
    const { lp, hypervisor } = this;
    while (lp.timers.least <= hypervisor.now()) {
      const timer = lp.timers.take();
      if (timer !== undefined) yield* this.#carryOut(timer);
    }
    yield* this.armTimer();
  }

  *#carryOut({ due }: HostTimer): Steps<void> {
    switch (due.type) {
      case "end":
        yield portOut(debugExitPort, 1, 0n);
        return;
      case "policy":
        callPolicy("an action of host.at", due.action);
        yield* this.afterPolicy();
        return;
      case "guest":
        due.vcpu.timer = undefined;
        yield* this.interrupt(due.vcpu, guestVector.timer, "timer", undefined);
    }
  }

  /** Sets a vCPU's own deadline timer, here where it runs. @param time infinity: off */
  *setGuestTimer(vcpu: VirtualCpu, time: number): Steps<void> {
    const { timers } = this.lp;
    if (vcpu.timer !== undefined) timers.remove(vcpu.timer);
    vcpu.timer = time === never ? undefined : { time, due: { type: "guest", vcpu } };
    if (vcpu.timer === undefined) return;
    timers.add(vcpu.timer);
    yield* this.armTimer();
  }

  // ——— interrupts of vCPUs

  /** A vCPU gets an interrupt, wherever it is. */
  *interrupt(
    vcpu: VirtualCpu,
    vector: number,
    reason: WakeReason,
    sender: VirtualCpu | undefined,
  ): Steps<void> {
    if (vector !== guestVector.device) this.hypervisor.posts.posted(this.lp.index, vcpu, vector);
    if (!this.#posts) {
      vcpu.pending.add(vector);
      yield* this.#attract(vcpu, reason, sender);
    } else if (yield* postRequest(vcpu, vector)) {
      yield* this.#attract(vcpu, reason, sender);
    }
  }

  get #posts(): boolean {
    return this.hypervisor.setup.features.posting;
  }

  /** A sibling's hypercall ends a vCPU's HLT. */
  *kick(vcpu: VirtualCpu, sender: VirtualCpu): Steps<void> {
    vcpu.isKicked = true;
    yield* this.#attract(vcpu, "kick", sender);
  }

  *#attract(vcpu: VirtualCpu, reason: WakeReason, sender: VirtualCpu | undefined): Steps<void> {
    vcpu.hasRequest = true;
    if (vcpu.state === "blocked") {
      yield* this.wake(vcpu, reason, sender);
    } else if (vcpu.state === "running" && vcpu.lp !== undefined) {
      const target = this.hypervisor.lps[vcpu.lp];
      if (vcpu.isPolled) yield store(wakeWord(vcpu.pages), 8, 1n);
      if (target === undefined || target.mode !== "guest" || target === this.lp) return;
      if (reason === "kick" || !this.#posts) yield* this.call(target);
      else yield* this.#send(target, hostVector.posted);
    }
  }

  // ——— resting

  *#rest(): Steps<void> {
    const { lp, hypervisor } = this;
    if (lp.mustPick || lp.toClear.length > 0) return;
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
    const costs = this.#costs;
    if (rested >= costs["idle.c6-after"]) return costs["idle.c6-wake"];
    return rested >= costs["idle.c1e-after"] ? costs["idle.c1e-wake"] : costs["idle.c1-wake"];
  }

  // ——— loading a vCPU

  *#load(vcpu: VirtualCpu): Steps<void> {
    const { lp } = this;
    const from = vcpu.lp;
    vcpu.lp = lp.index;
    if (lp.loaded !== vcpu) {
      if (vcpu.residence !== undefined && vcpu.residence !== lp.index) yield* this.#takeOver(vcpu);
      yield* loadVmcs(vcpu.pages.vmcs);
      lp.loaded = vcpu;
      vcpu.residence = lp.index;
    }
    if (from !== lp.index) {
      if (from !== undefined) this.#recordMigration(vcpu, from);
      yield* writeHostContinuation(this.#environment);
      this.#moveTimer(vcpu, from);
      yield* this.armTimer();
    }
    if (vcpu.vm.usesDescriptors && (yield* activate(vcpu, this.apicId))) vcpu.hasRequest = true;
    if (vcpu.mustFlush) {
      vcpu.mustFlush = false;
      yield invvpid(singleContext, vcpu.vpid);
    }
    if (lp.pauseLoopExiting !== undefined) yield* this.#tunePauses(vcpu, lp.pauseLoopExiting);
    yield* this.#payForSwitch(vcpu, from);
  }

  /** What the policy wants of PAUSE-loop exiting, if the scenario has it at all. */
  *#tunePauses(vcpu: VirtualCpu, { gap, window }: PauseLoopExiting): Steps<void> {
    if (this.hypervisor.setup.features.pauseWindow === 0) return;
    if (vcpu.pauseGap !== gap) yield* writeField(vmcsField.pleGap, BigInt(gap));
    if (vcpu.pauseWindow !== window) yield* writeField(vmcsField.pleWindow, BigInt(window));
    vcpu.pauseGap = gap;
    vcpu.pauseWindow = window;
  }

  /** The VMCS is active on another LP: that LP has to clear it. */
  *#takeOver(vcpu: VirtualCpu): Steps<void> {
    const owner = this.hypervisor.lps[vcpu.residence ?? -1];
    if (owner === undefined) throw new HypervisorError(`vCPU ${vcpu.id} lives on no LP`);
    owner.toClear.push(vcpu);
    yield* this.call(owner);
    while (vcpu.residence !== undefined) {
      // The other may be waiting for this one.
      yield* this.#clearForOthers();
      yield compute(glance);
    }
  }

  /** The timer of a vCPU goes with it. */
  #moveTimer({ timer }: VirtualCpu, from: number | undefined): void {
    if (timer === undefined || from === undefined) return;
    if (this.hypervisor.lps[from]?.timers.remove(timer)) this.lp.timers.add(timer);
  }

  *#payForSwitch(vcpu: VirtualCpu, from: number | undefined): Steps<void> {
    const { lp } = this;
    const costs = this.#costs;
    const { warm } = lp;
    if (warm === vcpu && from === lp.index) return;
    lp.warm = vcpu;
    let cost = warm?.vm === vcpu.vm ? costs["switch.same-vm"] : costs["switch.other-vm"];
    if (from === lp.index) cost += costs["warm.same-lp"];
    else if (from !== undefined) cost += this.#warmth(from) + costs["vmx.vmcs-migration"];
    yield compute(cost);
  }
  #warmth(from: number): number {
    const where = distance(this.hypervisor.setup.topology, from, this.lp.index);
    return where === "same" ? 0 : this.#costs[`warm.${where}`];
  }

  #recordMigration(vcpu: VirtualCpu, from: number): void {
    const { lp } = this;
    const cost = this.#warmth(from) + this.#costs["vmx.vmcs-migration"];
    this.recorder.migrate(lp.decidedAt ?? this.hypervisor.now(), lp.index, vcpu.id, cost, from);
  }

  // ——— running it

  /** Until the policy is to be asked again. */
  *#runGuest(vcpu: VirtualCpu): Steps<void> {
    const { lp } = this;
    for (;;) {
      if (lp.toClear.length > 0) {
        yield* this.#clearForOthers();
      } else if (lp.mustPick || lp.current !== vcpu) {
        return;
      } else if (vcpu.hasRequest) {
        vcpu.hasRequest = false;
        yield* this.#exits.prepareInterrupt(vcpu);
      } else if (!lp.isTimerSet) {
        yield* this.#setSliceTimer();
      } else {
        yield* this.#enter(vcpu);
      }
    }
  }

  *#setSliceTimer(): Steps<void> {
    const { lp, hypervisor } = this;
    const left = lp.sliceEnd - hypervisor.now();
    if (left <= 0) {
      lp.mustPick = true;
      return;
    }
    lp.isTimerSet = true;
    const ticks = Math.min(preemptionTimerMax, Math.ceil(left / 2 ** this.#timerShift));
    yield* writeField(vmcsField.preemptionTimerValue, BigInt(ticks));
  }

  /** Nothing comes between the last look at what is asked of this LP and the VM entry. */
  *#enter(vcpu: VirtualCpu): Steps<void> {
    const { lp, hypervisor } = this;
    const now = hypervisor.now();
    this.#recordDispatch(now);
    this.#recordExit(now);
    lp.mode = "guest";
    const result = yield vcpu.isLaunched ? vmresume(vcpu.registers) : vmlaunch(vcpu.registers);
    lp.mode = "root";
    if (result !== VmxResult.Success) {
      const error = yield vmread(vmcsField.instructionError);
      throw new HypervisorError(`vCPU ${vcpu.id}: VM entry failed, instruction error ${error}`);
    }
    vcpu.isLaunched = true;
    lp.leftAt = hypervisor.now() - this.#costs["vmx.exit"];
    const reason = Number(yield vmread(vmcsField.exitReason));
    lp.exitReason = reason & 0xffff;
    if (reason === exitReason.preemptionTimer) {
      lp.mustPick = true;
      yield compute(this.#costs["dispatch.exit"]);
    } else {
      yield* this.#exits.handle(vcpu, reason);
    }
    if (!lp.mustPick && hypervisor.now() >= lp.sliceEnd) lp.mustPick = true;
  }

  #recordDispatch(now: number): void {
    const { lp } = this;
    const { current, decidedAt } = lp;
    if (decidedAt === undefined || current === undefined) return;
    lp.decidedAt = undefined;
    this.recorder.dispatch(decidedAt, lp.index, current.id, now - decidedAt);
  }

  #recordExit(now: number): void {
    const { lp } = this;
    const { leftAt, current } = lp;
    if (leftAt === undefined || current === undefined) return;
    lp.leftAt = undefined;
    this.recorder.exit(leftAt, lp.index, current.id, now - leftAt, lp.exitReason);
  }
}
