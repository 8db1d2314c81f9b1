import { load, type Steps } from "../../isa/operations.ts";
import {
  controlWord,
  hasRequests,
  notificationDestinationOf,
  notificationVectorOf,
  outstanding,
  raiseOutstanding,
  suppress,
  suppressed,
} from "../vmx/posted-interrupts.ts";
import type { LpContext } from "./context.ts";
import { changeControl, controlOf } from "./descriptor.ts";
import { sendInterrupt } from "./interrupts.ts";
import { descriptorOf, hostVector, vcpuBlock, vcpuField } from "./posting-memory.ts";
import { addToWakeList, removeFromWakeList } from "./waking.ts";

/**
 * Where notifications of a vCPU go, by what it does:
 *
 * ```
 *              NV        NDST        SN
 *   running    active    its LP      0
 *   preempted  active    the last    1     nobody needs to be told: the next entry looks at PIR
 *   asleep     wake-up   its LP      0     on the wake-up list of that LP
 * ```
 * A vCPU that only the hypervisor posts to is woken by the hypervisor: for it, nothing changes when it stops running.
 */
function* needsNotification(context: LpContext, vcpu: number): Steps<boolean> {
  if (context.ipiVirtualization) return true;
  return (yield load(vcpuBlock(vcpu) + vcpuField.devices)) !== 0n;
}

/** This LP takes up a vCPU. Interrupts are off. */
export function* notifyHere(context: LpContext, vcpu: number): Steps<void> {
  const apicId = context.apicIds[context.lp] ?? context.lp;
  const control = yield load(controlOf(vcpu));
  const isRight =
    notificationVectorOf(control) === hostVector.active &&
    notificationDestinationOf(control) === apicId;
  if (isRight && (control & suppressed) === 0n) return;
  if (!isRight) yield* removeFromWakeList(context, vcpu);
  yield* changeControl(
    vcpu,
    context.observer,
    (was) => controlWord(hostVector.active, apicId) | (was & outstanding),
  );
  // Posts that came while SN was set have left ON alone.
  if (context.bug === "sn-clear-drops-on") return;
  if (yield* hasRequests(descriptorOf(vcpu))) yield* raiseOutstanding(descriptorOf(vcpu));
}

/** This LP puts down a vCPU that could go on. */
export function* suppressNotifications(context: LpContext, vcpu: number): Steps<void> {
  if (yield* needsNotification(context, vcpu)) yield* suppress(descriptorOf(vcpu));
}

/** The vCPU goes to sleep on this LP: from now on posts wake it. Interrupts are off. */
export function* notifyAsleep(context: LpContext, vcpu: number): Steps<void> {
  if (!(yield* needsNotification(context, vcpu))) return;
  const apicId = context.apicIds[context.lp] ?? context.lp;
  yield* addToWakeList(context, vcpu);
  const control = yield* changeControl(
    vcpu,
    context.observer,
    (was) => controlWord(hostVector.wakeUp, apicId) | (was & outstanding),
  );
  // A post between the last look and now has used the active vector, which told nobody.
  if ((control & outstanding) !== 0n && context.bug !== "self-ipi-on-block") {
    yield* sendInterrupt(apicId, hostVector.wakeUp);
  }
}
