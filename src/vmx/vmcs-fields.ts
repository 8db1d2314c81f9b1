import type { ControlName } from "./controls.ts";

/**
 * The fields of a VMCS ("Field Encoding in VMCS"): encoding, the manual's name, and the controls whose support makes the
 * field exist (any of them; none: it always exists; "tdx": only inside a trust-domain module, which is not modelled).
 * Width, type and index are part of the encoding.
 */
type FieldRow = readonly [encoding: number, title: string, ...existsIf: (ControlName | "tdx")[]];

export const vmcsFieldTable = {
  // 16-bit control fields
  vpid: [0x0000, "Virtual-processor identifier (VPID)", "secondary.enableVpid"],
  postedInterruptVector: [
    0x0002,
    "Posted-interrupt notification vector",
    "pin.processPostedInterrupts",
  ],
  eptpIndex: [0x0004, "EPTP index", "secondary.eptViolationVe"],
  hlatPrefixSize: [0x0006, "HLAT prefix size", "tertiary.enableHlat"],
  lastPidPointerIndex: [0x0008, "Last PID-pointer index", "tertiary.ipiVirtualization"],
  virtualTimerVector: [0x000a, "Virtual timer vector", "tertiary.apicTimerVirtualization"],
  // 16-bit guest-state fields
  guestEsSelector: [0x0800, "Guest ES selector"],
  guestCsSelector: [0x0802, "Guest CS selector"],
  guestSsSelector: [0x0804, "Guest SS selector"],
  guestDsSelector: [0x0806, "Guest DS selector"],
  guestFsSelector: [0x0808, "Guest FS selector"],
  guestGsSelector: [0x080a, "Guest GS selector"],
  guestLdtrSelector: [0x080c, "Guest LDTR selector"],
  guestTrSelector: [0x080e, "Guest TR selector"],
  guestInterruptStatus: [0x0810, "Guest interrupt status", "secondary.virtualInterruptDelivery"],
  pmlIndex: [0x0812, "PML index", "secondary.enablePml"],
  guestUinv: [0x0814, "Guest UINV", "entry.loadUinv", "exit.clearUinv"],
  // 16-bit host-state fields
  hostEsSelector: [0x0c00, "Host ES selector"],
  hostCsSelector: [0x0c02, "Host CS selector"],
  hostSsSelector: [0x0c04, "Host SS selector"],
  hostDsSelector: [0x0c06, "Host DS selector"],
  hostFsSelector: [0x0c08, "Host FS selector"],
  hostGsSelector: [0x0c0a, "Host GS selector"],
  hostTrSelector: [0x0c0c, "Host TR selector"],
  // 64-bit control fields
  ioBitmapA: [0x2000, "Address of I/O bitmap A"],
  ioBitmapB: [0x2002, "Address of I/O bitmap B"],
  msrBitmaps: [0x2004, "Address of MSR bitmaps", "primary.useMsrBitmaps"],
  exitMsrStoreAddress: [0x2006, "VM-exit MSR-store address"],
  exitMsrLoadAddress: [0x2008, "VM-exit MSR-load address"],
  entryMsrLoadAddress: [0x200a, "VM-entry MSR-load address"],
  executiveVmcsPointer: [0x200c, "Executive-VMCS pointer"],
  pmlAddress: [0x200e, "PML address", "secondary.enablePml"],
  tscOffset: [0x2010, "TSC offset"],
  virtualApicAddress: [0x2012, "Virtual-APIC address", "primary.useTprShadow"],
  apicAccessAddress: [0x2014, "APIC-access address", "secondary.virtualizeApicAccesses"],
  postedInterruptDescriptor: [
    0x2016,
    "Posted-interrupt descriptor address",
    "pin.processPostedInterrupts",
  ],
  vmFunctionControls: [0x2018, "VM-function controls", "secondary.enableVmFunctions"],
  eptPointer: [0x201a, "EPT pointer", "secondary.enableEpt"],
  eoiExitBitmap0: [0x201c, "EOI-exit bitmap 0", "secondary.virtualInterruptDelivery"],
  eoiExitBitmap1: [0x201e, "EOI-exit bitmap 1", "secondary.virtualInterruptDelivery"],
  eoiExitBitmap2: [0x2020, "EOI-exit bitmap 2", "secondary.virtualInterruptDelivery"],
  eoiExitBitmap3: [0x2022, "EOI-exit bitmap 3", "secondary.virtualInterruptDelivery"],
  eptpListAddress: [0x2024, "EPTP-list address", "vmFunction.eptpSwitching"],
  vmreadBitmap: [0x2026, "VMREAD-bitmap address", "secondary.vmcsShadowing"],
  vmwriteBitmap: [0x2028, "VMWRITE-bitmap address", "secondary.vmcsShadowing"],
  virtualizationExceptionInformation: [
    0x202a,
    "Virtualization-exception information address",
    "secondary.eptViolationVe",
  ],
  xssExitingBitmap: [0x202c, "XSS-exiting bitmap", "secondary.enableXsavesXrstors"],
  enclsExitingBitmap: [0x202e, "ENCLS-exiting bitmap", "secondary.enableEnclsExiting"],
  subPagePermissionTable: [
    0x2030,
    "Sub-page-permission-table pointer",
    "secondary.subPageWritePermissions",
  ],
  tscMultiplier: [0x2032, "TSC multiplier", "secondary.useTscScaling"],
  tertiaryControls: [
    0x2034,
    "Tertiary processor-based VM-execution controls",
    "primary.activateTertiaryControls",
  ],
  enclvExitingBitmap: [0x2036, "ENCLV-exiting bitmap", "secondary.enableEnclvExiting"],
  lowPasidDirectory: [0x2038, "Low PASID directory address", "secondary.pasidTranslation"],
  highPasidDirectory: [0x203a, "High PASID directory address", "secondary.pasidTranslation"],
  sharedEptPointer: [0x203c, "Shared EPT pointer", "tdx"],
  pconfigExitingBitmap: [0x203e, "PCONFIG-exiting bitmap", "secondary.enablePconfig"],
  hlatPointer: [
    0x2040,
    "Hypervisor-managed linear-address translation pointer",
    "tertiary.enableHlat",
  ],
  pidPointerTable: [0x2042, "PID-pointer table address", "tertiary.ipiVirtualization"],
  exitControls2: [0x2044, "Secondary VM-exit controls", "exit.activateSecondaryControls"],
  ia32SpecCtrlMask: [0x204a, "IA32_SPEC_CTRL mask", "tertiary.virtualizeIa32SpecCtrl"],
  ia32SpecCtrlShadow: [0x204c, "IA32_SPEC_CTRL shadow", "tertiary.virtualizeIa32SpecCtrl"],
  guestDeadlineShadow: [0x204e, "Guest deadline shadow", "tertiary.apicTimerVirtualization"],
  injectedEventData: [0x2052, "Injected-event data", "entry.loadIa32Fred"],
  // 64-bit read-only (exit information) fields
  guestPhysicalAddress: [0x2400, "Guest-physical address", "secondary.enableEpt"],
  msrData: [0x2402, "MSR data", "tertiary.enableMsrListInstructions"],
  originalEventData: [0x2404, "Original-event data", "entry.loadIa32Fred"],
  // 64-bit guest-state fields
  vmcsLinkPointer: [0x2800, "VMCS link pointer"],
  guestIa32Debugctl: [0x2802, "Guest IA32_DEBUGCTL"],
  guestIa32Pat: [0x2804, "Guest IA32_PAT", "entry.loadIa32Pat", "exit.saveIa32Pat"],
  guestIa32Efer: [0x2806, "Guest IA32_EFER", "entry.loadIa32Efer", "exit.saveIa32Efer"],
  guestIa32PerfGlobalCtrl: [0x2808, "Guest IA32_PERF_GLOBAL_CTRL", "entry.loadIa32PerfGlobalCtrl"],
  guestPdpte0: [0x280a, "Guest PDPTE0", "secondary.enableEpt"],
  guestPdpte1: [0x280c, "Guest PDPTE1", "secondary.enableEpt"],
  guestPdpte2: [0x280e, "Guest PDPTE2", "secondary.enableEpt"],
  guestPdpte3: [0x2810, "Guest PDPTE3", "secondary.enableEpt"],
  guestIa32Bndcfgs: [
    0x2812,
    "Guest IA32_BNDCFGS",
    "entry.loadIa32Bndcfgs",
    "exit.clearIa32Bndcfgs",
  ],
  guestIa32RtitCtl: [
    0x2814,
    "Guest IA32_RTIT_CTL",
    "entry.loadIa32RtitCtl",
    "exit.clearIa32RtitCtl",
  ],
  guestIa32LbrCtl: [
    0x2816,
    "Guest IA32_LBR_CTL",
    "entry.loadGuestIa32LbrCtl",
    "exit.clearIa32LbrCtl",
  ],
  guestIa32Pkrs: [0x2818, "Guest IA32_PKRS", "entry.loadPkrs"],
  guestIa32FredConfig: [0x281a, "Guest IA32_FRED_CONFIG", "entry.loadIa32Fred"],
  guestIa32FredRsp1: [0x281c, "Guest IA32_FRED_RSP1", "entry.loadIa32Fred"],
  guestIa32FredRsp2: [0x281e, "Guest IA32_FRED_RSP2", "entry.loadIa32Fred"],
  guestIa32FredRsp3: [0x2820, "Guest IA32_FRED_RSP3", "entry.loadIa32Fred"],
  guestIa32FredStklvls: [0x2822, "Guest IA32_FRED_STKLVLS", "entry.loadIa32Fred"],
  guestIa32FredSsp1: [0x2824, "Guest IA32_FRED_SSP1", "entry.loadIa32Fred"],
  guestIa32FredSsp2: [0x2826, "Guest IA32_FRED_SSP2", "entry.loadIa32Fred"],
  guestIa32FredSsp3: [0x2828, "Guest IA32_FRED_SSP3", "entry.loadIa32Fred"],
  guestIa32SpecCtrl: [0x282e, "Guest IA32_SPEC_CTRL", "entry.loadGuestIa32SpecCtrl"],
  guestDeadline: [0x2830, "Guest deadline", "tertiary.apicTimerVirtualization"],
  // 64-bit host-state fields
  hostIa32Pat: [0x2c00, "Host IA32_PAT", "exit.loadIa32Pat"],
  hostIa32Efer: [0x2c02, "Host IA32_EFER", "exit.loadIa32Efer"],
  hostIa32PerfGlobalCtrl: [0x2c04, "Host IA32_PERF_GLOBAL_CTRL", "exit.loadIa32PerfGlobalCtrl"],
  hostIa32Pkrs: [0x2c06, "Host IA32_PKRS", "exit.loadPkrs"],
  hostIa32FredConfig: [0x2c08, "Host IA32_FRED_CONFIG", "entry.loadIa32Fred"],
  hostIa32FredRsp1: [0x2c0a, "Host IA32_FRED_RSP1", "entry.loadIa32Fred"],
  hostIa32FredRsp2: [0x2c0c, "Host IA32_FRED_RSP2", "entry.loadIa32Fred"],
  hostIa32FredRsp3: [0x2c0e, "Host IA32_FRED_RSP3", "entry.loadIa32Fred"],
  hostIa32FredStklvls: [0x2c10, "Host IA32_FRED_STKLVLS", "entry.loadIa32Fred"],
  hostIa32FredSsp1: [0x2c12, "Host IA32_FRED_SSP1", "entry.loadIa32Fred"],
  hostIa32FredSsp2: [0x2c14, "Host IA32_FRED_SSP2", "entry.loadIa32Fred"],
  hostIa32FredSsp3: [0x2c16, "Host IA32_FRED_SSP3", "entry.loadIa32Fred"],
  hostIa32SpecCtrl: [0x2c1a, "Host IA32_SPEC_CTRL", "exit2.loadHostIa32SpecCtrl"],
  // 32-bit control fields
  pinControls: [0x4000, "Pin-based VM-execution controls"],
  primaryControls: [0x4002, "Primary processor-based VM-execution controls"],
  exceptionBitmap: [0x4004, "Exception bitmap"],
  pageFaultErrorCodeMask: [0x4006, "Page-fault error-code mask"],
  pageFaultErrorCodeMatch: [0x4008, "Page-fault error-code match"],
  cr3TargetCount: [0x400a, "CR3-target count"],
  exitControls: [0x400c, "Primary VM-exit controls"],
  exitMsrStoreCount: [0x400e, "VM-exit MSR-store count"],
  exitMsrLoadCount: [0x4010, "VM-exit MSR-load count"],
  entryControls: [0x4012, "VM-entry controls"],
  entryMsrLoadCount: [0x4014, "VM-entry MSR-load count"],
  entryInterruptionInformation: [0x4016, "VM-entry interruption-information field"],
  entryExceptionErrorCode: [0x4018, "VM-entry exception error code"],
  entryInstructionLength: [0x401a, "VM-entry instruction length"],
  tprThreshold: [0x401c, "TPR threshold", "primary.useTprShadow"],
  secondaryControls: [
    0x401e,
    "Secondary processor-based VM-execution controls",
    "primary.activateSecondaryControls",
  ],
  pleGap: [0x4020, "PLE_Gap", "secondary.pauseLoopExiting"],
  pleWindow: [0x4022, "PLE_Window", "secondary.pauseLoopExiting"],
  instructionTimeout: [0x4024, "Instruction-timeout control", "secondary.instructionTimeout"],
  seamGuestKeyId: [0x4026, "SEAM guest KeyID", "tdx"],
  // 32-bit read-only (exit information) fields
  instructionError: [0x4400, "VM-instruction error"],
  exitReason: [0x4402, "Exit reason"],
  exitInterruptionInformation: [0x4404, "VM-exit interruption information"],
  exitInterruptionErrorCode: [0x4406, "VM-exit interruption error code"],
  idtVectoringInformation: [0x4408, "IDT-vectoring information field"],
  idtVectoringErrorCode: [0x440a, "IDT-vectoring error code"],
  exitInstructionLength: [0x440c, "VM-exit instruction length"],
  exitInstructionInformation: [0x440e, "VM-exit instruction information"],
  // 32-bit guest-state fields
  guestEsLimit: [0x4800, "Guest ES limit"],
  guestCsLimit: [0x4802, "Guest CS limit"],
  guestSsLimit: [0x4804, "Guest SS limit"],
  guestDsLimit: [0x4806, "Guest DS limit"],
  guestFsLimit: [0x4808, "Guest FS limit"],
  guestGsLimit: [0x480a, "Guest GS limit"],
  guestLdtrLimit: [0x480c, "Guest LDTR limit"],
  guestTrLimit: [0x480e, "Guest TR limit"],
  guestGdtrLimit: [0x4810, "Guest GDTR limit"],
  guestIdtrLimit: [0x4812, "Guest IDTR limit"],
  guestEsAccessRights: [0x4814, "Guest ES access rights"],
  guestCsAccessRights: [0x4816, "Guest CS access rights"],
  guestSsAccessRights: [0x4818, "Guest SS access rights"],
  guestDsAccessRights: [0x481a, "Guest DS access rights"],
  guestFsAccessRights: [0x481c, "Guest FS access rights"],
  guestGsAccessRights: [0x481e, "Guest GS access rights"],
  guestLdtrAccessRights: [0x4820, "Guest LDTR access rights"],
  guestTrAccessRights: [0x4822, "Guest TR access rights"],
  guestInterruptibility: [0x4824, "Guest interruptibility state"],
  guestActivity: [0x4826, "Guest activity state"],
  guestSmbase: [0x4828, "Guest SMBASE"],
  guestIa32SysenterCs: [0x482a, "Guest IA32_SYSENTER_CS"],
  preemptionTimerValue: [0x482e, "VMX-preemption timer value", "pin.activateVmxPreemptionTimer"],
  // 32-bit host-state fields
  hostIa32SysenterCs: [0x4c00, "Host IA32_SYSENTER_CS"],
  // Natural-width control fields
  cr0Mask: [0x6000, "CR0 guest/host mask"],
  cr4Mask: [0x6002, "CR4 guest/host mask"],
  cr0ReadShadow: [0x6004, "CR0 read shadow"],
  cr4ReadShadow: [0x6006, "CR4 read shadow"],
  cr3TargetValue0: [0x6008, "CR3-target value 0"],
  cr3TargetValue1: [0x600a, "CR3-target value 1"],
  cr3TargetValue2: [0x600c, "CR3-target value 2"],
  cr3TargetValue3: [0x600e, "CR3-target value 3"],
  // Natural-width read-only (exit information) fields
  exitQualification: [0x6400, "Exit qualification"],
  ioRcx: [0x6402, "I/O RCX"],
  ioRsi: [0x6404, "I/O RSI"],
  ioRdi: [0x6406, "I/O RDI"],
  ioRip: [0x6408, "I/O RIP"],
  guestLinearAddress: [0x640a, "Guest-linear address"],
  // Natural-width guest-state fields
  guestCr0: [0x6800, "Guest CR0"],
  guestCr3: [0x6802, "Guest CR3"],
  guestCr4: [0x6804, "Guest CR4"],
  guestEsBase: [0x6806, "Guest ES base"],
  guestCsBase: [0x6808, "Guest CS base"],
  guestSsBase: [0x680a, "Guest SS base"],
  guestDsBase: [0x680c, "Guest DS base"],
  guestFsBase: [0x680e, "Guest FS base"],
  guestGsBase: [0x6810, "Guest GS base"],
  guestLdtrBase: [0x6812, "Guest LDTR base"],
  guestTrBase: [0x6814, "Guest TR base"],
  guestGdtrBase: [0x6816, "Guest GDTR base"],
  guestIdtrBase: [0x6818, "Guest IDTR base"],
  guestDr7: [0x681a, "Guest DR7"],
  guestRsp: [0x681c, "Guest RSP"],
  guestRip: [0x681e, "Guest RIP"],
  guestRflags: [0x6820, "Guest RFLAGS"],
  guestPendingDebug: [0x6822, "Guest pending debug exceptions"],
  guestIa32SysenterEsp: [0x6824, "Guest IA32_SYSENTER_ESP"],
  guestIa32SysenterEip: [0x6826, "Guest IA32_SYSENTER_EIP"],
  guestIa32SCet: [0x6828, "Guest IA32_S_CET", "entry.loadCetState"],
  guestSsp: [0x682a, "Guest SSP", "entry.loadCetState"],
  guestIa32InterruptSspTableAddr: [
    0x682c,
    "Guest IA32_INTERRUPT_SSP_TABLE_ADDR",
    "entry.loadCetState",
  ],
  // Natural-width host-state fields
  hostCr0: [0x6c00, "Host CR0"],
  hostCr3: [0x6c02, "Host CR3"],
  hostCr4: [0x6c04, "Host CR4"],
  hostFsBase: [0x6c06, "Host FS base"],
  hostGsBase: [0x6c08, "Host GS base"],
  hostTrBase: [0x6c0a, "Host TR base"],
  hostGdtrBase: [0x6c0c, "Host GDTR base"],
  hostIdtrBase: [0x6c0e, "Host IDTR base"],
  hostIa32SysenterEsp: [0x6c10, "Host IA32_SYSENTER_ESP"],
  hostIa32SysenterEip: [0x6c12, "Host IA32_SYSENTER_EIP"],
  hostRsp: [0x6c14, "Host RSP"],
  hostRip: [0x6c16, "Host RIP"],
  hostIa32SCet: [0x6c18, "Host IA32_S_CET", "exit.loadCetState"],
  hostSsp: [0x6c1a, "Host SSP", "exit.loadCetState"],
  hostIa32InterruptSspTableAddr: [
    0x6c1c,
    "Host IA32_INTERRUPT_SSP_TABLE_ADDR",
    "exit.loadCetState",
  ],
} as const satisfies Record<string, FieldRow>;

export type FieldName = keyof typeof vmcsFieldTable;
export type FieldWidth = 16 | 32 | 64 | "natural";
export type FieldType = "control" | "exit-information" | "guest-state" | "host-state";

export interface VmcsField {
  readonly name: FieldName;
  readonly encoding: number;
  readonly title: string;
  readonly width: FieldWidth;
  readonly type: FieldType;
  readonly index: number;
  /** VMWRITE fails unless the processor allows writing every field. */
  readonly readOnly: boolean;
  readonly existsIf: readonly (ControlName | "tdx")[];
  /** Position of the low half within a VMCS, in 32-bit words from its start; the high half follows. */
  readonly slot: number;
}

/** 32-bit words before the first field: revision identifier, abort indicator, launch state, one spare. */
export const headerWords = 4;
/** Bytes that hold a VMCS: what a region in memory uses and what an LP caches. */
export const vmcsBytes = 2048;

const widths = [16, 64, 32, "natural"] as const satisfies FieldWidth[];
const types = ["control", "exit-information", "guest-state", "host-state"] as const;

/** All fields in the order of their slots. */
export const vmcsFields: readonly VmcsField[] = Object.entries(vmcsFieldTable).map(
  ([name, row], position) => {
    const [encoding, title, ...existsIf] = row as FieldRow;
    const type = types[(encoding >>> 10) & 3] ?? "control";
    return {
      name: name as FieldName,
      encoding,
      title,
      width: widths[(encoding >>> 13) & 3] ?? 16,
      type,
      index: (encoding >>> 1) & 0x1ff,
      readOnly: type === "exit-information",
      existsIf,
      slot: headerWords + position * 2,
    };
  },
);

/** Slot of each field by name. */
export const slot = Object.fromEntries(
  vmcsFields.map((field) => [field.name, field.slot]),
) as Readonly<Record<FieldName, number>>;

const indexLimit = 64;
const slotByKey = new Int16Array(16 * indexLimit).fill(-1);
for (const field of vmcsFields) {
  slotByKey[keyOf(field.encoding)] = field.slot;
}

/** Width, type and index packed for the look-up; the access-type bit is left out. */
function keyOf(encoding: number): number {
  return (((encoding >>> 13) & 3) << 8) | (((encoding >>> 10) & 3) << 6) | ((encoding >>> 1) & 63);
}

/** Bits that no encoding has: 31:15, 12, and index bits that no field reaches. */
const encodingReserved = ~0x6fff | ((0x1ff & ~(indexLimit - 1)) << 1);

/**
 * Slot that an encoding names, or -1. The access type (bit 0) selects the high half of a 64-bit field and is an error
 * elsewhere.
 * @param encoding low 32 bits of the operand of VMREAD or VMWRITE
 */
export function slotOfEncoding(encoding: number): number {
  if ((encoding & encodingReserved) !== 0) {
    return -1;
  }
  const isHighAccess = (encoding & 1) !== 0;
  const is64Bit = (encoding & 0x6000) === 0x2000;
  return isHighAccess && !is64Bit ? -1 : (slotByKey[keyOf(encoding)] ?? -1);
}

/** The field whose low half lies in a slot. */
export function fieldAt(position: number): VmcsField | undefined {
  return vmcsFields[(position - headerWords) >>> 1];
}
