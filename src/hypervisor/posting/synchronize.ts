import { load, type Steps, store, vmread } from "../../isa/operations.ts";
import { vmcsField } from "../vmx/architecture.ts";
import { writeField } from "../vmx/vmcs.ts";
import type { LpContext } from "./context.ts";
import {
  clearOutstanding,
  controlOf,
  outstanding,
  requestWords,
  takeRequests,
} from "./descriptor.ts";
import { virtualApicOf } from "./posting-memory.ts";

/** Offsets in the virtual-APIC page; sets of vectors are 32 bits every 16 bytes. */
const apicOffset = { processorPriority: 0xa0n, interruptRequest: 0x200n } as const;
const setStride = 16n;
const classMask = 0xf0n;
const vectorMask = 0xffn;

/** Does in software what a notification has the processor do: VIRR takes what is in PIR, if ON says that there is something. */
export function* synchronize(context: LpContext, vcpu: number): Steps<void> {
  if (((yield load(controlOf(vcpu))) & outstanding) === 0n) return;
  yield* clearOutstanding(vcpu);
  context.observer.synchronizing(vcpu);
  let highest = -1;
  for (let group = 0; group < requestWords; group++) {
    const bits = yield* takeRequests(vcpu, group);
    if (bits === 0n) continue;
    highest = group * 64 + bits.toString(2).length - 1;
    yield* addRequests(vcpu, 2 * group, bits & 0xffff_ffffn);
    yield* addRequests(vcpu, 2 * group + 1, bits >> 32n);
  }
  context.observer.synchronized(vcpu);
  if (highest >= 0) yield* raiseRequesting(BigInt(highest));
}

function* addRequests(vcpu: number, group: number, bits: bigint): Steps<void> {
  if (bits === 0n) return;
  const at = virtualApicOf(vcpu) + apicOffset.interruptRequest + BigInt(group) * setStride;
  yield store(at, 4, (yield load(at, 4)) | bits);
}

/** RVI of the current VMCS. */
function* raiseRequesting(vector: bigint): Steps<void> {
  const status = yield vmread(vmcsField.guestInterruptStatus);
  if (vector > (status & vectorMask)) {
    yield* writeField(vmcsField.guestInterruptStatus, (status & ~vectorMask) | vector);
  }
}

/** The guest of the current VMCS would be interrupted if it were entered with interrupts on. */
export function* hasDeliverable(vcpu: number): Steps<boolean> {
  const status = yield vmread(vmcsField.guestInterruptStatus);
  const priority = yield load(virtualApicOf(vcpu) + apicOffset.processorPriority, 4);
  return (status & classMask) > (priority & classMask);
}
