import { load, type Steps, vmread } from "../../isa/operations.ts";
import { vmcsField } from "../vmx/architecture.ts";
import { isOutstanding, takePosted } from "../vmx/posted-interrupts.ts";
import type { LpContext } from "./context.ts";
import { descriptorOf, virtualApicOf } from "./posting-memory.ts";

const processorPriority = 0xa0n;
const classMask = 0xf0n;

/** Does in software what a notification has the processor do: VIRR takes what is in PIR, if ON says that there is something. */
export function* synchronize({ observer }: LpContext, vcpu: number): Steps<void> {
  if (!(yield* isOutstanding(descriptorOf(vcpu)))) return;
  yield* takePosted(descriptorOf(vcpu), virtualApicOf(vcpu), {
    begun: () => observer.synchronizing(vcpu),
    ended: () => observer.synchronized(vcpu),
  });
}

/** The guest of the current VMCS would be interrupted if it were entered with interrupts on. */
export function* hasDeliverable(vcpu: number): Steps<boolean> {
  const status = yield vmread(vmcsField.guestInterruptStatus);
  const priority = yield load(virtualApicOf(vcpu) + processorPriority, 4);
  return (status & classMask) > (priority & classMask);
}
