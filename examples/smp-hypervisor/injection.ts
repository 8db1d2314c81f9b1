import { eax, edi, edx, mem64, r14, rax, rdx } from "../../src/isa/assembler-operands.ts";
import {
  blockingByStiOrMovSs,
  interruptionValid,
  primaryControl,
  rflagsInterruptEnable,
  vmcs,
} from "./architecture.ts";
import { guestVector, virtualProcessor } from "./memory.ts";
import type { Program } from "./program.ts";

/** Giving the guest an interrupt: now if it can take one, else as soon as it can. */

const vcpuField = (name: keyof typeof virtualProcessor) =>
  mem64(r14, { disp: virtualProcessor[name] });

export function emitInjection(program: Program): void {
  emitInjectPending(program);
  emitSetInterruptWindow(program);
}

/**
 * VM entry delivers what the interruption-information field says through the guest's own IDT, but refuses to do so
 * while the guest has interrupts off or blocked. Then we ask for an exit at the moment this ends: the interrupt window.
 */
function emitInjectPending({ asm, at }: Program): void {
  const nothing = asm.label("inject_pending.nothing");
  const window = asm.label("inject_pending.window");

  asm.here(at.inject_pending);
  asm.cmp(vcpuField("pendingInterrupts"), 0);
  asm.je(nothing);
  asm.mov(edx, vmcs.guestRflags);
  asm.vmread(rax, rdx);
  asm.test(eax, rflagsInterruptEnable);
  asm.jz(window);
  asm.mov(edx, vmcs.guestInterruptibility);
  asm.vmread(rax, rdx);
  asm.test(eax, blockingByStiOrMovSs);
  asm.jnz(window);
  asm.mov(edx, vmcs.entryInterruptionInfo);
  asm.mov(eax, interruptionValid | guestVector);
  asm.vmwrite(rdx, rax);
  asm.jbe(at.vmx_failed);
  asm.inc(vcpuField("interruptsInjected"));
  // Other processors add to the count while we take from it.
  asm.lock.dec(vcpuField("pendingInterrupts"));
  asm.jnz(window);
  asm.here(nothing);
  asm.ret();
  asm.here(window);
  asm.mov(edi, 1);
  asm.jmp(at.set_interrupt_window);
}

function emitSetInterruptWindow({ asm, at }: Program): void {
  const unchanged = asm.label("set_interrupt_window.unchanged");
  const off = asm.label("set_interrupt_window.off");

  asm.here(at.set_interrupt_window);
  asm.mov(rax, vcpuField("primaryControls"));
  asm.and(eax, ~primaryControl.interruptWindowExiting);
  asm.test(edi, edi);
  asm.jz(off);
  asm.or(eax, primaryControl.interruptWindowExiting);
  asm.here(off);
  asm.cmp(rax, vcpuField("primaryControls"));
  asm.je(unchanged);
  asm.mov(vcpuField("primaryControls"), rax);
  asm.mov(edx, vmcs.primaryControls);
  asm.vmwrite(rdx, rax);
  asm.jbe(at.vmx_failed);
  asm.here(unchanged);
  asm.ret();
}
