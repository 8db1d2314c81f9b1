import {
  ax,
  eax,
  ecx,
  edx,
  esi,
  mem,
  mem64,
  r8,
  r9,
  r10,
  r11,
  r12,
  r13,
  r14,
  r15,
  rax,
  rbp,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
} from "../../src/isa/assembler-operands.ts";
import { exitReasons, interruptionValid, vmcs } from "./architecture.ts";
import { virtualProcessor } from "./memory.ts";
import type { Program } from "./program.ts";

/** The loop that every hypervisor has: enter the guest, look why it came back, serve it, enter again. */

const entryFailure = 0x80000000;

/** Guest registers by their place in the vCPU's record. RSP is in the VMCS. RDI is last, as it holds the record's address. */
const guestRegisters = [
  [rax, "rax"],
  [rcx, "rcx"],
  [rdx, "rdx"],
  [rbx, "rbx"],
  [rbp, "rbp"],
  [rsi, "rsi"],
  [r8, "r8"],
  [r9, "r9"],
  [r10, "r10"],
  [r11, "r11"],
  [r12, "r12"],
  [r13, "r13"],
  [r14, "r14"],
  [r15, "r15"],
] as const;
/** What a routine must preserve. */
const savedRegisters = [rbx, rbp, r12, r13, r14, r15];

export function emitExecution(program: Program): void {
  emitRunVcpu(program);
  emitEnterGuest(program);
}

function emitRunVcpu({ asm, at, text }: Program): void {
  const vcpuField = (name: keyof typeof virtualProcessor) =>
    mem64(r14, { disp: virtualProcessor[name] });
  const again = asm.label("run_vcpu.again");
  const awake = asm.label("run_vcpu.awake");
  const wake = asm.label("run_vcpu.wake");
  const stop = asm.label("run_vcpu.stop");
  const entered = asm.label("run_vcpu.entered");
  const undisturbed = asm.label("run_vcpu.undisturbed");

  asm.here(at.run_vcpu);
  asm.here(again);
  asm.call(at.release_if_requested);
  asm.test(eax, eax);
  asm.jnz(stop);
  asm.cmp(vcpuField("halted"), 0);
  asm.je(awake);
  asm.cmp(vcpuField("pendingInterrupts"), 0);
  asm.jne(wake);
  // The guest sleeps, so we do. An IPI that came after the look above is still pending: STI takes effect after HLT has
  // begun, so it cannot slip through in between.
  asm.sti();
  asm.hlt();
  asm.cli();
  asm.jmp(again);
  asm.here(wake);
  asm.mov(vcpuField("halted"), 0);
  asm.here(awake);
  asm.call(at.inject_pending);
  asm.mov(rdi, r14);
  asm.call(at.enter_guest);

  asm.mov(edx, vmcs.exitReason);
  asm.vmread(rax, rdx);
  asm.test(eax, entryFailure);
  asm.jz(entered);
  asm.movzx(esi, ax);
  asm.lea(rdi, mem(text("VM entry failed, exit reason")));
  asm.jmp(at.fatal);
  asm.here(entered);
  asm.mov(edx, vmcs.idtVectoringInfo);
  asm.vmread(rcx, rdx);
  asm.test(ecx, interruptionValid);
  asm.jz(undisturbed);
  asm.mov(esi, ecx);
  asm.lea(rdi, mem(text("a VM exit interrupted the delivery of an event:")));
  asm.jmp(at.fatal);
  asm.here(undisturbed);
  asm.cmp(eax, exitReasons);
  asm.jae(at.unexpected_exit);
  asm.lea(rcx, mem(at.exit_handlers));
  asm.call(mem64(rcx, { index: rax, scale: 8 }));
  asm.test(eax, eax);
  asm.jz(again);
  asm.here(stop);
  asm.ret();
  asm.here(at.unexpected_exit);
  asm.mov(esi, eax);
  asm.lea(rdi, mem(text("unexpected VM exit, reason")));
  asm.jmp(at.fatal);
}

/**
 * A VM exit loads RSP and RIP from the VMCS and leaves the other registers as the guest had them. HOST_RSP is set to
 * this routine's stack, whose top holds the address of the vCPU's record: that is enough to save the guest's registers
 * and to return to the caller as if from a call.
 */
function emitEnterGuest({ asm, at }: Program): void {
  const resume = asm.label("enter_guest.resume");
  const failed = asm.label("enter_guest.failed");

  asm.here(at.enter_guest);
  for (const register of savedRegisters) {
    asm.push(register);
  }
  asm.push(rdi);
  asm.mov(edx, vmcs.hostRsp);
  asm.vmwrite(rdx, rsp);
  asm.jbe(failed);
  // MOV leaves the flags alone.
  asm.cmp(mem64(rdi, { disp: virtualProcessor.launched }), 0);
  for (const [register, name] of guestRegisters) {
    asm.mov(register, mem64(rdi, { disp: virtualProcessor[name] }));
  }
  asm.jne(resume);
  // VMLAUNCH wants a VMCS that has been cleared, VMRESUME one that has been launched.
  asm.mov(mem64(rdi, { disp: virtualProcessor.launched }), 1);
  asm.mov(rdi, mem64(rdi, { disp: virtualProcessor.rdi }));
  asm.vmlaunch();
  asm.jmp(failed);
  asm.here(resume);
  asm.mov(rdi, mem64(rdi, { disp: virtualProcessor.rdi }));
  asm.vmresume();

  // Only a failed VM entry comes past here. The flags say how; POP keeps them.
  asm.here(failed);
  asm.pop(rdi);
  for (const register of savedRegisters.toReversed()) {
    asm.pop(register);
  }
  asm.jmp(at.vmx_failed);

  asm.here(at.vm_exit);
  asm.xchg(mem64(rsp), rdi);
  for (const [register, name] of guestRegisters) {
    asm.mov(mem64(rdi, { disp: virtualProcessor[name] }), register);
  }
  asm.pop(rax);
  asm.mov(mem64(rdi, { disp: virtualProcessor.rdi }), rax);
  for (const register of savedRegisters.toReversed()) {
    asm.pop(register);
  }
  asm.ret();
}
