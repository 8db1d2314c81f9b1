import {
  cr0,
  cr3,
  cr4,
  eax,
  ecx,
  edi,
  edx,
  esi,
  type Label,
  mem,
  mem32,
  mem64,
  r14,
  r15,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import {
  entryControl,
  ept,
  eptCapability,
  exitControl,
  msr,
  pinControl,
  primaryControl,
  secondaryControl,
  type VmcsField,
  vmcs,
} from "./architecture.ts";
import { guestMap, guestStackSize, processor, selector, virtualProcessor } from "./memory.ts";
import type { Program } from "./program.ts";

/** Making a vCPU: a VMCS that describes the guest's start, the host's return, and what causes VM exits. */

/** Access rights in VMCS form: 64-bit code, writable data, busy TSS; each present, at privilege 0. */
const accessCode64 = 0xa09b;
const accessData = 0xc093;
const accessBusyTask = 0x8b;
const accessUnusable = 1 << 16;
const taskLimit = 103;
const flatLimit = 0xffffffff;
/** No VMCS is linked. */
const noLink = 0xffff_ffff_ffff_ffffn;
/** RFLAGS bit 1 is always 1, DR7 bit 10 too. */
const rflagsAtStart = 2;
const dr7AtStart = 0x400;
const revisionMask = 0x7fffffff;
/** The guest's selectors: its GDT begins like the host's. */
const guestSelector = { code: 0x08, data: 0x10, task: 0x18 } as const;

export function emitVmcs(program: Program): void {
  emitCreateVcpu(program);
  emitHostState(program);
}

/** The field's new value is in RAX. */
function writeField({ asm, at }: Program, field: VmcsField): void {
  asm.mov(edx, field);
  asm.vmwrite(rdx, rax);
  asm.jbe(at.vmx_failed);
}

function emitCreateVcpu(program: Program): void {
  const { asm, at } = program;
  const vcpuField = (name: keyof typeof virtualProcessor) =>
    mem64(r14, { disp: virtualProcessor[name] });

  asm.here(at.create_vcpu);
  asm.mov(ecx, mem32(r15, { disp: processor.index }));
  asm.imul(eax, ecx, virtualProcessor.size);
  asm.lea(r14, mem(at.virtual_processors));
  asm.add(r14, rax);
  asm.mov(vcpuField("index"), rcx);
  asm.mov(vcpuField("runsOn"), r15);
  asm.shl(ecx, 12);
  asm.lea(rdx, mem(rcx, { disp: guestMap.information }));
  asm.mov(vcpuField("rdi"), rdx);
  asm.lea(rsi, mem(at.vmcs_regions));
  asm.add(rsi, rcx);
  asm.mov(vcpuField("vmcs"), rsi);

  asm.mov(ecx, msr.vmxBasic);
  asm.rdmsr();
  asm.and(eax, revisionMask);
  asm.mov(mem32(rsi), eax);
  // VMCLEAR gives the region to the processor and marks it not launched; VMPTRLD makes it the current VMCS.
  asm.vmclear(vcpuField("vmcs"));
  asm.jbe(at.vmx_failed);
  asm.vmptrld(vcpuField("vmcs"));
  asm.jbe(at.vmx_failed);
  emitConstantFields(program);
  emitControls(program);
  emitSecondStage(program);
  emitGuestRegisters(program);
  asm.jmp(at.set_host_state);
}

/** Fields that are the same in every VMCS here, as a table of encodings and values. */
function emitConstantFields(program: Program): void {
  const { asm, at } = program;
  const data = { selector: guestSelector.data, access: accessData, limit: flatLimit };
  const constants: [VmcsField, number | bigint | Label][] = [
    [vmcs.exceptionBitmap, 0],
    [vmcs.pageFaultMask, 0],
    [vmcs.pageFaultMatch, 0],
    [vmcs.cr3TargetCount, 0],
    [vmcs.exitMsrStoreCount, 0],
    [vmcs.exitMsrLoadCount, 0],
    [vmcs.entryMsrLoadCount, 0],
    [vmcs.entryInterruptionInfo, 0],
    [vmcs.cr0Mask, 0],
    [vmcs.cr4Mask, 0],
    [vmcs.cr0ReadShadow, 0],
    [vmcs.cr4ReadShadow, 0],
    [vmcs.linkPointer, noLink],
    [vmcs.guestDebugctl, 0],
    [vmcs.guestCr3, guestMap.pageTables],
    [vmcs.guestCsSelector, guestSelector.code],
    [vmcs.guestCsAccess, accessCode64],
    [vmcs.guestCsLimit, flatLimit],
    [vmcs.guestCsBase, 0],
    [vmcs.guestSsSelector, data.selector],
    [vmcs.guestSsAccess, data.access],
    [vmcs.guestSsLimit, data.limit],
    [vmcs.guestSsBase, 0],
    [vmcs.guestDsSelector, data.selector],
    [vmcs.guestDsAccess, data.access],
    [vmcs.guestDsLimit, data.limit],
    [vmcs.guestDsBase, 0],
    [vmcs.guestEsSelector, data.selector],
    [vmcs.guestEsAccess, data.access],
    [vmcs.guestEsLimit, data.limit],
    [vmcs.guestEsBase, 0],
    [vmcs.guestFsSelector, data.selector],
    [vmcs.guestFsAccess, data.access],
    [vmcs.guestFsLimit, data.limit],
    [vmcs.guestFsBase, 0],
    [vmcs.guestGsSelector, data.selector],
    [vmcs.guestGsAccess, data.access],
    [vmcs.guestGsLimit, data.limit],
    [vmcs.guestGsBase, 0],
    [vmcs.guestLdtrSelector, 0],
    [vmcs.guestLdtrAccess, accessUnusable],
    [vmcs.guestLdtrLimit, 0],
    [vmcs.guestLdtrBase, 0],
    [vmcs.guestTrSelector, guestSelector.task],
    [vmcs.guestTrAccess, accessBusyTask],
    [vmcs.guestTrLimit, taskLimit],
    [vmcs.guestTrBase, 0],
    [vmcs.guestGdtrBase, 0],
    [vmcs.guestGdtrLimit, 0],
    [vmcs.guestIdtrBase, 0],
    [vmcs.guestIdtrLimit, 0],
    [vmcs.guestDr7, dr7AtStart],
    [vmcs.guestRip, at.guest_entry],
    [vmcs.guestRflags, rflagsAtStart],
    [vmcs.guestPendingDebug, 0],
    [vmcs.guestInterruptibility, 0],
    [vmcs.guestActivity, 0],
    [vmcs.guestSysenterCs, 0],
    [vmcs.guestSysenterEsp, 0],
    [vmcs.guestSysenterEip, 0],
  ];
  const table = asm.label("constant_fields");
  const next = asm.label("create_vcpu.next_field");

  asm.lea(rsi, mem(table));
  asm.mov(ecx, constants.length);
  asm.here(next);
  asm.mov(rdx, mem64(rsi));
  asm.mov(rax, mem64(rsi, { disp: 8 }));
  asm.vmwrite(rdx, rax);
  asm.jbe(at.vmx_failed);
  asm.add(rsi, 16);
  asm.loop(next);
  program.later(() => {
    asm.align(8);
    asm.here(table);
    for (const [field, value] of constants) {
      asm.u64(field, value);
    }
  });
}

function emitControls(program: Program): void {
  const { asm, at } = program;
  const control = (field: VmcsField, capability: number, wanted: number) => {
    asm.mov(ecx, capability);
    asm.mov(edi, wanted);
    asm.call(at.adjust_control);
    writeField(program, field);
  };
  const { hltExiting, unconditionalIoExiting, activateSecondaryControls } = primaryControl;

  control(vmcs.pinControls, msr.vmxPinControls, pinControl.externalInterruptExiting);
  control(
    vmcs.primaryControls,
    msr.vmxPrimaryControls,
    hltExiting | unconditionalIoExiting | activateSecondaryControls,
  );
  asm.mov(mem64(r14, { disp: virtualProcessor.primaryControls }), rax);
  control(
    vmcs.exitControls,
    msr.vmxExitControls,
    exitControl.hostIs64Bit | exitControl.acknowledgeInterrupt,
  );
  control(vmcs.entryControls, msr.vmxEntryControls, entryControl.guestIsIa32e);
}

/** EPT is a must here; VPID, which keeps the guest's translations in the TLB over VM exits, is taken when offered. */
function emitSecondStage(program: Program): void {
  const { asm, at, text } = program;
  const able = asm.label("create_vcpu.ept_able");
  const noVpid = asm.label("create_vcpu.no_vpid");
  const needed =
    eptCapability.fourLevels | eptCapability.writeBack | eptCapability.twoMegabytePages;

  asm.mov(ecx, msr.vmxSecondaryControls);
  asm.rdmsr();
  asm.mov(edi, secondaryControl.enableEpt);
  asm.test(edx, secondaryControl.enableVpid);
  asm.jz(noVpid);
  asm.or(edi, secondaryControl.enableVpid);
  // VPID 0 is the host's own.
  asm.mov(rax, mem64(r14, { disp: virtualProcessor.index }));
  asm.inc(eax);
  writeField(program, vmcs.vpid);
  asm.here(noVpid);
  asm.call(at.adjust_control);
  writeField(program, vmcs.secondaryControls);

  asm.mov(ecx, msr.vmxEptVpidCapabilities);
  asm.rdmsr();
  asm.mov(esi, eax);
  asm.and(eax, needed);
  asm.cmp(eax, needed);
  asm.je(able);
  asm.lea(rdi, mem(text("EPT lacks what we need; its capabilities are")));
  asm.jmp(at.fatal);
  asm.here(able);
  asm.lea(rax, mem(at.ept_tables, { disp: ept.pointerFlags }));
  writeField(program, vmcs.eptPointer);
}

/** The guest begins in 64-bit mode with our control registers, which satisfy VMX, and a stack of its own. */
function emitGuestRegisters(program: Program): void {
  const { asm } = program;
  asm.mov(rax, cr0);
  writeField(program, vmcs.guestCr0);
  asm.mov(rax, cr4);
  writeField(program, vmcs.guestCr4);
  asm.mov(rax, mem64(r14, { disp: virtualProcessor.index }));
  asm.imul(eax, eax, guestStackSize);
  asm.add(eax, guestMap.stacks + guestStackSize);
  writeField(program, vmcs.guestRsp);
}

/** Where a VM exit returns to. Part of it belongs to the LP, so it is written again when a vCPU moves. */
function emitHostState(program: Program): void {
  const { asm, at } = program;
  const set = (field: VmcsField, value: number) => {
    asm.mov(eax, value);
    writeField(program, field);
  };

  asm.here(at.set_host_state);
  asm.mov(rax, cr0);
  writeField(program, vmcs.hostCr0);
  asm.mov(rax, cr3);
  writeField(program, vmcs.hostCr3);
  asm.mov(rax, cr4);
  writeField(program, vmcs.hostCr4);
  set(vmcs.hostCsSelector, selector.code64);
  const { hostSsSelector, hostDsSelector, hostEsSelector, hostFsSelector, hostGsSelector } = vmcs;
  for (const field of [
    hostSsSelector,
    hostDsSelector,
    hostEsSelector,
    hostFsSelector,
    hostGsSelector,
  ]) {
    set(field, selector.data);
  }
  asm.str(eax);
  writeField(program, vmcs.hostTrSelector);
  asm.mov(rax, mem64(r15, { disp: processor.taskState }));
  writeField(program, vmcs.hostTrBase);
  asm.lea(rax, mem(at.gdt));
  writeField(program, vmcs.hostGdtrBase);
  asm.lea(rax, mem(at.interrupt_table));
  writeField(program, vmcs.hostIdtrBase);
  asm.lea(rax, mem(at.vm_exit));
  writeField(program, vmcs.hostRip);
  const { hostFsBase, hostGsBase, hostSysenterCs, hostSysenterEsp, hostSysenterEip } = vmcs;
  for (const field of [hostFsBase, hostGsBase, hostSysenterCs, hostSysenterEsp, hostSysenterEip]) {
    set(field, 0);
  }
  asm.ret();
}
