import {
  bitTestAndSet,
  exchange,
  load,
  lockedAnd,
  lockedOr,
  type Operation,
  type Steps,
  store,
  vmread,
} from "../../isa/operations.ts";
import { vmcsField } from "./architecture.ts";
import { writeField } from "./vmcs.ts";

/**
 * The posted-interrupt descriptor as software handles it ("Posted-Interrupt Descriptor"): 256 requests, then a control word of eight
 * bytes with ON, SN, the notification vector NV and the destination NDST. Posters may change it at any time, so every change here
 * is one locked operation. `descriptor` is its address.
 */

export const outstanding = 1n;
export const suppressed = 2n;
const vectorShift = 16n;
const vectorMask = 0xffn;
const destinationShift = 32n;
const controlOffset = 32n;
const all64 = 0xffff_ffff_ffff_ffffn;
/** Words of eight bytes that hold requests. */
export const requestWords = 4;

export const controlAt = (descriptor: bigint): bigint => descriptor + controlOffset;
export const controlWord = (vector: number, destination: number): bigint =>
  (BigInt(vector) << vectorShift) | (BigInt(destination) << destinationShift);
export const notificationVectorOf = (control: bigint): number =>
  Number((control >> vectorShift) & vectorMask);
export const notificationDestinationOf = (control: bigint): number =>
  Number(control >> destinationShift);

/** PIR[vector] ← 1, and ON ← 1, each as one operation. @returns what the bit was */
export const requestSetting = (descriptor: bigint, vector: number): Operation =>
  bitTestAndSet(descriptor, vector);
export const outstandingSetting = (descriptor: bigint): Operation =>
  bitTestAndSet(controlAt(descriptor), 0);

/** PIR[vector] ← 1. @returns whether it was 1 */
export function* setRequest(descriptor: bigint, vector: number): Steps<boolean> {
  return (yield requestSetting(descriptor, vector)) !== 0n;
}
/** ON ← 1. @returns whether it was 1; if not, the poster owes the notification */
export function* setOutstanding(descriptor: bigint): Steps<boolean> {
  return (yield outstandingSetting(descriptor)) !== 0n;
}
/** ON ← 1, whatever it was. */
export function* raiseOutstanding(descriptor: bigint): Steps<void> {
  yield lockedOr(controlAt(descriptor), 8, outstanding);
}
export function* clearOutstanding(descriptor: bigint): Steps<void> {
  yield lockedAnd(controlAt(descriptor), 8, all64 ^ outstanding);
}
export function* isOutstanding(descriptor: bigint): Steps<boolean> {
  return ((yield load(controlAt(descriptor))) & outstanding) !== 0n;
}
/** SN ← 1: posts go without a notification. */
export const suppressing = (descriptor: bigint): Operation =>
  lockedOr(controlAt(descriptor), 8, suppressed);
export function* suppress(descriptor: bigint): Steps<void> {
  yield suppressing(descriptor);
}

const requestWord = (descriptor: bigint, group: number): bigint => descriptor + BigInt(group * 8);

export function* hasRequests(descriptor: bigint): Steps<boolean> {
  for (let group = 0; group < requestWords; group++) {
    if ((yield load(requestWord(descriptor, group))) !== 0n) return true;
  }
  return false;
}
/** Takes 64 requests and leaves none. */
function* takeRequests(descriptor: bigint, group: number): Steps<bigint> {
  const at = requestWord(descriptor, group);
  return (yield load(at)) === 0n ? 0n : yield exchange(at, 8, 0n);
}

/** Sets of vectors in the virtual-APIC page are 32 bits every 16 bytes. */
const virtualRequests = 0x200n;
const setStride = 16n;

/** Hears of the moments between which requests are on their way. */
export interface TakingObserver {
  /** ON is 0, nothing has been taken. */
  readonly begun: () => void;
  /** Everything taken is in VIRR. */
  readonly ended: () => void;
}

/**
 * Does in software what a notification has the processor do, for the vCPU of the current VMCS: VIRR takes what is in PIR, RVI follows.
 * @param virtualApic address of its virtual-APIC page
 */
export function* takePosted(
  descriptor: bigint,
  virtualApic: bigint,
  observer?: TakingObserver,
): Steps<void> {
  yield* clearOutstanding(descriptor);
  observer?.begun();
  let highest = -1;
  for (let group = 0; group < requestWords; group++) {
    const bits = yield* takeRequests(descriptor, group);
    if (bits === 0n) continue;
    highest = group * 64 + highestOf(bits);
    yield* addRequests(virtualApic, 2 * group, bits & 0xffff_ffffn);
    yield* addRequests(virtualApic, 2 * group + 1, bits >> 32n);
  }
  observer?.ended();
  if (highest >= 0) yield* raiseRequesting(BigInt(highest));
}

/** Number of the highest bit that is set in 64. */
function highestOf(bits: bigint): number {
  const high = Number(bits >> 32n);
  return high === 0 ? 31 - Math.clz32(Number(bits & 0xffff_ffffn)) : 63 - Math.clz32(high);
}

function* addRequests(virtualApic: bigint, group: number, bits: bigint): Steps<void> {
  if (bits === 0n) return;
  const at = virtualApic + virtualRequests + BigInt(group) * setStride;
  yield store(at, 4, (yield load(at, 4)) | bits);
}

/** RVI of the current VMCS. */
function* raiseRequesting(vector: bigint): Steps<void> {
  const status = yield vmread(vmcsField.guestInterruptStatus);
  if (vector > (status & vectorMask)) {
    yield* writeField(vmcsField.guestInterruptStatus, (status & ~vectorMask) | vector);
  }
}
