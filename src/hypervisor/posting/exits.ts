import { type Steps, vmread } from "../../isa/operations.ts";
import { exitReason, msr, primary, vmcsField } from "../vmx/architecture.ts";
import { skipInstruction, writeField } from "../vmx/vmcs.ts";
import { HypervisorError } from "../vmx/vmx-operation.ts";
import type { LpContext } from "./context.ts";
import { endLine } from "./interrupt-lines.ts";
import { endOfInterrupt } from "./interrupts.ts";
import { post } from "./posting.ts";
import { hostVector } from "./posting-memory.ts";
import { clearAsked } from "./residency.ts";
import { wakePosted } from "./waking.ts";

const Rax = 0;
const Rcx = 1;
const Rdx = 2;
const vectorMask = 0xffn;
/** VMCALL: RAX says what is wanted. */
export const guestCall = { nothing: 0n, interruptWindow: 1n } as const;

/** What the VM exit asks for. The vCPU's VMCS is current. */
export function* handleExit(
  context: LpContext,
  vcpu: number,
  reason: number,
): Steps<"goes on" | "halted"> {
  switch (reason) {
    case exitReason.externalInterrupt: {
      const information = yield vmread(vmcsField.exitInterruptionInformation);
      yield* handleInterrupt(context, Number(information & vectorMask));
      return "goes on";
    }
    case exitReason.hlt:
      yield* skipInstruction();
      return "halted";
    case exitReason.wrmsr:
      yield* writeMsr(context, vcpu);
      break;
    case exitReason.vmcall:
      if (context.registers[vcpu]?.[Rax] === guestCall.interruptWindow) {
        yield* setInterruptWindow(true);
      }
      break;
    case exitReason.interruptWindow:
      yield* setInterruptWindow(false);
      return "goes on";
    case exitReason.virtualizedEoi: {
      const vector = Number((yield vmread(vmcsField.exitQualification)) & vectorMask);
      yield* endLine(context, vector);
      return "goes on";
    }
    case exitReason.cpuid:
      break;
    default:
      throw new HypervisorError(`vCPU ${vcpu} has left its guest for reason ${reason}`);
  }
  yield* skipInstruction();
  return "goes on";
}

/** An interrupt of the host, by the IDT or by a VM exit that has acknowledged it. */
export function* handleInterrupt(context: LpContext, vector: number): Steps<void> {
  if (vector === hostVector.active) context.observer.swallowed(context.lp);
  yield* endOfInterrupt();
  switch (vector) {
    case hostVector.reschedule:
      context.rescheduled = true;
      return;
    case hostVector.wakeUp:
      context.rescheduled = true;
      yield* wakePosted(context);
      return;
    case hostVector.clearVmcs:
      yield* clearAsked(context);
      return;
    case hostVector.active:
      // Whoever it was for looks at its descriptor before it enters its guest or sleeps.
      return;
    default:
      throw new HypervisorError(`LP ${context.lp}: interrupt 0x${vector.toString(16)}`);
  }
}

/** The guest's interrupt command, where the processor does not virtualize it. */
function* writeMsr(context: LpContext, vcpu: number): Steps<void> {
  const registers = context.registers[vcpu];
  const index = Number((registers?.[Rcx] ?? 0n) & 0xffff_ffffn);
  if (index !== msr.x2apicCommand) {
    throw new HypervisorError(`vCPU ${vcpu} writes MSR 0x${index.toString(16)}`);
  }
  const target = Number((registers?.[Rdx] ?? 0n) & 0xffff_ffffn);
  const vector = Number((registers?.[Rax] ?? 0n) & vectorMask);
  yield* post(context, target, vector, "guest");
}

/** While the control is on, no virtual interrupt is recognized: the first moment at which one could come is an exit. */
function* setInterruptWindow(on: boolean): Steps<void> {
  const bit = BigInt(primary.interruptWindowExiting);
  const word = yield vmread(vmcsField.primaryControls);
  yield* writeField(vmcsField.primaryControls, on ? word | bit : word & ~bit);
}
