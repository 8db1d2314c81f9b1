import type { FieldName } from "../../src/vmx/vmcs-fields.ts";
import { SampleVmcs, samplePlace } from "./sample-vmcs.ts";

type Change = (vmcs: SampleVmcs) => unknown;

/** A rule's two cases: both start from `given`, which makes the rule apply. */
export interface RuleCase {
  readonly given?: Change;
  /** Breaks the rule. */
  readonly invalid: Change;
  /** Stays just inside it. */
  readonly valid?: Change;
}

const beyondWidth = 1n << 46n;
const lastInWidth = (1n << 46n) - 0x1000n;
const notCanonical = 1n << 47n;
const canonical = -(1n << 47n);

const set =
  (name: FieldName, value: bigint | number): Change =>
  (v) =>
    v.set(name, value);

function pageCases(
  aligned: string,
  width: string,
  name: FieldName,
  given: Change,
): Record<string, RuleCase> {
  return {
    [aligned]: { given, invalid: set(name, 0x1800), valid: set(name, 0x1000) },
    [width]: { given, invalid: set(name, beyondWidth), valid: set(name, lastInWidth) },
  };
}

function msrAreaCases(
  ids: readonly [string, string, string],
  count: FieldName,
  address: FieldName,
): Record<string, RuleCase> {
  const given = set(count, 2);
  return {
    [ids[0]]: { given, invalid: set(address, 0x1008), valid: set(address, 0x1010) },
    [ids[1]]: { given, invalid: set(address, beyondWidth), valid: set(address, lastInWidth) },
    [ids[2]]: {
      given,
      invalid: set(address, beyondWidth - 16n),
      valid: set(address, beyondWidth - 32n),
    },
  };
}

const tprShadow: Change = (v) => v.on("primary.useTprShadow");
const x2apicMode: Change = (v) => v.on("primary.useTprShadow").on("secondary.virtualizeX2apicMode");
const virtualInterrupts: Change = (v) =>
  v
    .on("primary.useTprShadow")
    .on("secondary.virtualInterruptDelivery")
    .on("pin.externalInterruptExiting");
const posted: Change = (v) => {
  virtualInterrupts(v);
  v.on("pin.processPostedInterrupts").on("exit.acknowledgeInterruptOnExit");
};
const ept: Change = (v) => v.ept();
const pml: Change = (v) => v.ept().on("secondary.enablePml");
const eptpSwitching: Change = (v) =>
  v.ept().on("secondary.enableVmFunctions").on("vmFunction.eptpSwitching");
const shadowing: Change = (v) => v.on("secondary.vmcsShadowing");
const ve: Change = (v) => v.ept().on("secondary.eptViolationVe");

export const executionControlCases: Record<string, RuleCase> = {
  "CTL-01": { invalid: set("pinControls", 0x12), valid: set("pinControls", 0x16) },
  "CTL-02": { invalid: set("pinControls", 0x116), valid: set("pinControls", 0x17) },
  "CTL-03": {
    invalid: (v) => v.set("primaryControls", v.get("primaryControls") & ~2n),
    valid: (v) => v.on("primary.hltExiting"),
  },
  "CTL-04": { invalid: (v) => v.set("primaryControls", v.get("primaryControls") | 1n) },
  "CTL-05": {
    given: (v) => v.on("primary.activateSecondaryControls"),
    invalid: (v) => v.set("secondaryControls", 1 << 29),
    valid: (v) => v.on("secondary.enableRdtscp"),
  },
  "CTL-06": {
    given: (v) => v.on("primary.activateTertiaryControls"),
    invalid: (v) => v.set("tertiaryControls", 1n << 40n),
    valid: (v) => v.on("tertiary.loadiwkeyExiting"),
  },
  "CTL-07": { invalid: set("cr3TargetCount", 5), valid: set("cr3TargetCount", 4) },
  ...pageCases("CTL-08", "CTL-09", "ioBitmapA", (v) => v.on("primary.useIoBitmaps")),
  ...pageCases("CTL-10", "CTL-11", "ioBitmapB", (v) => v.on("primary.useIoBitmaps")),
  ...pageCases("CTL-12", "CTL-13", "msrBitmaps", (v) => v.on("primary.useMsrBitmaps")),
  ...pageCases("CTL-14", "CTL-15", "virtualApicAddress", tprShadow),
  "CTL-16": {
    given: (v) => v.on("primary.useTprShadow").on("secondary.virtualizeApicAccesses"),
    invalid: set("tprThreshold", 0x10),
    valid: set("tprThreshold", 0xf),
  },
  "CTL-17": {
    given: (v) =>
      v
        .on("primary.useTprShadow")
        .set("virtualApicAddress", samplePlace.virtualApic)
        .memory.set(samplePlace.virtualApic + 0x80, 0x30),
    invalid: set("tprThreshold", 4),
    valid: set("tprThreshold", 3),
  },
  "CTL-18": {
    given: (v) => v.on("pin.virtualNmis"),
    invalid: (v) => v.off("pin.nmiExiting"),
    valid: (v) => v.on("pin.nmiExiting"),
  },
  "CTL-19": {
    given: (v) => v.on("primary.nmiWindowExiting"),
    invalid: (v) => v.off("pin.virtualNmis"),
    valid: (v) => v.on("pin.virtualNmis").on("pin.nmiExiting"),
  },
  ...pageCases("CTL-20", "CTL-21", "apicAccessAddress", (v) =>
    v.on("secondary.virtualizeApicAccesses"),
  ),
  "CTL-22": { given: x2apicMode, invalid: (v) => v.off("primary.useTprShadow") },
  "CTL-23": {
    given: (v) => v.on("primary.useTprShadow").on("secondary.apicRegisterVirtualization"),
    invalid: (v) => v.off("primary.useTprShadow"),
  },
  "CTL-24": { given: virtualInterrupts, invalid: (v) => v.off("primary.useTprShadow") },
  "CTL-25": { given: x2apicMode, invalid: (v) => v.on("secondary.virtualizeApicAccesses") },
  "CTL-26": { given: virtualInterrupts, invalid: (v) => v.off("pin.externalInterruptExiting") },
  "CTL-27": { given: posted, invalid: (v) => v.off("secondary.virtualInterruptDelivery") },
  "CTL-28": { given: posted, invalid: (v) => v.off("exit.acknowledgeInterruptOnExit") },
  "CTL-29": {
    given: posted,
    invalid: set("postedInterruptVector", 0x1f2),
    valid: set("postedInterruptVector", 0xf2),
  },
  "CTL-30": {
    given: posted,
    invalid: set("postedInterruptDescriptor", 0x1020),
    valid: set("postedInterruptDescriptor", 0x1040),
  },
  "CTL-31": {
    given: posted,
    invalid: set("postedInterruptDescriptor", beyondWidth),
    valid: set("postedInterruptDescriptor", beyondWidth - 64n),
  },
  "CTL-32": {
    given: (v) => v.on("secondary.enableVpid"),
    invalid: set("vpid", 0),
    valid: set("vpid", 1),
  },
  "CTL-33": {
    given: ept,
    invalid: set("eptPointer", 0x7_0019),
    valid: set("eptPointer", 0x7_0018),
  },
  "CTL-34": {
    given: ept,
    invalid: set("eptPointer", 0x7_0016),
    valid: set("eptPointer", 0x7_001e),
  },
  "CTL-35": {
    given: (v) => v.ept().set("eptPointer", 0x7_005e),
    invalid: (v) => v.with({ eptCapabilities: v.profile.eptCapabilities & ~(1 << 21) }),
  },
  "CTL-36": {
    given: ept,
    invalid: set("eptPointer", 0x7_009e),
    valid: (v) =>
      v
        .set("eptPointer", 0x7_009e)
        .with({ eptCapabilities: v.profile.eptCapabilities | (1 << 23) }),
  },
  "CTL-37": {
    given: ept,
    invalid: set("eptPointer", 0x7_011e),
    valid: set("eptPointer", 0x7_001e),
  },
  "CTL-38": {
    given: ept,
    invalid: set("eptPointer", beyondWidth | 0x1en),
    valid: set("eptPointer", lastInWidth | 0x1en),
  },
  "CTL-39": { given: pml, invalid: (v) => v.off("secondary.enableEpt") },
  ...pageCases("CTL-40", "CTL-41", "pmlAddress", pml),
  "CTL-42": {
    given: (v) => v.ept().on("secondary.unrestrictedGuest"),
    invalid: (v) => v.off("secondary.enableEpt"),
  },
  "CTL-43": {
    given: (v) => v.ept().on("secondary.modeBasedExecuteControlForEpt"),
    invalid: (v) => v.off("secondary.enableEpt"),
  },
  "CTL-44": {
    given: (v) => v.ept().on("secondary.subPageWritePermissions"),
    invalid: (v) => v.off("secondary.enableEpt"),
  },
  "CTL-45": {
    given: (v) => v.ept().on("secondary.subPageWritePermissions"),
    invalid: set("subPagePermissionTable", 0x1010),
    valid: set("subPagePermissionTable", lastInWidth),
  },
  "CTL-46": {
    given: (v) => v.ept().on("secondary.enableVmFunctions"),
    invalid: set("vmFunctionControls", 2),
    valid: set("vmFunctionControls", 1),
  },
  "CTL-47": { given: eptpSwitching, invalid: (v) => v.off("secondary.enableEpt") },
  ...pageCases("CTL-48", "CTL-49", "eptpListAddress", eptpSwitching),
  ...pageCases("CTL-50", "CTL-51", "vmreadBitmap", shadowing),
  ...pageCases("CTL-52", "CTL-53", "vmwriteBitmap", shadowing),
  ...pageCases("CTL-54", "CTL-55", "virtualizationExceptionInformation", ve),
  "CTL-56": {
    given: (v) =>
      v
        .ept()
        .on("secondary.ptUsesGuestPhysicalAddresses")
        .on("entry.loadIa32RtitCtl")
        .on("exit.clearIa32RtitCtl"),
    invalid: (v) => v.off("exit.clearIa32RtitCtl"),
  },
  "CTL-58": {
    given: (v) => v.on("primary.useTprShadow").on("tertiary.ipiVirtualization"),
    invalid: (v) => v.set("pidPointerTable", beyondWidth - 8n).set("lastPidPointerIndex", 1),
    valid: (v) => v.set("pidPointerTable", beyondWidth - 16n).set("lastPidPointerIndex", 1),
  },
  "CTL-59": {
    given: (v) => v.ept().on("tertiary.enableHlat"),
    invalid: set("hlatPointer", 0x1001),
    valid: set("hlatPointer", 0x1018),
  },
  "CTL-60": {
    given: (v) => v.ept().on("tertiary.guestPagingVerification"),
    invalid: (v) => v.off("secondary.enableEpt"),
  },
};

export const exitAndEntryControlCases: Record<string, RuleCase> = {
  "XCT-01": { invalid: (v) => v.set("exitControls", v.get("exitControls") & ~1n) },
  // Every bit of the word means something or is fixed: a processor that lacks one stands for the others.
  "XCT-02": {
    given: (v) => v.on("exit.saveIa32Pat"),
    invalid: (v) =>
      v.with({ exit: { ...v.profile.exit, mayBeOne: v.profile.exit.mayBeOne & ~(1 << 18) } }),
  },
  "XCT-03": {
    given: (v) => v.on("exit.activateSecondaryControls"),
    invalid: set("exitControls2", 1 << 9),
    valid: set("exitControls2", 1),
  },
  "XCT-04": {
    given: (v) => v.on("pin.activateVmxPreemptionTimer").on("exit.saveVmxPreemptionTimer"),
    invalid: (v) => v.off("pin.activateVmxPreemptionTimer"),
  },
  ...msrAreaCases(["XCT-05", "XCT-06", "XCT-07"], "exitMsrStoreCount", "exitMsrStoreAddress"),
  ...msrAreaCases(["XCT-08", "XCT-09", "XCT-10"], "exitMsrLoadCount", "exitMsrLoadAddress"),
  "NCT-01": { invalid: (v) => v.set("entryControls", v.get("entryControls") & ~1n) },
  "NCT-02": { invalid: (v) => v.set("entryControls", v.get("entryControls") | (1n << 30n)) },
  ...msrAreaCases(["NCT-03", "NCT-04", "NCT-05"], "entryMsrLoadCount", "entryMsrLoadAddress"),
  "NCT-06": { invalid: (v) => v.on("entry.entryToSmm") },
  "NCT-07": { invalid: (v) => v.on("entry.deactivateDualMonitor") },
  "NCT-08": { invalid: (v) => v.on("entry.deactivateDualMonitor").on("entry.entryToSmm") },
};

const withErrorCode = 1 << 11;

export const injectionCases: Record<string, RuleCase> = {
  "INJ-01": { invalid: (v) => v.inject(1, 0x20), valid: (v) => v.inject(3, 6) },
  "INJ-02": {
    given: (v) => v.inject(7, 0),
    invalid: (v) =>
      v.with({
        primary: { ...v.profile.primary, mayBeOne: v.profile.primary.mayBeOne & ~(1 << 27) },
      }),
  },
  "INJ-03": { given: (v) => v.inject(2, 2), invalid: (v) => v.inject(2, 3) },
  "INJ-04": { given: (v) => v.inject(3, 31), invalid: (v) => v.inject(3, 32) },
  "INJ-05": { given: (v) => v.inject(7, 0), invalid: (v) => v.inject(7, 1) },
  "INJ-06": {
    given: (v) => v.inject(3, 13, withErrorCode),
    invalid: (v) => v.inject(3, 6, withErrorCode),
  },
  "INJ-07": {
    given: (v) => v.inject(4, 13).set("entryInstructionLength", 2),
    invalid: (v) => v.inject(4, 13, withErrorCode),
  },
  "INJ-08": {
    given: (v) => v.realMode().inject(3, 13),
    invalid: (v) => v.inject(3, 13, withErrorCode),
  },
  "INJ-09": { given: (v) => v.inject(3, 13, withErrorCode), invalid: (v) => v.inject(3, 13) },
  "INJ-10": { given: (v) => v.inject(3, 6), invalid: (v) => v.inject(3, 6, 1 << 12) },
  "INJ-11": {
    given: (v) => v.inject(3, 14, withErrorCode),
    invalid: set("entryExceptionErrorCode", 0x1_0000),
    valid: set("entryExceptionErrorCode", 0xffff),
  },
  "INJ-12": {
    given: (v) => v.inject(4, 0x80),
    invalid: set("entryInstructionLength", 16),
    valid: set("entryInstructionLength", 15),
  },
  "INJ-13": {
    given: (v) => v.inject(6, 3).with({ injectsZeroLength: false }),
    invalid: set("entryInstructionLength", 0),
    valid: set("entryInstructionLength", 1),
  },
};

/** Host and guest outside IA-32e mode. */
const narrow: Change = (v) => {
  v.protected32().off("exit.hostAddressSpaceSize").set("hostIa32Efer", 0).isLongMode = false;
};
const hostCet: Change = (v) => v.on("exit.loadCetState");

export const hostCases: Record<string, RuleCase> = {
  "HAS-01": { invalid: (v) => v.off("exit.hostAddressSpaceSize").protected32() },
  "HAS-02": { given: narrow, invalid: (v) => v.on("exit.hostAddressSpaceSize") },
  "HAS-03": { given: narrow, invalid: (v) => v.on("entry.ia32eModeGuest") },
  "HRG-01": { invalid: set("hostCr0", 0x8005_0013), valid: set("hostCr0", 0xe005_0033) },
  "HRG-02": { invalid: set("hostCr4", 0x20), valid: set("hostCr4", 0x20a0) },
  "HRG-03": {
    invalid: (v) => v.set("hostCr4", 0x80_2020).set("hostCr0", 0x8004_0033),
    valid: set("hostCr4", 0x80_2020),
  },
  "HRG-04": { invalid: set("hostCr3", beyondWidth), valid: set("hostCr3", lastInWidth) },
  "HRG-05": {
    invalid: set("hostIa32SysenterEsp", notCanonical),
    valid: set("hostIa32SysenterEsp", canonical),
  },
  "HRG-06": {
    invalid: set("hostIa32SysenterEip", notCanonical),
    valid: set("hostIa32SysenterEip", canonical),
  },
  "HRG-07": {
    given: (v) => v.on("exit.loadIa32PerfGlobalCtrl").with({ perfGlobalCtrl: 0xf }),
    invalid: set("hostIa32PerfGlobalCtrl", 0x10),
    valid: set("hostIa32PerfGlobalCtrl", 0xf),
  },
  "HRG-08": {
    given: (v) => v.on("exit.loadIa32Pat"),
    invalid: set("hostIa32Pat", 0x0207_0406_0007_0406n),
    valid: set("hostIa32Pat", 0x0507_0406_0007_0401n),
  },
  "HRG-09": {
    given: (v) => v.on("exit.loadIa32Efer"),
    invalid: set("hostIa32Efer", 0x502),
    valid: set("hostIa32Efer", 0xd01),
  },
  "HRG-10": { given: (v) => v.on("exit.loadIa32Efer"), invalid: set("hostIa32Efer", 0x100) },
  "HRG-11": { given: (v) => v.on("exit.loadIa32Efer"), invalid: set("hostIa32Efer", 0x400) },
  "HRG-12": {
    given: hostCet,
    invalid: set("hostIa32SCet", 0xc00),
    valid: set("hostIa32SCet", 0x800),
  },
  "HRG-13": { given: hostCet, invalid: set("hostSsp", 0x1002), valid: set("hostSsp", 0x1004) },
  "HRG-14": {
    given: hostCet,
    invalid: set("hostIa32InterruptSspTableAddr", notCanonical),
    valid: set("hostIa32InterruptSspTableAddr", canonical),
  },
  "HRG-15": {
    given: (v) => v.on("exit.loadPkrs"),
    invalid: set("hostIa32Pkrs", 1n << 32n),
    valid: set("hostIa32Pkrs", 0xffff_ffff),
  },
  "HSG-01": { invalid: set("hostCsSelector", 0x0b) },
  "HSG-02": { invalid: set("hostSsSelector", 0x13), valid: set("hostSsSelector", 0) },
  "HSG-03": { invalid: set("hostDsSelector", 0x14), valid: set("hostDsSelector", 0) },
  "HSG-04": { invalid: set("hostEsSelector", 0x11), valid: set("hostEsSelector", 0) },
  "HSG-05": { invalid: set("hostFsSelector", 0x14), valid: set("hostFsSelector", 0) },
  "HSG-06": { invalid: set("hostGsSelector", 0x12), valid: set("hostGsSelector", 0) },
  "HSG-07": { invalid: set("hostTrSelector", 0x1c) },
  "HSG-08": { invalid: set("hostCsSelector", 0) },
  "HSG-09": { invalid: set("hostTrSelector", 0) },
  "HSG-10": {
    given: narrow,
    invalid: set("hostSsSelector", 0),
    valid: set("hostSsSelector", 0x10),
  },
  "HSG-11": { invalid: set("hostFsBase", notCanonical), valid: set("hostFsBase", canonical) },
  "HSG-12": { invalid: set("hostGsBase", notCanonical), valid: set("hostGsBase", canonical) },
  "HSG-13": { invalid: set("hostGdtrBase", notCanonical), valid: set("hostGdtrBase", canonical) },
  "HSG-14": { invalid: set("hostIdtrBase", notCanonical), valid: set("hostIdtrBase", canonical) },
  "HSG-15": { invalid: set("hostTrBase", notCanonical), valid: set("hostTrBase", canonical) },
  "HAS-04": { invalid: set("hostCr4", 0x2000) },
  "HAS-05": { invalid: set("hostRip", notCanonical), valid: set("hostRip", canonical) },
  "HAS-06": { given: narrow, invalid: (v) => v.on("entry.ia32eModeGuest") },
  "HAS-07": { given: narrow, invalid: set("hostCr4", 0x2_2020), valid: set("hostCr4", 0x2020) },
  "HAS-08": {
    given: narrow,
    invalid: set("hostRip", 1n << 32n),
    valid: set("hostRip", 0xffff_ffff),
  },
};

const guestCet: Change = (v) => v.on("entry.loadCetState");
const loadsEfer: Change = (v) => v.on("entry.loadIa32Efer");

export const guestRegisterCases: Record<string, RuleCase> = {
  "GRG-01": { invalid: set("guestCr0", 0x8005_0013), valid: set("guestCr0", 0xe005_0033) },
  "GRG-02": {
    given: (v) => v.protected32().ept().on("secondary.unrestrictedGuest"),
    invalid: set("guestCr0", 0x8000_0020),
    valid: set("guestCr0", 0x8000_0021),
  },
  "GRG-03": { invalid: set("guestCr4", 0x20), valid: set("guestCr4", 0x20a0) },
  "GRG-04": {
    invalid: (v) => v.set("guestCr4", 0x80_2020).set("guestCr0", 0x8004_0033),
    valid: set("guestCr4", 0x80_2020),
  },
  "GRG-05": {
    given: (v) => v.on("entry.loadDebugControls"),
    invalid: set("guestIa32Debugctl", 1n << 40n),
    valid: set("guestIa32Debugctl", 3),
  },
  "GRG-06": {
    given: (v) => v.ept().on("secondary.unrestrictedGuest"),
    invalid: set("guestCr0", 0x5_0033),
  },
  "GRG-07": { invalid: set("guestCr4", 0x2000) },
  "GRG-08": {
    given: (v) => v.protected32(),
    invalid: set("guestCr4", 0x2_2000),
    valid: set("guestCr4", 0x2000),
  },
  "GRG-09": { invalid: set("guestCr3", beyondWidth), valid: set("guestCr3", lastInWidth) },
  "GRG-10": {
    given: (v) => v.on("entry.loadDebugControls"),
    invalid: set("guestDr7", 1n << 32n),
    valid: set("guestDr7", 0xffff_ffff),
  },
  "GRG-11": {
    invalid: set("guestIa32SysenterEsp", notCanonical),
    valid: set("guestIa32SysenterEsp", canonical),
  },
  "GRG-12": {
    invalid: set("guestIa32SysenterEip", notCanonical),
    valid: set("guestIa32SysenterEip", canonical),
  },
  "GRG-13": {
    given: (v) => v.on("entry.loadIa32PerfGlobalCtrl").with({ perfGlobalCtrl: 0xf }),
    invalid: set("guestIa32PerfGlobalCtrl", 0x10),
    valid: set("guestIa32PerfGlobalCtrl", 0xf),
  },
  "GRG-14": {
    given: (v) => v.on("entry.loadIa32Pat"),
    invalid: set("guestIa32Pat", 0x0807_0406_0007_0406n),
    valid: set("guestIa32Pat", 0x0507_0406_0007_0401n),
  },
  "GRG-15": {
    given: loadsEfer,
    invalid: set("guestIa32Efer", 0x502),
    valid: set("guestIa32Efer", 0xd01),
  },
  "GRG-16": { given: loadsEfer, invalid: set("guestIa32Efer", 0x100) },
  "GRG-17": { given: loadsEfer, invalid: set("guestIa32Efer", 0x400) },
  "GRG-18": {
    given: (v) => v.on("entry.loadIa32Bndcfgs"),
    invalid: set("guestIa32Bndcfgs", 0x1004),
    valid: set("guestIa32Bndcfgs", 0x1003),
  },
  "GRG-19": {
    given: (v) => v.on("entry.loadIa32RtitCtl"),
    invalid: set("guestIa32RtitCtl", 1),
    valid: set("guestIa32RtitCtl", 0),
  },
  "GRG-20": {
    given: guestCet,
    invalid: set("guestIa32SCet", 0x40),
    valid: set("guestIa32SCet", 0x3f),
  },
  "GRG-21": {
    given: guestCet,
    invalid: set("guestSsp", notCanonical),
    valid: set("guestSsp", canonical),
  },
  "GRG-22": {
    given: guestCet,
    invalid: set("guestIa32InterruptSspTableAddr", notCanonical),
    valid: set("guestIa32InterruptSspTableAddr", canonical),
  },
  "GRG-23": {
    given: (v) => v.on("entry.loadPkrs"),
    invalid: set("guestIa32Pkrs", 1n << 32n),
    valid: set("guestIa32Pkrs", 0xffff_ffff),
  },
  "GRG-24": {
    given: (v) => v.on("entry.loadUinv"),
    invalid: set("guestUinv", 0x100),
    valid: set("guestUinv", 0xff),
  },
  "GRG-25": {
    given: (v) => v.on("entry.loadGuestIa32LbrCtl"),
    invalid: set("guestIa32LbrCtl", 1),
    valid: set("guestIa32LbrCtl", 0),
  },
};

const order = ["Cs", "Ss", "Ds", "Es", "Fs", "Gs"] as const;
type Segment = (typeof order)[number];
const dataSegments = ["Ds", "Es", "Fs", "Gs"] as const;
const id = (number: number): string => `GSG-${String(number).padStart(2, "0")}`;

/** The same case for several segments, with consecutive ids. */
function each(
  first: number,
  segments: readonly Segment[],
  make: (segment: Segment) => RuleCase,
): Record<string, RuleCase> {
  return Object.fromEntries(segments.map((segment, n) => [id(first + n), make(segment)]));
}

function v8086Cases(first: number, name: Segment): Record<string, RuleCase> {
  const given: Change = (v) => v.virtual8086();
  return {
    [id(first)]: { given, invalid: set(`guest${name}Base`, 0x1_0010) },
    [id(first + 1)]: { given, invalid: set(`guest${name}Limit`, 0xf_ffff) },
    [id(first + 2)]: { given, invalid: set(`guest${name}AccessRights`, 0x93) },
  };
}

const usableLdtr: Change = (v) => v.segment("Ldtr", 0x20, 0x82, 0xff);
const unusable = 0x1_0000;

export const guestSegmentCases: Record<string, RuleCase> = {
  "GSG-01": { invalid: set("guestTrSelector", 0x1c) },
  "GSG-02": {
    given: usableLdtr,
    invalid: set("guestLdtrSelector", 0x24),
    valid: set("guestLdtrSelector", 0x20),
  },
  "GSG-03": { invalid: set("guestCsSelector", 0x0b) },
  ...v8086Cases(4, "Cs"),
  ...v8086Cases(7, "Ss"),
  ...v8086Cases(10, "Ds"),
  ...v8086Cases(13, "Es"),
  ...v8086Cases(16, "Fs"),
  ...v8086Cases(19, "Gs"),
  "GSG-22": { invalid: set("guestTrBase", notCanonical), valid: set("guestTrBase", canonical) },
  "GSG-23": { invalid: set("guestFsBase", notCanonical), valid: set("guestFsBase", canonical) },
  "GSG-24": { invalid: set("guestGsBase", notCanonical), valid: set("guestGsBase", canonical) },
  "GSG-25": {
    given: usableLdtr,
    invalid: set("guestLdtrBase", notCanonical),
    valid: set("guestLdtrBase", canonical),
  },
  "GSG-26": { invalid: set("guestCsBase", 1n << 32n), valid: set("guestCsBase", 0xffff_ffff) },
  ...each(27, ["Ss", "Ds", "Es"], (s) => ({
    invalid: set(`guest${s}Base`, 1n << 32n),
    valid: set(`guest${s}Base`, 0xffff_ffff),
  })),
  "GSG-30": {
    invalid: set("guestCsAccessRights", 0xa09a),
    valid: set("guestCsAccessRights", 0xa099),
  },
  "GSG-31": {
    invalid: set("guestSsAccessRights", 0xc091),
    valid: set("guestSsAccessRights", 0xc097),
  },
  ...each(32, dataSegments, (s) => ({
    invalid: set(`guest${s}AccessRights`, 0xc099),
    valid: set(`guest${s}AccessRights`, 0xc09b),
  })),
  ...each(36, order, (s) => ({
    invalid: (v) => v.set(`guest${s}AccessRights`, v.get(`guest${s}AccessRights`) & ~0x10n),
  })),
  "GSG-42": {
    given: (v) => v.realMode().set("guestCr0", 0x21).segment("Cs", 0x08, 0xc093, 0xffff_ffff),
    invalid: set("guestCsAccessRights", 0xc0b3),
  },
  "GSG-43": { invalid: set("guestCsAccessRights", 0xa0bb) },
  "GSG-44": {
    given: (v) => v.set("guestCsAccessRights", 0xa09f),
    invalid: set("guestCsAccessRights", 0xa0bf),
  },
  "GSG-45": {
    invalid: (v) => v.set("guestSsAccessRights", 0xc0b3).set("guestCsAccessRights", 0xa0bb),
  },
  "GSG-46": {
    given: (v) => v.realMode().segment("Cs", 0x08, 0x9b, 0xffff),
    invalid: (v) => v.set("guestSsAccessRights", 0xc0f3).set("guestCsAccessRights", 0xfb),
  },
  ...each(47, dataSegments, (s) => ({
    invalid: set(`guest${s}Selector`, 0x11),
    valid: (v) => v.set(`guest${s}Selector`, 0x12).set(`guest${s}AccessRights`, 0xc0d3),
  })),
  ...each(51, order, (s) => ({
    invalid: (v) => v.set(`guest${s}AccessRights`, v.get(`guest${s}AccessRights`) & ~0x80n),
  })),
  ...each(57, order, (s) => ({
    invalid: (v) => v.set(`guest${s}AccessRights`, v.get(`guest${s}AccessRights`) | 0x200n),
  })),
  "GSG-63": { invalid: set("guestCsAccessRights", 0xe09b) },
  ...each(64, order, (s) => ({
    invalid: set(`guest${s}Limit`, 0xffff_fffe),
    valid: set(`guest${s}Limit`, 0xfff),
  })),
  "GSG-70": { invalid: set("guestTrAccessRights", 0x83), valid: set("guestTrAccessRights", 0x8b) },
  "GSG-71": { invalid: set("guestTrAccessRights", 0x9b) },
  "GSG-72": { invalid: set("guestTrAccessRights", 0x0b) },
  "GSG-73": { invalid: set("guestTrAccessRights", 0x48b) },
  "GSG-74": { invalid: set("guestTrLimit", 0x10_0000), valid: set("guestTrLimit", 0xf_ffff) },
  "GSG-75": { invalid: set("guestTrAccessRights", 0x8b | unusable) },
  "GSG-76": { given: usableLdtr, invalid: set("guestLdtrAccessRights", 0x83) },
  "GSG-77": { given: usableLdtr, invalid: set("guestLdtrAccessRights", 0x92) },
  "GSG-78": { given: usableLdtr, invalid: set("guestLdtrAccessRights", 0x02) },
  "GSG-79": { given: usableLdtr, invalid: set("guestLdtrAccessRights", 0x2_0082) },
  "GSG-80": {
    given: usableLdtr,
    invalid: set("guestLdtrLimit", 0x10_0000),
    valid: set("guestLdtrLimit", 0xf_ffff),
  },
};

const halted: Change = (v) => v.set("guestActivity", 1);
const stiShadow: Change = (v) => v.set("guestRflags", 0x202).set("guestInterruptibility", 1);
const linked: Change = (v) =>
  v
    .set("vmcsLinkPointer", samplePlace.linkedVmcs)
    .memory.set(samplePlace.linkedVmcs, v.profile.revision);
const shadowed: Change = (v) => {
  v.on("secondary.vmcsShadowing").set("vmcsLinkPointer", samplePlace.linkedVmcs);
  v.memory.set(samplePlace.linkedVmcs, (v.profile.revision | 0x8000_0000) >>> 0);
};
const pae: Change = (v) =>
  v.protected32().set("guestCr4", 0x2020).set("guestCr3", samplePlace.pdptes);

export const guestOtherCases: Record<string, RuleCase> = {
  "GDT-01": { invalid: set("guestGdtrBase", notCanonical), valid: set("guestGdtrBase", canonical) },
  "GDT-02": { invalid: set("guestGdtrLimit", 0x1_0000), valid: set("guestGdtrLimit", 0xffff) },
  "GDT-03": { invalid: set("guestIdtrBase", notCanonical), valid: set("guestIdtrBase", canonical) },
  "GDT-04": { invalid: set("guestIdtrLimit", 0x1_0000), valid: set("guestIdtrLimit", 0xffff) },
  "GRF-01": {
    given: (v) => v.protected32(),
    invalid: set("guestRip", 1n << 32n),
    valid: set("guestRip", 0xffff_ffff),
  },
  "GRF-02": { invalid: set("guestRip", 1n << 48n), valid: set("guestRip", 1n << 47n) },
  "GRF-03": { invalid: set("guestRflags", 0x8002), valid: set("guestRflags", 0x24_0ad7) },
  "GRF-04": { invalid: set("guestRflags", 0) },
  "GRF-05": {
    given: (v) => v.virtual8086().on("entry.ia32eModeGuest").set("guestCr4", 0x2020),
    invalid: set("guestRflags", 0x2_0002),
    valid: (v) => new SampleVmcs().copyTo(v),
  },
  "GRF-06": {
    given: (v) => v.inject(0, 0x30),
    invalid: set("guestRflags", 2),
    valid: set("guestRflags", 0x202),
  },
  "GNR-01": { invalid: set("guestActivity", 4), valid: set("guestActivity", 2) },
  "GNR-02": {
    given: halted,
    invalid: (v) => {
      v.segment("Ss", 0x13, 0xc0f3, 0xffff_ffff).segment("Cs", 0x0b, 0xa0fb, 0xffff_ffff);
    },
  },
  "GNR-03": { given: stiShadow, invalid: set("guestActivity", 1), valid: set("guestActivity", 0) },
  "GNR-04": { given: halted, invalid: (v) => v.inject(3, 6), valid: (v) => v.inject(3, 1) },
  "GNR-05": {
    given: set("guestActivity", 2),
    invalid: (v) => v.inject(3, 6),
    valid: (v) => v.inject(2, 2),
  },
  "GNR-06": { given: set("guestActivity", 3), invalid: (v) => v.inject(2, 2) },
  "GNR-07": { given: (v) => v.on("entry.entryToSmm"), invalid: set("guestActivity", 3) },
  "GNR-08": { invalid: set("guestInterruptibility", 0x20), valid: set("guestInterruptibility", 8) },
  "GNR-09": { given: stiShadow, invalid: set("guestInterruptibility", 3) },
  "GNR-10": { invalid: set("guestInterruptibility", 1), valid: set("guestInterruptibility", 2) },
  "GNR-11": {
    given: (v) => v.set("guestRflags", 0x202).inject(0, 0x30),
    invalid: set("guestInterruptibility", 1),
    valid: set("guestInterruptibility", 8),
  },
  "GNR-12": {
    given: (v) => v.inject(2, 2),
    invalid: set("guestInterruptibility", 2),
    valid: set("guestInterruptibility", 0),
  },
  "GNR-13": { invalid: set("guestInterruptibility", 4), valid: set("guestInterruptibility", 8) },
  "GNR-14": { given: (v) => v.on("entry.entryToSmm"), invalid: set("guestInterruptibility", 0) },
  "GNR-16": {
    given: (v) => v.on("pin.nmiExiting").on("pin.virtualNmis").inject(2, 2),
    invalid: set("guestInterruptibility", 8),
    valid: set("guestInterruptibility", 0),
  },
  "GNR-17": { invalid: set("guestInterruptibility", 16) },
  "GNR-18": { invalid: set("guestPendingDebug", 0x10), valid: set("guestPendingDebug", 0x500f) },
  "GNR-19": {
    given: (v) => v.set("guestRflags", 0x102).set("guestInterruptibility", 2),
    invalid: set("guestPendingDebug", 0),
    valid: set("guestPendingDebug", 0x4000),
  },
  "GNR-20": {
    given: halted,
    invalid: set("guestPendingDebug", 0x4000),
    valid: set("guestPendingDebug", 0),
  },
  "GNR-21": {
    given: (v) => v.with({ hasRtm: true }),
    invalid: set("guestPendingDebug", 0x1_0000),
    valid: set("guestPendingDebug", 0x1_1000),
  },
  "GNR-22": { given: linked, invalid: set("vmcsLinkPointer", 0x8010), valid: () => {} },
  "GNR-23": { given: linked, invalid: set("vmcsLinkPointer", beyondWidth), valid: () => {} },
  "GNR-24": {
    given: linked,
    invalid: (v) => v.memory.set(samplePlace.linkedVmcs, 0x1234),
    valid: () => {},
  },
  "GNR-25": {
    given: shadowed,
    invalid: (v) => v.memory.set(samplePlace.linkedVmcs, v.profile.revision),
    valid: () => {},
  },
  "GNR-26": {
    given: linked,
    invalid: (v) =>
      v.set("vmcsLinkPointer", samplePlace.vmcs).memory.set(samplePlace.vmcs, v.profile.revision),
  },
  "GPD-01": {
    given: (v) => {
      pae(v);
      v.ept();
    },
    invalid: set("guestPdpte2", 0x1003),
    valid: set("guestPdpte2", 0x1001),
  },
  "GPD-02": {
    given: pae,
    invalid: (v) => v.memory.set(samplePlace.pdptes + 0x18, 0x21),
    valid: (v) => v.memory.set(samplePlace.pdptes + 0x18, 0x1019),
  },
};

export const entryCases: Readonly<Record<string, RuleCase>> = {
  ...executionControlCases,
  ...exitAndEntryControlCases,
  ...injectionCases,
  ...hostCases,
  ...guestRegisterCases,
  ...guestSegmentCases,
  ...guestOtherCases,
};

/** Rules that cannot be broken: decisions, and what would need SMM or a machine check. */
export const unbreakable: readonly string[] = ["CTL-57", "GNR-15", "GNR-27", "MSL-07"];
