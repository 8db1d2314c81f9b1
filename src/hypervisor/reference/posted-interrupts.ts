import { exchange, load, type Steps, store } from "../../isa/operations.ts";
import {
  controlAt,
  controlWord,
  hasRequests,
  notificationDestinationOf,
  notificationVectorOf,
  outstanding,
  setOutstanding,
  setRequest,
  suppressed,
} from "../vmx/posted-interrupts.ts";
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

/** Register of the virtual-APIC page. */
const virtualApicId = 0x20n;

/** Requests a vector. @returns whether the poster owes a notification */
export function* postRequest(vcpu: VirtualCpu, vector: number): Steps<boolean> {
  yield* setRequest(vcpu.pages.descriptor, vector);
  return !(yield* setOutstanding(vcpu.pages.descriptor));
}

/**
 * The same by an agent that goes by the descriptor alone, as a device's interrupt does behind interrupt remapping.
 * @returns vector and APIC id of the notification owed
 */
export function* postByDescriptor(
  vcpu: VirtualCpu,
  vector: number,
): Steps<{ readonly vector: number; readonly apicId: number } | undefined> {
  const { descriptor } = vcpu.pages;
  yield* setRequest(descriptor, vector);
  const control = yield load(controlAt(descriptor));
  if ((control & (outstanding | suppressed)) !== 0n) return undefined;
  if (yield* setOutstanding(descriptor)) return undefined;
  return {
    vector: notificationVectorOf(control),
    apicId: notificationDestinationOf(control),
  };
}

/** The vCPU runs here from now on. @returns whether something has been posted meanwhile */
export function* activate(vcpu: VirtualCpu, apicId: number): Steps<boolean> {
  const { descriptor } = vcpu.pages;
  const word = controlWord(hostVector.posted, apicId);
  // ON may be set by a post at any moment, but what this replaces only matters to posts after it.
  const control = yield exchange(controlAt(descriptor), 8, word);
  return (control & outstanding) !== 0n || (yield* hasRequests(descriptor));
}

/** The vCPU blocks here. @returns whether something was posted before it could */
export function* awaitPost(vcpu: VirtualCpu, apicId: number): Steps<boolean> {
  const word = controlWord(hostVector.wakeUp, apicId);
  const control = yield exchange(controlAt(vcpu.pages.descriptor), 8, word);
  return (control & outstanding) !== 0n;
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
  yield store(vcpu.pages.virtualApic + virtualApicId, 4, BigInt(vcpu.index));
}
