import {
  eax,
  ecx,
  edi,
  edx,
  esi,
  mem,
  mem32,
  mem64,
  mem128,
  r14,
  r15,
  rcx,
  rdi,
  rdx,
  rsp,
} from "../../src/isa/assembler-operands.ts";
import {
  command,
  eptCapability,
  msr,
  singleContext,
  vmcs,
  vpidCapabilityHigh,
} from "./architecture.ts";
import {
  guestInformation,
  guestMap,
  migrationStep,
  processor,
  stopReason,
  vector,
  virtualProcessor,
} from "./memory.ts";
import type { Program } from "./program.ts";

/**
 * A VMCS moves from LP 0 to LP 1. The processor that runs a vCPU may keep its VMCS in a cache of its own, which no
 * other processor sees; so LP 1 must not load it before LP 0 has executed VMCLEAR, which writes it back to memory:
 *
 *     LP 1  step = requested, IPI ───▶ LP 0  VM exit (external interrupt), VMCLEAR
 *     LP 1  VMPTRLD, VMLAUNCH   ◀───  LP 0  step = released
 *
 * The guest's other registers are in the vCPU's record, in ordinary memory, and so need no such care.
 */

const vcpuField = (name: keyof typeof virtualProcessor) =>
  mem64(r14, { disp: virtualProcessor[name] });

export function emitMigration(program: Program): void {
  emitRelease(program);
  emitAdopt(program);
  emitForgetTranslations(program);
}

function emitRelease({ asm, at, text }: Program): void {
  const keep = asm.label("release_if_requested.keep");

  asm.here(at.release_if_requested);
  asm.cmp(mem64(at.migration_step), migrationStep.requested);
  asm.jne(keep);
  asm.cmp(vcpuField("index"), 0);
  asm.jne(keep);
  asm.vmclear(vcpuField("vmcs"));
  asm.jbe(at.vmx_failed);
  // A cleared VMCS must be launched anew.
  asm.mov(vcpuField("launched"), 0);
  asm.call(at.log_processor);
  asm.lea(rdi, mem(text("VMCLEAR; vCPU 0 may go\n")));
  asm.call(at.log_text);
  asm.mov(mem64(at.migration_step), migrationStep.released);
  asm.mov(eax, stopReason.released);
  asm.ret();
  asm.here(keep);
  asm.xor(eax, eax);
  asm.ret();
}

function emitAdopt({ asm, at, text }: Program): void {
  const moved = guestMap.information - guestMap.ram + guestInformation.moved;

  asm.here(at.adopt_vcpu);
  asm.lea(rdi, mem(at.migration_step));
  asm.mov(esi, migrationStep.ready);
  asm.call(at.wait_for);
  // Let the guest get back to work: it shall be taken in the middle of it.
  asm.call(at.pause_a_while);
  asm.mov(mem64(at.migration_step), migrationStep.requested);
  asm.mov(edi, mem32(at.processors, { disp: processor.apicId }));
  asm.mov(esi, command.assert | vector.migrate);
  asm.call(at.send_ipi);
  asm.lea(rdi, mem(at.migration_step));
  asm.mov(esi, migrationStep.released);
  asm.call(at.wait_for);

  asm.lea(r14, mem(at.virtual_processors));
  asm.vmptrld(vcpuField("vmcs"));
  asm.jbe(at.vmx_failed);
  asm.call(at.set_host_state);
  asm.call(at.forget_translations);
  asm.mov(vcpuField("runsOn"), r15);
  asm.mov(mem64(at.migration_step), migrationStep.taken);
  asm.mov(mem64(at.guest_ram, { disp: moved }), 1);
  asm.call(at.log_processor);
  asm.lea(rdi, mem(text("VMPTRLD, then VMLAUNCH; vCPU 0 goes on here\n")));
  asm.jmp(at.log_text);
}

/**
 * The TLB of this LP may hold translations from an earlier time when it ran the same address space. Ours does not, but
 * a hypervisor that moves vCPUs back and forth must drop them, so here is how: INVEPT by EPT pointer, INVVPID by VPID.
 */
function emitForgetTranslations({ asm, at }: Program): void {
  const noInvept = asm.label("forget_translations.no_invept");
  const noInvvpid = asm.label("forget_translations.no_invvpid");

  asm.here(at.forget_translations);
  asm.mov(ecx, msr.vmxEptVpidCapabilities);
  asm.rdmsr();
  asm.mov(esi, edx);
  asm.mov(ecx, singleContext);
  // The descriptor: 16 bytes of memory, of which these instructions use the first 8.
  asm.push(0);
  asm.push(0);
  asm.test(eax, eptCapability.inveptSingleContext);
  asm.jz(noInvept);
  asm.mov(edx, vmcs.eptPointer);
  asm.vmread(mem64(rsp), rdx);
  asm.invept(rcx, mem128(rsp));
  asm.jbe(at.vmx_failed);
  asm.here(noInvept);
  asm.test(esi, vpidCapabilityHigh.invvpidSingleContext);
  asm.jz(noInvvpid);
  asm.mov(edx, vmcs.vpid);
  asm.vmread(mem64(rsp), rdx);
  asm.invvpid(rcx, mem128(rsp));
  asm.jbe(at.vmx_failed);
  asm.here(noInvvpid);
  asm.add(rsp, 16);
  asm.ret();
}
