/**
 * What the VMX of a processor offers, by the names of the vmx room's tables; the capability MSRs are made from it there
 * ("VMX Capability Reporting Facility").
 *
 * A model lists what the part it is modelled on has. The simulator leaves out of the MSRs what it does not carry out, and
 * what makes no sense without that.
 */
export interface VmxCapabilities {
  /** VMCS revision identifier, 31 bits. */
  readonly revision: number;
  /** Controls that may be 1, as `word.name`; VM functions as `vmFunction.name`. Bits that are always 1 are not listed. */
  readonly controls: readonly string[];
  /** Parts of IA32_VMX_EPT_VPID_CAP, as `ept.name` and `vpid.name`. */
  readonly translation: readonly string[];
  /** The TRUE capability MSRs exist: controls of the default1 class that have a meaning may be 0. */
  readonly hasTrueControls: boolean;
  /** INS and OUTS exits fill in the instruction-information field. */
  readonly reportsStringIo: boolean;
  /** An injected hardware exception may come with or without an error code, whatever its vector. */
  readonly injectsAnyErrorCode: boolean;
  /** The preemption timer counts once every 2^shift TSC cycles. */
  readonly preemptionTimerShift: number;
  /** Beside the active state. */
  readonly activityStates: readonly ("hlt" | "shutdown" | "wait-for-sipi")[];
  readonly cr3TargetCount: number;
  /** Entries an MSR area may have: a multiple of 512, at most 4096. */
  readonly msrAreaEntries: number;
  /** VMWRITE may write the fields of exit information. */
  readonly writesReadOnlyFields: boolean;
  /** Software events may be injected with an instruction length of 0. */
  readonly injectsZeroLength: boolean;
}
