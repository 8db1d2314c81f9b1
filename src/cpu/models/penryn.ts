import { baseFeatures } from "./base-features.ts";
import type { CpuModel } from "./cpu-model.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

/** VMX of the first generations: shadow paging only, every control of the default1 class fixed to 1. */
export const penrynVmx: VmxCapabilities = {
  revision: 0xd,
  controls: [
    "pin.externalInterruptExiting",
    "pin.nmiExiting",
    "pin.virtualNmis",
    "primary.interruptWindowExiting",
    "primary.useTscOffsetting",
    "primary.hltExiting",
    "primary.invlpgExiting",
    "primary.mwaitExiting",
    "primary.rdpmcExiting",
    "primary.rdtscExiting",
    "primary.cr3LoadExiting",
    "primary.cr3StoreExiting",
    "primary.cr8LoadExiting",
    "primary.cr8StoreExiting",
    "primary.useTprShadow",
    "primary.nmiWindowExiting",
    "primary.movDrExiting",
    "primary.unconditionalIoExiting",
    "primary.useIoBitmaps",
    "primary.useMsrBitmaps",
    "primary.monitorExiting",
    "primary.pauseExiting",
    "primary.activateSecondaryControls",
    "secondary.virtualizeApicAccesses",
    "secondary.wbinvdExiting",
    "exit.saveDebugControls",
    "exit.hostAddressSpaceSize",
    "exit.acknowledgeInterruptOnExit",
    "entry.loadDebugControls",
    "entry.ia32eModeGuest",
  ],
  translation: [],
  hasTrueControls: false,
  reportsStringIo: true,
  injectsAnyErrorCode: false,
  preemptionTimerShift: 0,
  activityStates: ["hlt", "shutdown", "wait-for-sipi"],
  cr3TargetCount: 4,
  msrAreaEntries: 512,
  writesReadOnlyFields: false,
  injectsZeroLength: false,
};

/** Penryn (Core 2), family 6 model 17H stepping 6, without what the execution core does not execute. */
export const penryn: CpuModel = {
  name: "penryn",
  summary: "Core 2 (06_17H), 36-bit physical addresses, VMX without EPT, VPID, unrestricted guest",
  brand: "vmxon Penryn processor",
  signature: 0x0001_0676,
  physicalAddressBits: 36,
  linearAddressBits: 48,
  crystalFrequencyHz: 24_000_000,
  features: new Set(baseFeatures),
  maxBasicLeaf: 0xa,
  maxExtendedLeaf: 0x8000_0008,
  leaves: [
    // CLFLUSH line of 8 quadwords.
    { leaf: 0x1, subleaf: undefined, eax: 0, ebx: 0x0000_0800, ecx: 0, edx: 0 },
    // Cache and TLB descriptors.
    { leaf: 0x2, subleaf: undefined, eax: 0x05b0_b101, ebx: 0x0056_57f0, ecx: 0, edx: 0x2cb4_304e },
    // Deterministic cache parameters: L1D 32 KiB, L1I 32 KiB, L2 6 MiB.
    { leaf: 0x4, subleaf: 0, eax: 0x0000_0121, ebx: 0x01c0_003f, ecx: 0x3f, edx: 1 },
    { leaf: 0x4, subleaf: 1, eax: 0x0000_0122, ebx: 0x01c0_003f, ecx: 0x3f, edx: 1 },
    { leaf: 0x4, subleaf: 2, eax: 0x0000_0143, ebx: 0x05c0_003f, ecx: 0xfff, edx: 1 },
    // MONITOR/MWAIT: 64-byte lines, extensions and interrupts as break events, sub-states.
    { leaf: 0x5, subleaf: undefined, eax: 0x40, ebx: 0x40, ecx: 0x3, edx: 0x2220 },
    { leaf: 0x8000_0006, subleaf: undefined, eax: 0, ebx: 0, ecx: 0x1800_8040, edx: 0 },
    { leaf: 0x8000_0008, subleaf: undefined, eax: 0x3024, ebx: 0, ecx: 0, edx: 0 },
  ],
  microcodeRevision: 0x60f,
  machineCheckBanks: 4,
  variableMtrrs: 8,
  // Fast strings, automatic thermal control, no BTS, no PEBS, MONITOR enabled.
  miscEnable: 0x4_1809n,
  vmx: penrynVmx,
};
