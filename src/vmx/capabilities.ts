/**
 * What the VMX of one processor model offers, in the form the rules ask for it ("VMX Capability Reporting Facility").
 */
import type { CpuModel } from "../cpu/models/cpu-model.ts";
import { supportedEfer } from "../cpu/models/cpu-model.ts";
import { debugControlBits } from "../cpu/msr-table.ts";
import type { ControlName } from "./controls.ts";
import {
  offeredControls,
  reportedMsrs,
  translationCapabilities,
  vmFunctionMask,
  vmxMsr,
  type WordRange,
  wordRanges,
} from "./reported-msrs.ts";
import { vmcsBytes, vmcsFields } from "./vmcs-fields.ts";

export interface VmxProfile {
  /** What the capability MSRs read as, by MSR number. */
  readonly msrs: ReadonlyMap<number, bigint>;
  /** Controls that may be set to 1, and VM functions there are. */
  readonly offered: ReadonlySet<ControlName>;
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

const low = (value: bigint | undefined): number => Number((value ?? 0n) & 0xffff_ffffn);

/** @returns undefined for a model without VMX */
export function vmxProfile(model: CpuModel): VmxProfile | undefined {
  const { vmx } = model;
  if (vmx === undefined) {
    return undefined;
  }
  const offered = offeredControls(vmx);
  const fieldExists = existingFields(offered);
  const msrs = reportedMsrs(model, vmx, highestIndex(fieldExists));
  const translation = translationCapabilities(vmx, offered);
  const misc = low(msrs.get(vmxMsr.misc));
  return {
    msrs,
    offered,
    revision: vmx.revision,
    ...wordRanges(vmx, offered),
    vmFunctions: vmFunctionMask(offered),
    cr0Fixed0: low(msrs.get(vmxMsr.cr0Fixed0)),
    cr0Fixed1: low(msrs.get(vmxMsr.cr0Fixed1)),
    cr4Fixed0: low(msrs.get(vmxMsr.cr4Fixed0)),
    cr4Fixed1: low(msrs.get(vmxMsr.cr4Fixed1)),
    preemptionTimerShift: misc & 0x1f,
    storesLma: (misc & (1 << 5)) !== 0,
    activityStates: 1 | ((misc >>> 5) & 0xe),
    cr3TargetCountMax: vmx.cr3TargetCount,
    msrAreaEntriesMax: vmx.msrAreaEntries,
    writesReadOnlyFields: vmx.writesReadOnlyFields,
    injectsZeroLength: vmx.injectsZeroLength,
    injectsAnyErrorCode: vmx.injectsAnyErrorCode,
    reportsStringIo: vmx.reportsStringIo,
    eptCapabilities: translation.ept,
    vpidCapabilities: translation.vpid,
    physicalHighMask: ~((1 << (model.physicalAddressBits - 32)) - 1) >>> 0,
    canonicalShift: model.linearAddressBits - 1 - 32,
    efer: supportedEfer(model),
    perfGlobalCtrl: 0,
    debugCtl: Number(debugControlBits),
    hasRtm: false,
    hasSgx: false,
    fieldExists,
  };
}

function highestIndex(fieldExists: Uint8Array): number {
  return vmcsFields.reduce(
    (highest, field) => (fieldExists[field.slot] === 1 ? Math.max(highest, field.index) : highest),
    0,
  );
}

/** Whether a field exists where these controls are offered. */
export function isFieldThere(
  existsIf: readonly (ControlName | "tdx")[],
  offered: ReadonlySet<ControlName>,
): boolean {
  return (
    existsIf.length === 0 || existsIf.some((control) => control !== "tdx" && offered.has(control))
  );
}

function existingFields(offered: ReadonlySet<ControlName>): Uint8Array {
  const exists = new Uint8Array(vmcsBytes >>> 2);
  for (const field of vmcsFields) {
    exists[field.slot] = isFieldThere(field.existsIf, offered) ? 1 : 0;
  }
  return exists;
}
