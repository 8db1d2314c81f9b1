import {
  entryControl,
  exitControl,
  pin,
  primary,
  secondary,
  tertiary,
  vmFunction,
} from "../controls.ts";
import { instructionError } from "../instruction-errors.ts";
import { eptCapability } from "../reported-msrs.ts";
import { slot } from "../vmcs-fields.ts";
import { both, pageAligned, whenClear, whenSet, withinWidth } from "./conditions.ts";
import type { EntryContext } from "./entry-context.ts";
import { type Condition, failValid, type RuleGroup, ruleMaker } from "./entry-rule.ts";

/** "VM-Execution Control Fields", in "Checks on VMX Controls". */
const rule = ruleMaker(failValid(instructionError.entryControls));

const usesIoBitmaps = whenSet("primary", "useIoBitmaps");
const usesMsrBitmaps = whenSet("primary", "useMsrBitmaps");
const usesTprShadow = whenSet("primary", "useTprShadow");
const usesX2apicMode = whenSet("secondary", "virtualizeX2apicMode");
const usesApicAccesses = whenSet("secondary", "virtualizeApicAccesses");
const deliversVirtualInterrupts = whenSet("secondary", "virtualInterruptDelivery");
const processesPosted = whenSet("pin", "processPostedInterrupts");
const usesEpt = whenSet("secondary", "enableEpt");
const usesPml = whenSet("secondary", "enablePml");
const usesSubPages = whenSet("secondary", "subPageWritePermissions");
const usesVmFunctions = whenSet("secondary", "enableVmFunctions");
const usesShadowing = whenSet("secondary", "vmcsShadowing");
const usesVe = whenSet("secondary", "eptViolationVe");
const thresholdCounts = both(usesTprShadow, whenClear("secondary", "virtualInterruptDelivery"));
const switchesEptp: Condition = {
  text: "secondary.enableVmFunctions is 1 and VM function 0 is enabled",
  applies: (e) =>
    (e.secondary & secondary.enableVmFunctions) !== 0 &&
    (e.low(slot.vmFunctionControls) & vmFunction.eptpSwitching) !== 0,
};

const primaryHas = (mask: number) => (e: EntryContext) => (e.primary & mask) !== 0;
const secondaryHas = (mask: number) => (e: EntryContext) => (e.secondary & mask) !== 0;

/** Offset of the virtual TPR in the virtual-APIC page. */
const virtualTprOffset = 0x80;

function hasSupportedEptMemoryType(e: EntryContext): boolean {
  const type = e.low(slot.eptPointer) & 7;
  const capabilities = e.profile.eptCapabilities;
  return (
    (type === 0 && (capabilities & eptCapability.uncacheable) !== 0) ||
    (type === 6 && (capabilities & eptCapability.writeBack) !== 0)
  );
}

function hasSupportedWalkLength(e: EntryContext): boolean {
  const length = ((e.low(slot.eptPointer) >>> 3) & 7) + 1;
  const capabilities = e.profile.eptCapabilities;
  return (
    (length === 4 && (capabilities & eptCapability.walkLength4) !== 0) ||
    (length === 5 && (capabilities & eptCapability.walkLength5) !== 0)
  );
}

/** Last byte of the PID-pointer table. */
function pidTableEndsWithinWidth(e: EntryContext): boolean {
  const last = e.address(slot.pidPointerTable) + e.low(slot.lastPidPointerIndex) * 8 + 7;
  return (
    e.isWithinWidth(slot.pidPointerTable) &&
    (Math.floor(last / 2 ** 32) & e.profile.physicalHighMask) === 0
  );
}

export const executionControlRules: RuleGroup = {
  name: "exec-control",
  reads: [
    "pinControls",
    "primaryControls",
    "secondaryControls",
    "tertiaryControls",
    "exitControls",
    "entryControls",
    "cr3TargetCount",
    "ioBitmapA",
    "ioBitmapB",
    "msrBitmaps",
    "virtualApicAddress",
    "tprThreshold",
    "apicAccessAddress",
    "postedInterruptVector",
    "postedInterruptDescriptor",
    "vpid",
    "eptPointer",
    "pmlAddress",
    "subPagePermissionTable",
    "vmFunctionControls",
    "eptpListAddress",
    "vmreadBitmap",
    "vmwriteBitmap",
    "virtualizationExceptionInformation",
    "pidPointerTable",
    "lastPidPointerIndex",
    "hlatPointer",
  ],
  rules: [
    rule(
      "CTL-01",
      "the pin-based word has every bit that must be 1",
      (e) => (~e.pin & e.profile.pin.mustBeOne) === 0,
    ),
    rule(
      "CTL-02",
      "the pin-based word has no bit that must be 0",
      (e) => (e.pin & ~e.profile.pin.mayBeOne) === 0,
    ),
    rule(
      "CTL-03",
      "the primary word has every bit that must be 1",
      (e) => (~e.primary & e.profile.primary.mustBeOne) === 0,
    ),
    rule(
      "CTL-04",
      "the primary word has no bit that must be 0",
      (e) => (e.primary & ~e.profile.primary.mayBeOne) === 0,
    ),
    rule(
      "CTL-05",
      "the secondary word has no bit that must be 0",
      (e) => (e.secondary & ~e.profile.secondary.mayBeOne) === 0,
      whenSet("primary", "activateSecondaryControls"),
    ),
    rule(
      "CTL-06",
      "the tertiary word has no bit that must be 0",
      (e) =>
        (e.tertiary & ~e.profile.tertiary.mayBeOne) === 0 && e.high(slot.tertiaryControls) === 0,
      whenSet("primary", "activateTertiaryControls"),
    ),
    rule(
      "CTL-07",
      "there are no more CR3 targets than the processor has",
      (e) => e.low(slot.cr3TargetCount) <= e.profile.cr3TargetCountMax,
    ),
    rule("CTL-08", "I/O bitmap A is page-aligned", pageAligned(slot.ioBitmapA), usesIoBitmaps),
    rule(
      "CTL-09",
      "I/O bitmap A is within the physical-address width",
      withinWidth(slot.ioBitmapA),
      usesIoBitmaps,
    ),
    rule("CTL-10", "I/O bitmap B is page-aligned", pageAligned(slot.ioBitmapB), usesIoBitmaps),
    rule(
      "CTL-11",
      "I/O bitmap B is within the physical-address width",
      withinWidth(slot.ioBitmapB),
      usesIoBitmaps,
    ),
    rule(
      "CTL-12",
      "the MSR bitmaps are page-aligned",
      pageAligned(slot.msrBitmaps),
      usesMsrBitmaps,
    ),
    rule(
      "CTL-13",
      "the MSR bitmaps are within the physical-address width",
      withinWidth(slot.msrBitmaps),
      usesMsrBitmaps,
    ),
    rule(
      "CTL-14",
      "the virtual-APIC page is page-aligned",
      pageAligned(slot.virtualApicAddress),
      usesTprShadow,
    ),
    rule(
      "CTL-15",
      "the virtual-APIC page is within the physical-address width",
      withinWidth(slot.virtualApicAddress),
      usesTprShadow,
    ),
    rule(
      "CTL-16",
      "bits 31:4 of the TPR threshold are 0",
      (e) => e.low(slot.tprThreshold) >>> 4 === 0,
      thresholdCounts,
    ),
    rule(
      "CTL-17",
      "the TPR threshold is not above the priority class of the virtual TPR",
      (e) =>
        (e.low(slot.tprThreshold) & 0xf) <=
        ((e.memory.read32(e.address(slot.virtualApicAddress) + virtualTprOffset) >>> 4) & 0xf),
      both(thresholdCounts, whenClear("secondary", "virtualizeApicAccesses")),
    ),
    rule(
      "CTL-18",
      "NMI exiting is 1",
      (e) => (e.pin & pin.nmiExiting) !== 0,
      whenSet("pin", "virtualNmis"),
    ),
    rule(
      "CTL-19",
      "virtual NMIs is 1",
      (e) => (e.pin & pin.virtualNmis) !== 0,
      whenSet("primary", "nmiWindowExiting"),
    ),
    rule(
      "CTL-20",
      "the APIC-access page is page-aligned",
      pageAligned(slot.apicAccessAddress),
      usesApicAccesses,
    ),
    rule(
      "CTL-21",
      "the APIC-access page is within the physical-address width",
      withinWidth(slot.apicAccessAddress),
      usesApicAccesses,
    ),
    rule("CTL-22", "the TPR shadow is in use", primaryHas(primary.useTprShadow), usesX2apicMode),
    rule(
      "CTL-23",
      "the TPR shadow is in use",
      primaryHas(primary.useTprShadow),
      whenSet("secondary", "apicRegisterVirtualization"),
    ),
    rule(
      "CTL-24",
      "the TPR shadow is in use",
      primaryHas(primary.useTprShadow),
      deliversVirtualInterrupts,
    ),
    rule(
      "CTL-25",
      "APIC accesses are not virtualized as well",
      (e) => (e.secondary & secondary.virtualizeApicAccesses) === 0,
      usesX2apicMode,
    ),
    rule(
      "CTL-26",
      "external interrupts exit",
      (e) => (e.pin & pin.externalInterruptExiting) !== 0,
      deliversVirtualInterrupts,
    ),
    rule(
      "CTL-27",
      "virtual-interrupt delivery is 1",
      secondaryHas(secondary.virtualInterruptDelivery),
      processesPosted,
    ),
    rule(
      "CTL-28",
      "VM exits acknowledge interrupts",
      (e) => (e.exit & exitControl.acknowledgeInterruptOnExit) !== 0,
      processesPosted,
    ),
    rule(
      "CTL-29",
      "bits 15:8 of the notification vector are 0",
      (e) => e.low(slot.postedInterruptVector) >>> 8 === 0,
      processesPosted,
    ),
    rule(
      "CTL-30",
      "the posted-interrupt descriptor is aligned to 64 bytes",
      (e) => (e.low(slot.postedInterruptDescriptor) & 0x3f) === 0,
      processesPosted,
    ),
    rule(
      "CTL-31",
      "the posted-interrupt descriptor is within the physical-address width",
      withinWidth(slot.postedInterruptDescriptor),
      processesPosted,
    ),
    rule(
      "CTL-32",
      "the VPID is not 0",
      (e) => e.low(slot.vpid) !== 0,
      whenSet("secondary", "enableVpid"),
    ),
    rule(
      "CTL-33",
      "the memory type of the EPT structures is supported",
      hasSupportedEptMemoryType,
      usesEpt,
    ),
    rule("CTL-34", "the EPT walk length is supported", hasSupportedWalkLength, usesEpt),
    rule(
      "CTL-35",
      "accessed and dirty flags of EPT are off where they are not supported",
      (e) =>
        (e.low(slot.eptPointer) & 0x40) === 0 ||
        (e.profile.eptCapabilities & eptCapability.accessedDirty) !== 0,
      usesEpt,
    ),
    rule(
      "CTL-36",
      "supervisor shadow-stack control of EPT is off where it is not supported",
      (e) =>
        (e.low(slot.eptPointer) & 0x80) === 0 ||
        (e.profile.eptCapabilities & eptCapability.supervisorShadowStack) !== 0,
      usesEpt,
    ),
    rule(
      "CTL-37",
      "bits 11:8 of the EPT pointer are 0",
      (e) => (e.low(slot.eptPointer) & 0xf00) === 0,
      usesEpt,
    ),
    rule(
      "CTL-38",
      "the EPT pointer is within the physical-address width",
      withinWidth(slot.eptPointer),
      usesEpt,
    ),
    rule("CTL-39", "EPT is enabled", secondaryHas(secondary.enableEpt), usesPml),
    rule(
      "CTL-40",
      "the page-modification log is page-aligned",
      pageAligned(slot.pmlAddress),
      usesPml,
    ),
    rule(
      "CTL-41",
      "the page-modification log is within the physical-address width",
      withinWidth(slot.pmlAddress),
      usesPml,
    ),
    rule(
      "CTL-42",
      "EPT is enabled",
      secondaryHas(secondary.enableEpt),
      whenSet("secondary", "unrestrictedGuest"),
    ),
    rule(
      "CTL-43",
      "EPT is enabled",
      secondaryHas(secondary.enableEpt),
      whenSet("secondary", "modeBasedExecuteControlForEpt"),
    ),
    rule("CTL-44", "EPT is enabled", secondaryHas(secondary.enableEpt), usesSubPages),
    rule(
      "CTL-45",
      "the sub-page-permission table is page-aligned and within the physical-address width",
      (e) =>
        (e.low(slot.subPagePermissionTable) & 0xfff) === 0 &&
        e.isWithinWidth(slot.subPagePermissionTable),
      usesSubPages,
    ),
    rule(
      "CTL-46",
      "no VM function is enabled that the processor lacks",
      (e) =>
        (e.low(slot.vmFunctionControls) & ~e.profile.vmFunctions) === 0 &&
        e.high(slot.vmFunctionControls) === 0,
      usesVmFunctions,
    ),
    rule("CTL-47", "EPT is enabled", secondaryHas(secondary.enableEpt), switchesEptp),
    rule(
      "CTL-48",
      "the EPTP list is page-aligned",
      pageAligned(slot.eptpListAddress),
      switchesEptp,
    ),
    rule(
      "CTL-49",
      "the EPTP list is within the physical-address width",
      withinWidth(slot.eptpListAddress),
      switchesEptp,
    ),
    rule(
      "CTL-50",
      "the VMREAD bitmap is page-aligned",
      pageAligned(slot.vmreadBitmap),
      usesShadowing,
    ),
    rule(
      "CTL-51",
      "the VMREAD bitmap is within the physical-address width",
      withinWidth(slot.vmreadBitmap),
      usesShadowing,
    ),
    rule(
      "CTL-52",
      "the VMWRITE bitmap is page-aligned",
      pageAligned(slot.vmwriteBitmap),
      usesShadowing,
    ),
    rule(
      "CTL-53",
      "the VMWRITE bitmap is within the physical-address width",
      withinWidth(slot.vmwriteBitmap),
      usesShadowing,
    ),
    rule(
      "CTL-54",
      "the virtualization-exception area is page-aligned",
      pageAligned(slot.virtualizationExceptionInformation),
      usesVe,
    ),
    rule(
      "CTL-55",
      "the virtualization-exception area is within the physical-address width",
      withinWidth(slot.virtualizationExceptionInformation),
      usesVe,
    ),
    rule(
      "CTL-56",
      "EPT is enabled, and IA32_RTIT_CTL is loaded on entry and cleared on exit",
      (e) =>
        (e.secondary & secondary.enableEpt) !== 0 &&
        (e.entry & entryControl.loadIa32RtitCtl) !== 0 &&
        (e.exit & exitControl.clearIa32RtitCtl) !== 0,
      whenSet("secondary", "ptUsesGuestPhysicalAddresses"),
    ),
    // Some simulators refuse a multiplier of 0. The architecture has no such rule: the row stands for the decision.
    rule("CTL-57", "any TSC multiplier will do", () => true, whenSet("secondary", "useTscScaling")),
    rule(
      "CTL-58",
      "the TPR shadow is in use; the PID-pointer table is aligned to 8 bytes and ends within the physical-address width",
      (e) =>
        (e.primary & primary.useTprShadow) !== 0 &&
        (e.low(slot.pidPointerTable) & 7) === 0 &&
        pidTableEndsWithinWidth(e),
      whenSet("tertiary", "ipiVirtualization"),
    ),
    rule(
      "CTL-59",
      "EPT is enabled; bits 11:5 and 2:0 of the HLAT pointer are 0 and it is within the physical-address width",
      (e) =>
        (e.secondary & secondary.enableEpt) !== 0 &&
        (e.low(slot.hlatPointer) & 0xfe7) === 0 &&
        e.isWithinWidth(slot.hlatPointer),
      whenSet("tertiary", "enableHlat"),
    ),
    rule("CTL-60", "EPT is enabled", secondaryHas(secondary.enableEpt), {
      text: "tertiary.eptPagingWriteControl or tertiary.guestPagingVerification is 1",
      applies: (e) =>
        (e.tertiary & (tertiary.eptPagingWriteControl | tertiary.guestPagingVerification)) !== 0,
    }),
  ],
};
