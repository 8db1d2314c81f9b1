import {
  bitTestAndReset,
  cli,
  compareExchange,
  compute,
  exchange,
  hlt,
  load,
  pause,
  type Script,
  type Steps,
  sti,
  store,
  vmlaunch,
  vmread,
  vmresume,
} from "../../isa/operations.ts";
import { vmcsField } from "../vmx/architecture.ts";
import { HypervisorError } from "../vmx/vmx-operation.ts";
import type { LpContext } from "./context.ts";
import { handleExit } from "./exits.ts";
import { notifyAsleep, notifyHere, suppressNotifications } from "./notification.ts";
import { lpBlock, lpField, VcpuState, vcpuBlock, vcpuField } from "./posting-memory.ts";
import { handleRequests } from "./requests.ts";
import { takeVmcs } from "./residency.ts";
import { hasDeliverable, synchronize } from "./synchronize.ts";
import { enqueue } from "./waking.ts";

/** Why an LP leaves a vCPU alone. */
type Leaving = "halted" | "preempted";

const outside = 0n;
const inGuest = 1n;

/** What an LP does for ever: takes a runnable vCPU, runs it until it halts or something else is to be run, sleeps when there is none. */
export function* runVcpus(context: LpContext): Script {
  for (;;) {
    const vcpu = yield* pick(context);
    if (yield* isHere(context, vcpu)) yield* run(context, vcpu);
    else yield* enqueue(context, vcpu);
  }
}

/** The next runnable one, in turns. Interrupts are off before and after. */
function* pick(context: LpContext): Steps<number> {
  const word = lpBlock(context.lp) + lpField.runnable;
  for (;;) {
    const runnable = yield load(word);
    if (runnable === 0n) {
      yield sti();
      yield hlt();
      yield cli();
      continue;
    }
    const vcpu = nextBit(runnable, context.lastPicked, context.vcpus);
    if ((yield bitTestAndReset(word, vcpu)) === 0n) continue;
    context.lastPicked = vcpu;
    return vcpu;
  }
}

function nextBit(bits: bigint, after: number, count: number): number {
  for (let n = 1; n <= count; n++) {
    const bit = (after + n) % count;
    if (((bits >> BigInt(bit)) & 1n) !== 0n) return bit;
  }
  throw new HypervisorError(`runnable vCPUs 0x${bits.toString(16)}: there are ${count}`);
}

function* isHere({ lp }: LpContext, vcpu: number): Steps<boolean> {
  return Number(yield load(vcpuBlock(vcpu) + vcpuField.home)) === lp;
}

function* run(context: LpContext, vcpu: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  // Woken while its last LP is still putting it down.
  while ((yield load(block + vcpuField.held)) !== 0n) {
    yield sti();
    yield pause();
    yield cli();
  }
  yield store(block + vcpuField.held, 8, BigInt(context.lp + 1));
  yield exchange(block + vcpuField.state, 8, VcpuState.Running);
  yield* takeVmcs(context, vcpu);
  yield* notifyHere(context, vcpu);
  context.observer.loaded(vcpu, context.lp);
  for (;;) {
    const leaving = yield* runGuest(context, vcpu);
    if (leaving === "preempted") return yield* preempt(context, vcpu);
    if (yield* sleep(context, vcpu)) return;
  }
}

/** In and out of the guest until it halts, or this LP is to do something else. */
function* runGuest(context: LpContext, vcpu: number): Steps<Leaving> {
  const block = vcpuBlock(vcpu);
  for (;;) {
    // First say that interrupts should come to the guest, then look for what has come before: nothing slips between.
    yield exchange(block + vcpuField.mode, 8, inGuest);
    yield* synchronize(context, vcpu);
    if ((yield load(block + vcpuField.request)) !== 0n) {
      yield exchange(block + vcpuField.mode, 8, outside);
      yield* handleRequests(context, vcpu);
      continue;
    }
    yield* enter(context, vcpu);
    yield store(block + vcpuField.mode, 8, outside);
    if (context.bug === "softirq-suppressed") {
      yield store(lpBlock(context.lp) + lpField.kicked, 8, 0n);
    }
    const reason = Number((yield vmread(vmcsField.exitReason)) & 0xffffn);
    if ((yield* handleExit(context, vcpu, reason)) === "halted") return "halted";
    // Now and then, what waits is taken here; else it waits for the next entry.
    if (context.environment.random.below(4) === 0) {
      yield sti();
      yield pause();
      yield cli();
    }
    if (context.rescheduled && (yield* mustLeave(context, vcpu))) return "preempted";
  }
}

function* enter(context: LpContext, vcpu: number): Steps<void> {
  const registers = context.registers[vcpu];
  const isLaunched = context.launched.has(vcpu);
  context.launched.add(vcpu);
  context.observer.entering(vcpu, context.lp);
  const result = yield isLaunched ? vmresume(registers) : vmlaunch(registers);
  context.observer.left(vcpu, context.lp);
  if (result !== 0n) {
    const error = yield vmread(vmcsField.instructionError);
    throw new HypervisorError(`LP ${context.lp} cannot enter vCPU ${vcpu}: error ${error}`);
  }
}

function* mustLeave(context: LpContext, vcpu: number): Steps<boolean> {
  context.rescheduled = false;
  const lp = lpBlock(context.lp);
  if ((yield load(lp + lpField.preempt)) !== 0n) return true;
  if ((yield load(lp + lpField.runnable)) !== 0n) return true;
  return !(yield* isHere(context, vcpu));
}

/** The vCPU could go on, but not here or not now. */
function* preempt(context: LpContext, vcpu: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  yield* suppressNotifications(context, vcpu);
  yield exchange(block + vcpuField.state, 8, VcpuState.Runnable);
  context.observer.unloaded(vcpu, context.lp, false);
  yield store(block + vcpuField.held, 8, 0n);
  const cycles = yield exchange(lpBlock(context.lp) + lpField.preempt, 8, 0n);
  if (cycles !== 0n) yield compute(Number(cycles));
  yield* enqueue(context, vcpu);
}

/**
 * The guest has halted. First it counts as asleep, then comes the last look: whoever posts after that look finds it asleep
 * and wakes it.
 * @returns false when there is something for it after all
 */
export function* sleep(context: LpContext, vcpu: number): Steps<boolean> {
  const block = vcpuBlock(vcpu);
  const { Blocked, Running } = VcpuState;
  yield exchange(block + vcpuField.state, 8, Blocked);
  yield* synchronize(context, vcpu);
  const isCalled = (yield load(block + vcpuField.request)) !== 0n || (yield* hasDeliverable(vcpu));
  if (isCalled) {
    const state = yield compareExchange(block + vcpuField.state, 8, Blocked, Running);
    if (state === Blocked) return false;
    context.observer.unloaded(vcpu, context.lp, false);
  } else {
    yield* notifyAsleep(context, vcpu);
    context.observer.unloaded(vcpu, context.lp, true);
  }
  yield store(block + vcpuField.held, 8, 0n);
  return true;
}
