/**
 * What the VMX of one processor model offers, in the form the rules ask for it ("VMX Capability Reporting Facility").
 */
import type { CpuModel } from "../cpu/models/cpu-model.ts";
import { supportedEfer } from "../cpu/models/cpu-model.ts";
import type { VmxCapabilities } from "../cpu/models/vmx-capabilities.ts";
import { debugControlBits } from "../cpu/msr-table.ts";
import {
  type ControlName,
  entryControl,
  exitControl,
  exitControl2,
  pin,
  primary,
  secondary,
  tertiary,
  vmFunction,
} from "./controls.ts";
import { vmcsBytes, vmcsFields } from "./vmcs-fields.ts";

/** A control word: the bits that must be 1, and the bits that may be. Unsigned. */
export interface WordRange {
  readonly mustBeOne: number;
  readonly mayBeOne: number;
}

export interface VmxProfile {
  /** What the capability MSRs read as, by MSR number. */
  readonly msrs: ReadonlyMap<number, bigint>;
  readonly revision: number;
  readonly pin: WordRange;
  readonly primary: WordRange;
  readonly secondary: WordRange;
  readonly tertiary: WordRange;
  readonly exit: WordRange;
  readonly exit2: WordRange;
  readonly entry: WordRange;
  readonly vmFunctions: number;
  readonly cr0Fixed0: number;
  readonly cr0Fixed1: number;
  readonly cr4Fixed0: number;
  readonly cr4Fixed1: number;
  /** The preemption timer counts once every 2^shift TSC cycles. */
  readonly preemptionTimerShift: number;
  /** VM exits store IA32_EFER.LMA in the entry control "IA-32e mode guest". */
  readonly storesLma: boolean;
  /** Bit n: activity state n is supported. */
  readonly activityStates: number;
  readonly cr3TargetCountMax: number;
  /** Entries that an MSR area may have. */
  readonly msrAreaEntriesMax: number;
  readonly writesReadOnlyFields: boolean;
  readonly injectsZeroLength: boolean;
  /** An injected hardware exception may come with or without an error code, whatever its vector. */
  readonly injectsAnyErrorCode: boolean;
  /** INS and OUTS exits fill in the instruction-information field. */
  readonly reportsStringIo: boolean;
  /** IA32_VMX_EPT_VPID_CAP, low and high half. */
  readonly eptCapabilities: number;
  readonly vpidCapabilities: number;
  /** Bits of the high half of an address that lie beyond the physical-address width. */
  readonly physicalHighMask: number;
  /** Shift that leaves only the bits of the high half that a canonical address repeats. */
  readonly canonicalShift: number;
  /** Bits that may be 1 in the low half of IA32_EFER; the high half has none. */
  readonly efer: number;
  /** Bits that may be 1 in IA32_PERF_GLOBAL_CTRL: none without performance monitoring. */
  readonly perfGlobalCtrl: number;
  /** Bits that may be 1 in IA32_DEBUGCTL. */
  readonly debugCtl: number;
  readonly hasRtm: boolean;
  readonly hasSgx: boolean;
  /** Indexed by slot: 1 if the field exists. */
  readonly fieldExists: Uint8Array;
}

/** IA32_VMX_EPT_VPID_CAP, low half. */
export const eptCapability = {
  executeOnly: 1 << 0,
  walkLength4: 1 << 6,
  walkLength5: 1 << 7,
  uncacheable: 1 << 8,
  writeBack: 1 << 14,
  pages2M: 1 << 16,
  pages1G: 1 << 17,
  invept: 1 << 20,
  accessedDirty: 1 << 21,
  advancedInformation: 1 << 22,
  supervisorShadowStack: 1 << 23,
  inveptSingle: 1 << 25,
  inveptAll: 1 << 26,
} as const;

/** IA32_VMX_EPT_VPID_CAP, high half. */
export const vpidCapability = {
  invvpid: 1 << 0,
  individualAddress: 1 << 8,
  singleContext: 1 << 9,
  allContexts: 1 << 10,
  retainingGlobals: 1 << 11,
} as const;

export const vmxMsr = {
  basic: 0x480,
  pinbased: 0x481,
  procbased: 0x482,
  exit: 0x483,
  entry: 0x484,
  misc: 0x485,
  cr0Fixed0: 0x486,
  cr0Fixed1: 0x487,
  cr4Fixed0: 0x488,
  cr4Fixed1: 0x489,
  vmcsEnum: 0x48a,
  procbased2: 0x48b,
  eptVpidCap: 0x48c,
  truePinbased: 0x48d,
  trueProcbased: 0x48e,
  trueExit: 0x48f,
  trueEntry: 0x490,
  vmfunc: 0x491,
} as const satisfies Record<keyof VmxCapabilities, number>;

/**
 * Controls that this simulator carries out. A model's capability MSRs are reported less what is not listed, so that
 * software is never offered a control that would do nothing.
 */
const implemented = {
  pin:
    pin.externalInterruptExiting |
    pin.nmiExiting |
    pin.virtualNmis |
    pin.activateVmxPreemptionTimer,
  primary:
    primary.interruptWindowExiting |
    primary.useTscOffsetting |
    primary.hltExiting |
    primary.invlpgExiting |
    primary.mwaitExiting |
    primary.rdpmcExiting |
    primary.rdtscExiting |
    primary.cr3LoadExiting |
    primary.cr3StoreExiting |
    primary.cr8LoadExiting |
    primary.cr8StoreExiting |
    primary.nmiWindowExiting |
    primary.movDrExiting |
    primary.unconditionalIoExiting |
    primary.useIoBitmaps |
    primary.monitorTrapFlag |
    primary.useMsrBitmaps |
    primary.monitorExiting |
    primary.pauseExiting |
    primary.activateSecondaryControls,
  secondary:
    secondary.enableEpt |
    secondary.descriptorTableExiting |
    secondary.enableRdtscp |
    secondary.enableVpid |
    secondary.wbinvdExiting |
    secondary.unrestrictedGuest |
    secondary.rdrandExiting |
    secondary.enableInvpcid |
    secondary.rdseedExiting |
    secondary.enableXsavesXrstors |
    secondary.useTscScaling,
  exit:
    exitControl.saveDebugControls |
    exitControl.hostAddressSpaceSize |
    exitControl.acknowledgeInterruptOnExit |
    exitControl.saveIa32Pat |
    exitControl.loadIa32Pat |
    exitControl.saveIa32Efer |
    exitControl.loadIa32Efer |
    exitControl.saveVmxPreemptionTimer,
  entry:
    entryControl.loadDebugControls |
    entryControl.ia32eModeGuest |
    entryControl.loadIa32Pat |
    entryControl.loadIa32Efer,
} as const;

const low = (value: bigint): number => Number(value & 0xffff_ffffn);
const high = (value: bigint): number => Number((value >> 32n) & 0xffff_ffffn);
const join = (highHalf: number, lowHalf: number): bigint =>
  (BigInt(highHalf >>> 0) << 32n) | BigInt(lowHalf >>> 0);

/** A control-word MSR with the bits that may be 1 reduced to what is implemented; bits fixed to 1 stay. */
function reduced(msr: bigint, controls: number): bigint {
  return join(high(msr) & (controls | low(msr)), low(msr));
}

/** Bits 44:32 of IA32_VMX_BASIC: the region size is a property of this implementation, not of the model. */
const regionSizeMask = 0x1fffn << 32n;

function reportedMsrs(vmx: VmxCapabilities): VmxCapabilities {
  return {
    ...vmx,
    basic: (vmx.basic & ~regionSizeMask) | (BigInt(vmcsBytes) << 32n),
    pinbased: reduced(vmx.pinbased, implemented.pin),
    truePinbased: reduced(vmx.truePinbased, implemented.pin),
    procbased: reduced(vmx.procbased, implemented.primary),
    trueProcbased: reduced(vmx.trueProcbased, implemented.primary),
    procbased2: reduced(vmx.procbased2, implemented.secondary),
    exit: reduced(vmx.exit, implemented.exit),
    trueExit: reduced(vmx.trueExit, implemented.exit),
    entry: reduced(vmx.entry, implemented.entry),
    trueEntry: reduced(vmx.trueEntry, implemented.entry),
    vmfunc: 0n,
  };
}

const rangeOf = (msr: bigint): WordRange => ({ mustBeOne: low(msr), mayBeOne: high(msr) });

/** @returns undefined for a model without VMX */
export function vmxProfile(model: CpuModel): VmxProfile | undefined {
  if (model.vmx === undefined) {
    return undefined;
  }
  const msr = reportedMsrs(model.vmx);
  const hasTrueControls = ((msr.basic >> 55n) & 1n) !== 0n;
  const misc = low(msr.misc);
  const ranges = {
    pin: rangeOf(hasTrueControls ? msr.truePinbased : msr.pinbased),
    primary: rangeOf(hasTrueControls ? msr.trueProcbased : msr.procbased),
    secondary: rangeOf(msr.procbased2),
    tertiary: { mustBeOne: 0, mayBeOne: 0 },
    exit: rangeOf(hasTrueControls ? msr.trueExit : msr.exit),
    exit2: { mustBeOne: 0, mayBeOne: 0 },
    entry: rangeOf(hasTrueControls ? msr.trueEntry : msr.entry),
  };
  const vmFunctions = low(msr.vmfunc);
  const fieldExists = existingFields(ranges, vmFunctions);
  const msrs = new Map(
    Object.entries(vmxMsr).map(([name, number]) => [number, msr[name as keyof VmxCapabilities]]),
  );
  msrs.set(vmxMsr.vmcsEnum, BigInt(highestIndex(fieldExists) << 1));
  const physicalHighBits = model.physicalAddressBits - 32;
  return {
    msrs,
    revision: low(msr.basic) & 0x7fff_ffff,
    ...ranges,
    vmFunctions,
    cr0Fixed0: low(msr.cr0Fixed0),
    cr0Fixed1: low(msr.cr0Fixed1),
    cr4Fixed0: low(msr.cr4Fixed0),
    cr4Fixed1: low(msr.cr4Fixed1),
    preemptionTimerShift: misc & 0x1f,
    storesLma: (misc & (1 << 5)) !== 0,
    activityStates: 1 | ((misc >>> 5) & 0xe),
    cr3TargetCountMax: (misc >>> 16) & 0x1ff,
    msrAreaEntriesMax: 512 * (((misc >>> 25) & 7) + 1),
    writesReadOnlyFields: (misc & (1 << 29)) !== 0,
    injectsZeroLength: (misc & (1 << 30)) !== 0,
    injectsAnyErrorCode: ((msr.basic >> 56n) & 1n) !== 0n,
    reportsStringIo: ((msr.basic >> 54n) & 1n) !== 0n,
    eptCapabilities: low(msr.eptVpidCap),
    vpidCapabilities: high(msr.eptVpidCap),
    physicalHighMask: ~((1 << physicalHighBits) - 1) >>> 0,
    canonicalShift: model.linearAddressBits - 1 - 32,
    efer: supportedEfer(model),
    perfGlobalCtrl: 0,
    debugCtl: Number(debugControlBits),
    hasRtm: false,
    hasSgx: false,
    fieldExists,
  };
}

type Ranges = Record<
  "pin" | "primary" | "secondary" | "tertiary" | "exit" | "exit2" | "entry",
  WordRange
>;

const masksByWord: Record<string, Readonly<Record<string, number>>> = {
  pin,
  primary,
  secondary,
  tertiary,
  exit: exitControl,
  exit2: exitControl2,
  entry: entryControl,
  vmFunction,
};

/** Whether a control may be set to 1. */
function isOffered(ranges: Ranges, vmFunctions: number, control: ControlName | "tdx"): boolean {
  const [word = "", name = ""] = control.split(".");
  const mask = masksByWord[word]?.[name] ?? 0;
  const mayBeOne =
    word === "vmFunction" ? vmFunctions : (ranges[word as keyof Ranges]?.mayBeOne ?? 0);
  return (mayBeOne & mask) !== 0;
}

function highestIndex(fieldExists: Uint8Array): number {
  return vmcsFields.reduce(
    (highest, field) => (fieldExists[field.slot] === 1 ? Math.max(highest, field.index) : highest),
    0,
  );
}

function existingFields(ranges: Ranges, vmFunctions: number): Uint8Array {
  const exists = new Uint8Array(vmcsBytes >>> 2);
  for (const field of vmcsFields) {
    const always = field.existsIf.length === 0;
    if (always || field.existsIf.some((control) => isOffered(ranges, vmFunctions, control))) {
      exists[field.slot] = 1;
    }
  }
  return exists;
}
