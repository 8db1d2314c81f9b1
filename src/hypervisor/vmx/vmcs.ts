import {
  rdmsr,
  readControl,
  type ScriptEnvironment,
  type Steps,
  store,
  VmxResult,
  vmclear,
  vmptrld,
  vmread,
  vmwrite,
} from "../../isa/operations.ts";
import { msr, vmcsField } from "./architecture.ts";
import type { ControlWords } from "./controls.ts";
import { HypervisorError, vmcsRevision } from "./vmx-operation.ts";

/** Where a guest begins: 64-bit mode, flat, at the privilege level that its code selector asks for, in memory that its loader has prepared (`guest-memory.ts`). */
export interface GuestStart {
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly rflags: bigint;
  readonly cr3: bigint;
  readonly gdtBase: bigint;
  readonly gdtLimit: number;
  readonly idtBase: bigint;
  readonly idtLimit: number;
  readonly taskBase: bigint;
  readonly codeSelector: number;
  readonly dataSelector: number;
  readonly taskSelector: number;
}

/** A virtual processor's places in physical memory. All but the descriptor are pages. */
export interface VcpuPages {
  readonly vmcs: bigint;
  readonly virtualApic: bigint;
  /** Posted-interrupt descriptor, 64 bytes. */
  readonly descriptor: bigint;
}

export interface VmcsSetup {
  readonly controls: ControlWords;
  readonly pages: VcpuPages;
  /** EPT pointer as the VMCS wants it. */
  readonly eptPointer: bigint;
  /** 1 to 65535, of this vCPU alone. */
  readonly vpid: number;
  readonly msrBitmaps: bigint;
  readonly notificationVector: number;
  /** Table of descriptor pointers by virtual APIC id, and its last index. */
  readonly pidTable: bigint;
  readonly lastPidIndex: number;
  readonly guest: GuestStart;
}

const flatLimit = 0xffff_ffffn;
const rights = { code: 0xa09bn, data: 0xc093n, busyTask: 0x8bn, unusable: 0x1_0000n } as const;
/** Bits 6:5 of access rights: the privilege level of a segment. */
const levelShift = 5n;
const taskLimit = 0x67n;
const longMode = 0x500n;
const noLink = 0xffff_ffff_ffff_ffffn;
const paeAndOsfxsr = 0x620n;

/** Makes a VMCS active and current on this LP. @throws HypervisorError */
export function* loadVmcs(vmcs: bigint): Steps<void> {
  if ((yield vmptrld(vmcs)) !== VmxResult.Success) {
    throw new HypervisorError(`VMPTRLD of 0x${vmcs.toString(16)} failed`);
  }
}

/** Writes one field. @throws HypervisorError the field does not exist */
export function* writeField(field: number, value: bigint): Steps<void> {
  if ((yield vmwrite(field, value)) !== VmxResult.Success) {
    throw new HypervisorError(`VMWRITE of field 0x${field.toString(16)} failed`);
  }
}

/**
 * Prepares a VMCS from nothing and leaves it current, clear, ready for VMLAUNCH from this LP. The host part is that of the
 * script that runs: after a VM exit it goes on here.
 */
export function* createVmcs(environment: ScriptEnvironment, setup: VmcsSetup): Steps<void> {
  const { vmcs } = setup.pages;
  yield store(vmcs, 4, yield* vmcsRevision());
  yield vmclear(vmcs);
  yield* loadVmcs(vmcs);
  yield* writeControls(setup);
  yield* writeHostState(environment);
  yield* writeGuestState(setup.guest);
}

function* writeControls({ controls, pages, ...setup }: VmcsSetup): Steps<void> {
  yield* writeField(vmcsField.pinControls, controls.pin);
  yield* writeField(vmcsField.primaryControls, controls.primary);
  yield* writeField(vmcsField.secondaryControls, controls.secondary);
  yield* writeField(vmcsField.exitControls, controls.exit);
  yield* writeField(vmcsField.entryControls, controls.entry);
  yield* writeField(vmcsField.exceptionBitmap, 0n);
  yield* writeField(vmcsField.eptPointer, setup.eptPointer);
  yield* writeField(vmcsField.vpid, BigInt(setup.vpid));
  yield* writeField(vmcsField.msrBitmaps, setup.msrBitmaps);
  yield* writeField(vmcsField.vmcsLinkPointer, noLink);
  if (controls.tertiary !== 0n) {
    yield* writeField(vmcsField.tertiaryControls, controls.tertiary);
    yield* writeField(vmcsField.pidPointerTable, setup.pidTable);
    yield* writeField(vmcsField.lastPidPointerIndex, BigInt(setup.lastPidIndex));
  }
  const virtualInterrupts = (controls.secondary & 0x200n) !== 0n;
  if (virtualInterrupts) {
    yield* writeField(vmcsField.virtualApicAddress, pages.virtualApic);
    yield* writeField(vmcsField.guestInterruptStatus, 0n);
    for (const bitmap of [0, 2, 4, 6]) yield* writeField(vmcsField.eoiExitBitmap0 + bitmap, 0n);
  }
  const posting = (controls.pin & 0x80n) !== 0n;
  if (posting) {
    yield* writeField(vmcsField.postedInterruptVector, BigInt(setup.notificationVector));
    yield* writeField(vmcsField.postedInterruptDescriptor, pages.descriptor);
  }
}

/**
 * The host-state area of the current VMCS: this LP, this script. To be written again when a VMCS has moved to another LP.
 */
export function* writeHostState({ host, exitPoint }: ScriptEnvironment): Steps<void> {
  yield* writeField(vmcsField.hostCr0, yield readControl(0));
  yield* writeField(vmcsField.hostCr3, yield readControl(3));
  yield* writeField(vmcsField.hostCr4, yield readControl(4));
  yield* writeField(vmcsField.hostCsSelector, BigInt(host.codeSelector));
  for (const field of ["hostSsSelector", "hostDsSelector", "hostEsSelector"] as const) {
    yield* writeField(vmcsField[field], BigInt(host.dataSelector));
  }
  yield* writeField(vmcsField.hostFsSelector, 0n);
  yield* writeField(vmcsField.hostGsSelector, 0n);
  yield* writeField(vmcsField.hostTrSelector, BigInt(host.taskSelector));
  yield* writeField(vmcsField.hostTrBase, host.taskBase);
  yield* writeField(vmcsField.hostGdtrBase, host.gdtBase);
  yield* writeField(vmcsField.hostIdtrBase, host.idtBase);
  yield* writeField(vmcsField.hostIa32Efer, yield rdmsr(msr.efer));
  yield* writeHostContinuation({ host, exitPoint });
}

/** What of the host-state area differs between the scripts of two LPs that share descriptor tables and page tables. */
export function* writeHostContinuation({
  host,
  exitPoint,
}: Pick<ScriptEnvironment, "host" | "exitPoint">): Steps<void> {
  yield* writeField(vmcsField.hostRsp, host.stackTop);
  yield* writeField(vmcsField.hostRip, exitPoint);
}

function* writeGuestState(guest: GuestStart): Steps<void> {
  const cr0 = yield readControl(0);
  const cr4 = ((yield readControl(4)) & 0x2000n) | paeAndOsfxsr;
  yield* writeField(vmcsField.guestCr0, cr0);
  yield* writeField(vmcsField.guestCr3, guest.cr3);
  yield* writeField(vmcsField.guestCr4, cr4);
  yield* writeField(vmcsField.cr4ReadShadow, cr4);
  yield* writeField(vmcsField.cr0ReadShadow, cr0);
  yield* writeField(vmcsField.guestIa32Efer, longMode);
  const level = BigInt(guest.codeSelector & 3) << levelShift;
  yield* writeField(vmcsField.guestCsSelector, BigInt(guest.codeSelector));
  yield* writeField(vmcsField.guestCsAccessRights, rights.code | level);
  yield* writeField(vmcsField.guestCsLimit, flatLimit);
  for (const segment of ["Ss", "Ds", "Es"] as const) {
    yield* writeField(vmcsField[`guest${segment}Selector`], BigInt(guest.dataSelector));
    yield* writeField(vmcsField[`guest${segment}AccessRights`], rights.data | level);
    yield* writeField(vmcsField[`guest${segment}Limit`], flatLimit);
  }
  for (const segment of ["Fs", "Gs", "Ldtr"] as const) {
    yield* writeField(vmcsField[`guest${segment}AccessRights`], rights.unusable);
  }
  yield* writeField(vmcsField.guestTrSelector, BigInt(guest.taskSelector));
  yield* writeField(vmcsField.guestTrAccessRights, rights.busyTask);
  yield* writeField(vmcsField.guestTrLimit, taskLimit);
  yield* writeField(vmcsField.guestTrBase, guest.taskBase);
  yield* writeField(vmcsField.guestGdtrBase, guest.gdtBase);
  yield* writeField(vmcsField.guestGdtrLimit, BigInt(guest.gdtLimit));
  yield* writeField(vmcsField.guestIdtrBase, guest.idtBase);
  yield* writeField(vmcsField.guestIdtrLimit, BigInt(guest.idtLimit));
  yield* writeField(vmcsField.guestDr7, 0x400n);
  yield* writeField(vmcsField.guestRsp, guest.rsp);
  yield* writeField(vmcsField.guestRip, guest.rip);
  yield* writeField(vmcsField.guestRflags, guest.rflags | 2n);
}

/** Moves the guest's RIP past the operation that caused the exit, and ends what shadow it was under. */
export function* skipInstruction(): Steps<void> {
  const rip = yield vmread(vmcsField.guestRip);
  yield* writeField(vmcsField.guestRip, rip + (yield vmread(vmcsField.exitInstructionLength)));
  const interruptibility = yield vmread(vmcsField.guestInterruptibility);
  if ((interruptibility & 3n) !== 0n) {
    yield* writeField(vmcsField.guestInterruptibility, interruptibility & ~3n);
  }
}
