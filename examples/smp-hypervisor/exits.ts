import {
  al,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  type Label,
  mem,
  mem64,
  r14,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import { blockingByStiOrMovSs, exitReason, exitReasons, vmcs } from "./architecture.ts";
import { guestConsolePort, vector, virtualProcessor } from "./memory.ts";
import type { Program } from "./program.ts";

/** What happens on each kind of VM exit. A handler returns 0 in EAX to go on with the guest. */

/** CPUID leaves from here on are left to hypervisors. */
const hypervisorLeaf = 0x40000000;
/** Twelve characters, told in EBX, ECX and EDX. */
const signature = "vmxonExample";
const cpuidFeatures = 1;
const cpuidHasVmx = 1 << 5;

const vcpuField = (name: keyof typeof virtualProcessor) =>
  mem64(r14, { disp: virtualProcessor[name] });

export function emitExits(program: Program): void {
  const { asm, at } = program;
  const handlers = new Map([
    [exitReason.externalInterrupt as number, emitExternalInterrupt(program)],
    [exitReason.interruptWindow, emitInterruptWindow(program)],
    [exitReason.cpuid, emitCpuid(program)],
    [exitReason.hlt, emitHlt(program)],
    [exitReason.vmcall, at.handle_hypercall],
    [exitReason.io, emitIo(program)],
    [exitReason.eptViolation, emitEptViolation(program)],
  ]);
  emitSkipInstruction(program);
  asm.align(8);
  asm.here(at.exit_handlers);
  for (let reason = 0; reason < exitReasons; reason++) {
    asm.u64(handlers.get(reason) ?? at.unexpected_exit);
  }
}

/**
 * Interrupts belong to the host. As the exit has acknowledged this one, its vector is told here and it is in service;
 * all that IPIs say is "look at your record", which happens before the next entry anyway.
 */
function emitExternalInterrupt({ asm, at }: Program): Label {
  const spurious = asm.label("handle_external_interrupt.spurious");

  const handler = asm.here("handle_external_interrupt");
  asm.mov(edx, vmcs.exitInterruptionInfo);
  asm.vmread(rax, rdx);
  asm.cmp(al, vector.spurious);
  asm.je(spurious);
  asm.call(at.end_of_interrupt);
  asm.here(spurious);
  asm.xor(eax, eax);
  asm.ret();
  return handler;
}

/** The guest has become able to take interrupts; the next entry injects one. */
function emitInterruptWindow({ asm, at }: Program): Label {
  const handler = asm.here("handle_interrupt_window");
  asm.xor(edi, edi);
  asm.call(at.set_interrupt_window);
  asm.xor(eax, eax);
  asm.ret();
  return handler;
}

/** CPUID always exits. The guest sees the real processor without VMX, and whom it has to do with. */
function emitCpuid({ asm, at }: Program): Label {
  const native = asm.label("handle_cpuid.native");
  const store = asm.label("handle_cpuid.store");
  const word = (index: number) => Buffer.from(signature, "latin1").readUInt32LE(4 * index);

  const handler = asm.here("handle_cpuid");
  asm.push(rbx);
  asm.mov(rax, vcpuField("rax"));
  asm.mov(rcx, vcpuField("rcx"));
  asm.cmp(eax, hypervisorLeaf);
  asm.jne(native);
  asm.mov(ebx, word(0));
  asm.mov(ecx, word(1));
  asm.mov(edx, word(2));
  asm.jmp(store);
  asm.here(native);
  asm.mov(esi, eax);
  asm.cpuid();
  asm.cmp(esi, cpuidFeatures);
  asm.jne(store);
  asm.and(ecx, ~cpuidHasVmx);
  asm.here(store);
  asm.mov(vcpuField("rax"), rax);
  asm.mov(vcpuField("rbx"), rbx);
  asm.mov(vcpuField("rcx"), rcx);
  asm.mov(vcpuField("rdx"), rdx);
  asm.pop(rbx);
  asm.jmp(at.skip_instruction);
  return handler;
}

/** The guest sleeps until an interrupt comes; see `run_vcpu`. */
function emitHlt({ asm, at }: Program): Label {
  const handler = asm.here("handle_hlt");
  asm.mov(vcpuField("halted"), 1);
  asm.jmp(at.skip_instruction);
  return handler;
}

/** The only port the guest has is its console: OUT DX, AL. */
function emitIo({ asm, at, text }: Program): Label {
  const foreign = asm.label("handle_io.foreign");
  // Bits 2:0 size minus one, 3 direction, 4 string, 5 REP, 6 immediate, 31:16 port.
  const consoleOutput = guestConsolePort << 16;

  const handler = asm.here("handle_io");
  asm.mov(edx, vmcs.exitQualification);
  asm.vmread(rsi, rdx);
  asm.cmp(rsi, consoleOutput);
  asm.jne(foreign);
  asm.mov(rax, vcpuField("rax"));
  asm.call(at.guest_character);
  asm.jmp(at.skip_instruction);
  asm.here(foreign);
  asm.lea(rdi, mem(text("the guest used a port it does not have, qualification")));
  asm.jmp(at.fatal);
  return handler;
}

/** The access is made again after this, so nothing is skipped. */
function emitEptViolation({ asm, at }: Program): Label {
  const handler = asm.here("handle_ept_violation");
  asm.mov(edx, vmcs.guestPhysicalAddress);
  asm.vmread(rdi, rdx);
  asm.call(at.map_on_demand);
  asm.xor(eax, eax);
  asm.ret();
  return handler;
}

/** Emulated instructions are stepped over by hand, and like any instruction they end the blocking by STI and MOV SS. */
function emitSkipInstruction({ asm, at }: Program): void {
  const unblocked = asm.label("skip_instruction.unblocked");

  asm.here(at.skip_instruction);
  asm.mov(edx, vmcs.exitInstructionLength);
  asm.vmread(rcx, rdx);
  asm.mov(edx, vmcs.guestRip);
  asm.vmread(rax, rdx);
  asm.add(rax, rcx);
  asm.vmwrite(rdx, rax);
  asm.jbe(at.vmx_failed);
  asm.mov(edx, vmcs.guestInterruptibility);
  asm.vmread(rax, rdx);
  asm.test(eax, blockingByStiOrMovSs);
  asm.jz(unblocked);
  asm.and(eax, ~blockingByStiOrMovSs);
  asm.vmwrite(rdx, rax);
  asm.jbe(at.vmx_failed);
  asm.here(unblocked);
  asm.xor(eax, eax);
  asm.ret();
}
