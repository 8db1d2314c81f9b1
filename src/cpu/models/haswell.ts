import type { CpuModel } from "./cpu-model.ts";
import { nehalemFeatures, nehalemVmx } from "./nehalem.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

/** Guests in real mode, virtual interrupts without exits, shadow VMCSs; requests are not posted from outside yet. */
export const haswellVmx: VmxCapabilities = {
  ...nehalemVmx,
  revision: 0x12,
  controls: [
    ...nehalemVmx.controls,
    "secondary.unrestrictedGuest",
    "secondary.apicRegisterVirtualization",
    "secondary.virtualInterruptDelivery",
    "secondary.rdrandExiting",
    "secondary.enableInvpcid",
    "secondary.enableVmFunctions",
    "secondary.vmcsShadowing",
    "vmFunction.eptpSwitching",
  ],
  translation: [...nehalemVmx.translation, "ept.pages1G", "ept.accessedDirty"],
  writesReadOnlyFields: true,
};

export const haswellFeatures = [
  ...nehalemFeatures,
  "pcid",
  "movbe",
  "tscDeadline",
  "xsave",
  "rdrand",
  "arat",
  "fsgsbase",
  "tscAdjust",
  "bmi1",
  "smep",
  "bmi2",
  "erms",
  "invpcid",
  "fpuSelectorsDeprecated",
  "xsaveopt",
  "lzcnt",
  "pages1G",
] as const;

/** Haswell, family 6 model 3CH stepping 3, without what the execution core does not execute: AVX and all on it, SSE3 to SSE4.2, AES, TSX. */
export const haswell: CpuModel = {
  name: "haswell",
  summary: "Haswell (06_3CH), VMX with virtual-interrupt delivery and shadow VMCSs",
  brand: "vmxon Haswell processor",
  signature: 0x0003_06c3,
  physicalAddressBits: 39,
  linearAddressBits: 48,
  crystalFrequencyHz: 24_000_000,
  features: new Set(haswellFeatures),
  maxBasicLeaf: 0xd,
  maxExtendedLeaf: 0x8000_0008,
  leaves: [
    // CLFLUSH line of 8 quadwords.
    { leaf: 0x1, subleaf: undefined, eax: 0, ebx: 0x0000_0800, ecx: 0, edx: 0 },
    // Cache and TLB descriptors.
    { leaf: 0x2, subleaf: undefined, eax: 0x7603_6301, ebx: 0x00f0_b5ff, ecx: 0, edx: 0x00c1_0000 },
    // Deterministic cache parameters: L1D 32 KiB, L1I 32 KiB, L2 256 KiB, L3 8 MiB.
    { leaf: 0x4, subleaf: 0, eax: 0x0000_0121, ebx: 0x01c0_003f, ecx: 0x3f, edx: 0 },
    { leaf: 0x4, subleaf: 1, eax: 0x0000_0122, ebx: 0x01c0_003f, ecx: 0x3f, edx: 0 },
    { leaf: 0x4, subleaf: 2, eax: 0x0000_0143, ebx: 0x01c0_003f, ecx: 0x1ff, edx: 0 },
    { leaf: 0x4, subleaf: 3, eax: 0x0000_0163, ebx: 0x03c0_003f, ecx: 0x1fff, edx: 6 },
    // MONITOR/MWAIT: 64-byte lines, extensions and interrupts as break events, sub-states.
    { leaf: 0x5, subleaf: undefined, eax: 0x40, ebx: 0x40, ecx: 0x3, edx: 0x4_2120 },
    // State components of XSAVE: x87 and SSE only.
    { leaf: 0xd, subleaf: 0, eax: 0x3, ebx: 0x240, ecx: 0x240, edx: 0 },
    { leaf: 0x8000_0006, subleaf: undefined, eax: 0, ebx: 0, ecx: 0x0100_6040, edx: 0 },
    { leaf: 0x8000_0008, subleaf: undefined, eax: 0x3027, ebx: 0, ecx: 0, edx: 0 },
  ],
  microcodeRevision: 0x28,
  machineCheckBanks: 9,
  variableMtrrs: 8,
  // Fast strings, automatic thermal control, no BTS, no PEBS, MONITOR enabled.
  miscEnable: 0x4_1809n,
  vmx: haswellVmx,
};
