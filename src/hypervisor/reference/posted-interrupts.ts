import {
  bitTestAndSet,
  exchange,
  load,
  lockedAnd,
  lockedOr,
  type Steps,
  store,
  vmread,
} from "../../isa/operations.ts";
import { vmcsField } from "../vmx/architecture.ts";
import { writeField } from "../vmx/vmcs.ts";
import { hostVector } from "./vectors.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/**
 * The posted-interrupt descriptor of a vCPU as this hypervisor keeps it ("Posted-Interrupt Processing"):
 *
 * ```
 *   running    NV = posted    NDST = its LP                         posts reach the guest without a VM exit
 *   ready      SN = 1                                               posts wait until it runs
 *   blocked    NV = wake up   NDST = LP where it blocked            a post wakes it
 * ```
 * Whoever posts sets the request, then ON; who found ON clear owes the notification.
 */

const controlOffset = 32n;
const outstanding = 1n;
const suppressed = 2n;
const vectorShift = 16n;
const destinationShift = 32n;
const groups = 4;
const groupBytes = 8n;
const all64 = 0xffff_ffff_ffff_ffffn;
const vectorMask = 0xffn;

/** Registers in the virtual-APIC page; sets of vectors are 32 bits every 16 bytes. */
const virtualApic = { id: 0x20n, requests: 0x200n } as const;
const setStride = 16n;

const controlOf = (vcpu: VirtualCpu): bigint => vcpu.pages.descriptor + controlOffset;

/** Requests a vector. @returns whether the poster owes a notification */
export function* postRequest(vcpu: VirtualCpu, vector: number): Steps<boolean> {
  yield bitTestAndSet(vcpu.pages.descriptor, vector);
  return (yield bitTestAndSet(controlOf(vcpu), 0)) === 0n;
}

/**
 * The same by an agent that goes by the descriptor alone, as a device's interrupt does behind interrupt remapping.
 * @returns vector and APIC id of the notification owed
 */
export function* postByDescriptor(
  vcpu: VirtualCpu,
  vector: number,
): Steps<{ readonly vector: number; readonly apicId: number } | undefined> {
  yield bitTestAndSet(vcpu.pages.descriptor, vector);
  const control = yield load(controlOf(vcpu));
  if ((control & (outstanding | suppressed)) !== 0n) return undefined;
  if ((yield bitTestAndSet(controlOf(vcpu), 0)) !== 0n) return undefined;
  return {
    vector: Number((control >> vectorShift) & vectorMask),
    apicId: Number(control >> destinationShift),
  };
}

/** The vCPU runs here from now on. @returns whether something has been posted meanwhile */
export function* activate(vcpu: VirtualCpu, apicId: number): Steps<boolean> {
  const address = BigInt(apicId) << destinationShift;
  const vector = BigInt(hostVector.posted) << vectorShift;
  // ON may be set by a post at any moment, but what this replaces only matters to posts after it.
  const control = yield exchange(controlOf(vcpu), 8, address | vector);
  if ((control & outstanding) !== 0n) return true;
  for (let group = 0; group < groups; group++) {
    if ((yield load(vcpu.pages.descriptor + BigInt(group) * groupBytes)) !== 0n) return true;
  }
  return false;
}

/** The vCPU is ready and does not run. */
export function* suppress(vcpu: VirtualCpu): Steps<void> {
  yield lockedOr(controlOf(vcpu), 8, suppressed);
}

/** The vCPU blocks here. @returns whether something was posted before it could */
export function* awaitPost(vcpu: VirtualCpu, apicId: number): Steps<boolean> {
  const address = BigInt(apicId) << destinationShift;
  const vector = BigInt(hostVector.wakeUp) << vectorShift;
  const control = yield exchange(controlOf(vcpu), 8, address | vector);
  return (control & outstanding) !== 0n;
}

/** Something has been posted and not been taken. */
export function* isOutstanding(vcpu: VirtualCpu): Steps<boolean> {
  return ((yield load(controlOf(vcpu))) & outstanding) !== 0n;
}

/** What a notification has the processor do, by software, for the current VMCS: requests go to the virtual APIC. */
export function* takePosted(vcpu: VirtualCpu): Steps<void> {
  yield lockedAnd(controlOf(vcpu), 8, all64 ^ outstanding);
  let highest = -1;
  for (let group = 0; group < groups; group++) {
    const at = vcpu.pages.descriptor + BigInt(group) * groupBytes;
    if ((yield load(at)) === 0n) continue;
    const bits = yield exchange(at, 8, 0n);
    highest = group * 64 + bits.toString(2).length - 1;
    yield* addRequests(vcpu, 2 * group, bits & 0xffff_ffffn);
    yield* addRequests(vcpu, 2 * group + 1, bits >> 32n);
  }
  if (highest >= 0) yield* raiseRequesting(BigInt(highest));
}

function* addRequests(vcpu: VirtualCpu, group: number, bits: bigint): Steps<void> {
  if (bits === 0n) return;
  const at = vcpu.pages.virtualApic + virtualApic.requests + BigInt(group) * setStride;
  yield store(at, 4, (yield load(at, 4)) | bits);
}

/** RVI of the current VMCS. */
function* raiseRequesting(vector: bigint): Steps<void> {
  const status = yield vmread(vmcsField.guestInterruptStatus);
  if (vector > (status & vectorMask)) {
    yield* writeField(vmcsField.guestInterruptStatus, (status & ~vectorMask) | vector);
  }
}

/** The current VMCS's virtual APIC has an interrupt to deliver: handlers of these guests do not nest. */
export function* isRequesting(): Steps<boolean> {
  return ((yield vmread(vmcsField.guestInterruptStatus)) & vectorMask) !== 0n;
}

/** Where IPI virtualization finds a VM's descriptors: one entry for each virtual APIC id. */
export function* fillPidTable(table: bigint, vcpus: readonly VirtualCpu[]): Steps<void> {
  const valid = 1n;
  for (const vcpu of vcpus) {
    yield store(table + BigInt(vcpu.index) * 8n, 8, vcpu.pages.descriptor | valid);
  }
}

/** The identity of a vCPU's virtual APIC. */
export function* setVirtualApicId(vcpu: VirtualCpu): Steps<void> {
  yield store(vcpu.pages.virtualApic + virtualApic.id, 4, BigInt(vcpu.index));
}
