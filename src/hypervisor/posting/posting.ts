import { bitTestAndSet, exchange, load, lockedOr, type Steps } from "../../isa/operations.ts";
import { outstandingSetting, requestSetting } from "../vmx/posted-interrupts.ts";
import type { LpContext } from "./context.ts";
import { sendInterrupt } from "./interrupts.ts";
import type { PostSource } from "./observer.ts";
import {
  descriptorOf,
  hostVector,
  lpBlock,
  lpField,
  request,
  vcpuBlock,
  vcpuField,
} from "./posting-memory.ts";
import { wake } from "./waking.ts";

const inGuest = 1n;

/** A post by the hypervisor. The target is told by the active vector while it is in its guest, and woken otherwise. */
export function* post(
  context: LpContext,
  vcpu: number,
  vector: number,
  from: PostSource,
): Steps<void> {
  context.observer.posting(vcpu, vector, from);
  const descriptor = descriptorOf(vcpu);
  if ((yield requestSetting(descriptor, vector)) === 0n) {
    if ((yield outstandingSetting(descriptor)) === 0n) yield* tell(context, vcpu);
  }
  context.observer.posted(vcpu, from);
}

/** @returns whether an interrupt was sent */
function* tell(context: LpContext, vcpu: number): Steps<boolean> {
  const block = vcpuBlock(vcpu);
  if ((yield load(block + vcpuField.mode)) !== inGuest) {
    yield* wake(context, vcpu);
    return false;
  }
  const held = Number(yield load(block + vcpuField.held));
  if (held === 0 || held === context.lp + 1) return false;
  return yield* kick(context, held - 1);
}

function* kick(context: LpContext, lp: number): Steps<boolean> {
  if (context.bug === "softirq-suppressed") {
    const kicked = yield exchange(lpBlock(lp) + lpField.kicked, 8, 1n);
    if (kicked !== 0n) return false;
  }
  yield* sendInterrupt(context.apicIds[lp] ?? lp, hostVector.active);
  return true;
}

/**
 * A vector handed over with a request, for the target itself to post: first the vector, then the request, and only then the
 * look at where the target is. The target says that it is in its guest before it looks for requests; so one of the two sees
 * the other.
 */
export function* postByRequest(context: LpContext, vcpu: number, vector: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  yield bitTestAndSet(block + vcpuField.vectors, vector);
  if (context.bug === "nested-pi-order") {
    const kicked = yield* tell(context, vcpu);
    yield* raiseRequest(context, vcpu);
    context.observer.requested(vcpu, kicked);
    return;
  }
  yield* raiseRequest(context, vcpu);
  const kicked = yield* tell(context, vcpu);
  context.observer.requested(vcpu, kicked);
}

function* raiseRequest(context: LpContext, vcpu: number): Steps<void> {
  context.observer.requesting(vcpu);
  yield lockedOr(vcpuBlock(vcpu) + vcpuField.request, 8, request.interrupts);
}
