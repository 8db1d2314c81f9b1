import {
  cr0,
  cr4,
  eax,
  ecx,
  edi,
  edx,
  esi,
  mem,
  mem32,
  mem64,
  r8d,
  r15,
  rbx,
  rdi,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import {
  basicHasTrueControls,
  cr4Bit,
  featureControl,
  msr,
  trueControlsDistance,
  vmcs,
} from "./architecture.ts";
import { processor } from "./memory.ts";
import type { Program } from "./program.ts";

/** Entering and leaving VMX operation, and agreeing with the processor about controls. */

const cpuidFeatures = 1;
const cpuidHasVmx = 1 << 5;
const revisionMask = 0x7fffffff;

export function emitVmx(program: Program): void {
  emitVmxOn(program);
  emitVmxOff(program);
  emitAdjustControl(program);
  emitVmxFailed(program);
}

function emitVmxOn(program: Program): void {
  const { asm, at, text } = program;
  const missing = asm.label("vmx_on.missing");

  asm.here(at.vmx_on);
  asm.push(rbx);
  asm.mov(eax, cpuidFeatures);
  asm.cpuid();
  asm.pop(rbx);
  asm.test(ecx, cpuidHasVmx);
  asm.jz(missing);
  emitFeatureControl(program);
  emitFixedBits(program);
  // The first word of a VMXON region or VMCS names the format; the processor reads it before using the rest.
  asm.mov(ecx, msr.vmxBasic);
  asm.rdmsr();
  asm.and(eax, revisionMask);
  asm.mov(rdx, mem64(r15, { disp: processor.vmxonRegion }));
  asm.mov(mem32(rdx), eax);
  asm.vmxon(mem64(r15, { disp: processor.vmxonRegion }));
  asm.jbe(at.vmx_failed);
  asm.call(at.log_processor);
  asm.lea(rdi, mem(text("VMXON\n")));
  asm.jmp(at.log_text);
  asm.here(missing);
  asm.lea(rdi, mem(text("this processor has no VMX; CPUID.1:ECX is")));
  asm.mov(esi, ecx);
  asm.jmp(at.fatal);
}

/** IA32_FEATURE_CONTROL must allow VMXON and be locked; firmware that has not locked it leaves the choice to us. */
function emitFeatureControl({ asm, at, text }: Program): void {
  const locked = asm.label("vmx_on.locked");
  const allowed = asm.label("vmx_on.allowed");

  asm.mov(ecx, msr.featureControl);
  asm.rdmsr();
  asm.test(eax, featureControl.locked);
  asm.jnz(locked);
  asm.or(eax, featureControl.locked | featureControl.vmxOutsideSmx);
  asm.wrmsr();
  asm.here(locked);
  asm.test(eax, featureControl.vmxOutsideSmx);
  asm.jnz(allowed);
  asm.lea(rdi, mem(text("the firmware forbids VMX; IA32_FEATURE_CONTROL is")));
  asm.mov(esi, eax);
  asm.jmp(at.fatal);
  asm.here(allowed);
}

/** In VMX operation some bits of CR0 and CR4 must be 1 (FIXED0 says which) and others 0 (FIXED1). */
function emitFixedBits({ asm }: Program): void {
  const apply = (fixed0: number, fixed1: number) => {
    asm.mov(ecx, fixed0);
    asm.rdmsr();
    asm.or(esi, eax);
    asm.mov(ecx, fixed1);
    asm.rdmsr();
    asm.and(esi, eax);
  };
  asm.mov(rsi, cr0);
  apply(msr.vmxCr0Fixed0, msr.vmxCr0Fixed1);
  asm.mov(cr0, rsi);
  asm.mov(rsi, cr4);
  asm.or(esi, cr4Bit.vmxe);
  apply(msr.vmxCr4Fixed0, msr.vmxCr4Fixed1);
  asm.mov(cr4, rsi);
}

function emitVmxOff({ asm, at, text }: Program): void {
  asm.here(at.vmx_off);
  asm.vmxoff();
  asm.jbe(at.vmx_failed);
  asm.mov(rsi, cr4);
  asm.and(esi, ~cr4Bit.vmxe);
  asm.mov(cr4, rsi);
  asm.call(at.log_processor);
  asm.lea(rdi, mem(text("VMXOFF\n")));
  asm.jmp(at.log_text);
}

/**
 * The low half of a capability MSR holds the bits that must be 1, the high half those that may be 1. Where
 * IA32_VMX_BASIC says so, TRUE variants of four of the MSRs tell more: fewer bits must be 1.
 */
function emitAdjustControl({ asm, at, text }: Program): void {
  const read = asm.label("adjust_control.read");
  const missing = asm.label("adjust_control.missing");

  asm.here(at.adjust_control);
  asm.cmp(ecx, msr.vmxSecondaryControls);
  asm.je(read);
  asm.mov(r8d, ecx);
  asm.mov(ecx, msr.vmxBasic);
  asm.rdmsr();
  asm.mov(ecx, r8d);
  asm.test(edx, basicHasTrueControls);
  asm.jz(read);
  asm.add(ecx, trueControlsDistance);
  asm.here(read);
  asm.rdmsr();
  asm.not(edx);
  asm.test(edi, edx);
  asm.jnz(missing);
  asm.or(eax, edi);
  asm.ret();
  asm.here(missing);
  asm.mov(esi, ecx);
  asm.lea(rdi, mem(text("a control is not offered by capability MSR")));
  asm.jmp(at.fatal);
}

/** VMfailValid (ZF) leaves an error number in the current VMCS; VMfailInvalid (CF) has no VMCS to leave it in. */
function emitVmxFailed({ asm, at, text }: Program): void {
  const invalid = asm.label("vmx_failed.invalid");

  asm.here(at.vmx_failed);
  asm.jc(invalid);
  asm.mov(edx, vmcs.instructionError);
  asm.vmread(rsi, rdx);
  asm.lea(rdi, mem(text("VMfailValid, VM-instruction error")));
  asm.jmp(at.fatal);
  asm.here(invalid);
  asm.xor(esi, esi);
  asm.lea(rdi, mem(text("VMfailInvalid")));
  asm.jmp(at.fatal);
}
