import {
  bitTestAndSet,
  compareExchange,
  exchange,
  load,
  lockedAnd,
  lockedOr,
  type Steps,
} from "../../isa/operations.ts";
import type { PostingObserver } from "./observer.ts";
import { descriptorOf } from "./posting-memory.ts";

/** The control word of a posted-interrupt descriptor: its bits 319:256 as one word. */
export const outstanding = 1n;
export const suppressed = 2n;
const vectorShift = 16n;
const destinationShift = 32n;
const vectorMask = 0xffn << vectorShift;

export const controlOf = (vcpu: number): bigint => descriptorOf(vcpu) + 32n;
/** Words of eight bytes that hold requests. */
export const requestWords = 4;
export const requestWord = (vcpu: number, group: number): bigint =>
  descriptorOf(vcpu) + BigInt(group * 8);

export const notificationVectorOf = (control: bigint): number =>
  Number((control & vectorMask) >> vectorShift);
export const notificationDestinationOf = (control: bigint): number =>
  Number(control >> destinationShift);
export const controlWord = (vector: number, destination: number): bigint =>
  (BigInt(vector) << vectorShift) | (BigInt(destination) << destinationShift);

/** PIR[vector] ← 1. @returns whether it was 1 */
export function* setRequest(vcpu: number, vector: number): Steps<boolean> {
  return (yield bitTestAndSet(descriptorOf(vcpu), vector)) !== 0n;
}

/** ON ← 1. @returns whether it was 1 */
export function* setOutstanding(vcpu: number): Steps<boolean> {
  return (yield bitTestAndSet(controlOf(vcpu), 0)) !== 0n;
}
export function* raiseOutstanding(vcpu: number): Steps<void> {
  yield lockedOr(controlOf(vcpu), 8, outstanding);
}
export function* clearOutstanding(vcpu: number): Steps<void> {
  yield lockedAnd(controlOf(vcpu), 8, ~outstanding & 0xffff_ffff_ffff_ffffn);
}
export function* suppress(vcpu: number): Steps<void> {
  yield lockedOr(controlOf(vcpu), 8, suppressed);
}

/**
 * Changes the control word as a whole while others change its bits.
 * @param change must keep ON. @returns the new word
 */
export function* changeControl(
  vcpu: number,
  observer: PostingObserver,
  change: (was: bigint) => bigint,
): Steps<bigint> {
  const at = controlOf(vcpu);
  let seen = yield load(at);
  for (;;) {
    const next = change(seen);
    observer.controlChanging(vcpu, seen, next);
    const found = yield compareExchange(at, 8, seen, next);
    if (found === seen) return next;
    seen = found;
  }
}

export function* hasRequests(vcpu: number): Steps<boolean> {
  for (let group = 0; group < requestWords; group++) {
    if ((yield load(requestWord(vcpu, group))) !== 0n) return true;
  }
  return false;
}

/** Takes 64 requests and leaves none. */
export function* takeRequests(vcpu: number, group: number): Steps<bigint> {
  const at = requestWord(vcpu, group);
  return (yield load(at)) === 0n ? 0n : yield exchange(at, 8, 0n);
}
