import {
  compareExchange,
  exchangeAdd,
  load,
  lockedOr,
  type Steps,
  store,
} from "../../isa/operations.ts";
import { outstanding } from "../vmx/posted-interrupts.ts";
import type { LpContext } from "./context.ts";
import { controlOf } from "./descriptor.ts";
import { sendInterrupt } from "./interrupts.ts";
import {
  hostVector,
  lpBlock,
  lpField,
  machineField,
  VcpuState,
  vcpuBlock,
  vcpuField,
} from "./posting-memory.ts";
import { lock, unlock } from "./spin-lock.ts";

/** Makes a sleeping vCPU runnable; one that does not sleep stays as it is. Only one of several wakers succeeds. */
export function* wake(context: LpContext, vcpu: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  const { Blocked, Runnable } = VcpuState;
  const state = yield compareExchange(block + vcpuField.state, 8, Blocked, Runnable);
  if (state !== Blocked) return;
  context.observer.woken(vcpu);
  yield exchangeAdd(machineField.wakeUps, 8, 1n);
  yield* enqueue(context, vcpu);
}

/** Hands a vCPU that is runnable to its home. */
export function* enqueue(context: LpContext, vcpu: number): Steps<void> {
  const home = Number(yield load(vcpuBlock(vcpu) + vcpuField.home));
  yield lockedOr(lpBlock(home) + lpField.runnable, 8, 1n << BigInt(vcpu));
  if (home !== context.lp) {
    yield* sendInterrupt(context.apicIds[home] ?? home, hostVector.reschedule);
  }
}

/** Puts a vCPU on this LP's wake-up list. Interrupts are off. */
export function* addToWakeList(context: LpContext, vcpu: number): Steps<void> {
  const lp = lpBlock(context.lp);
  const block = vcpuBlock(vcpu);
  yield* lock(lp + lpField.wakeLock);
  yield store(block + vcpuField.next, 8, yield load(lp + lpField.wakeHead));
  context.observer.listed(vcpu, context.lp);
  yield store(lp + lpField.wakeHead, 8, BigInt(vcpu + 1));
  yield store(block + vcpuField.listedOn, 8, BigInt(context.lp + 1));
  yield* unlock(lp + lpField.wakeLock);
}

/** Takes a vCPU off the list it is on, whichever LP's it is. Interrupts are off. */
export function* removeFromWakeList(context: LpContext, vcpu: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  const listedOn = yield load(block + vcpuField.listedOn);
  if (listedOn === 0n) return;
  const lp = lpBlock(Number(listedOn) - 1);
  yield* lock(lp + lpField.wakeLock);
  let link = lp + lpField.wakeHead;
  for (;;) {
    const at = yield load(link);
    if (at === 0n) break;
    const next = vcpuBlock(Number(at) - 1) + vcpuField.next;
    if (at === BigInt(vcpu + 1)) {
      context.observer.listed(vcpu, undefined);
      yield store(link, 8, yield load(next));
      break;
    }
    link = next;
  }
  yield store(block + vcpuField.listedOn, 8, 0n);
  yield* unlock(lp + lpField.wakeLock);
}

/** The wake-up vector has come: whoever sleeps on this LP's list and has been posted to is woken. */
export function* wakePosted(context: LpContext): Steps<void> {
  const lp = lpBlock(context.lp);
  yield* lock(lp + lpField.wakeLock);
  let at = yield load(lp + lpField.wakeHead);
  while (at !== 0n) {
    const vcpu = Number(at) - 1;
    if (((yield load(controlOf(vcpu))) & outstanding) !== 0n) yield* wake(context, vcpu);
    at = yield load(vcpuBlock(vcpu) + vcpuField.next);
  }
  yield* unlock(lp + lpField.wakeLock);
}
