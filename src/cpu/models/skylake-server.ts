import type { CpuModel } from "./cpu-model.ts";
import { haswellFeatures, haswellVmx } from "./haswell.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

/**
 * VMX of a Skylake server part, less what hangs on features the model leaves out: dual-monitor treatment of SMM, Processor
 * Trace, MPX, performance monitoring and SGX.
 */
export const skylakeServerVmx: VmxCapabilities = {
  ...haswellVmx,
  revision: 0x4,
  controls: [
    ...haswellVmx.controls,
    "pin.processPostedInterrupts",
    "secondary.rdseedExiting",
    "secondary.enablePml",
    "secondary.eptViolationVe",
    "secondary.enableXsavesXrstors",
    "secondary.modeBasedExecuteControlForEpt",
    "secondary.useTscScaling",
  ],
  translation: [...haswellVmx.translation, "ept.advancedInformation"],
  preemptionTimerShift: 7,
  injectsZeroLength: true,
};

export const skylakeServerFeatures = [
  ...haswellFeatures,
  "rdseed",
  "adx",
  "smap",
  "clflushopt",
  "clwb",
  "xsavec",
  "xgetbv1",
  "xsaves",
  "prefetchw",
] as const;

/**
 * Skylake server, family 6 model 55H stepping 4, without what the execution core does not execute: AVX and everything on
 * it, SSE3 to SSE4.2, AES, PCLMULQDQ, TSX, MPX, Processor Trace, performance counters.
 */
export const skylakeServer: CpuModel = {
  name: "skylake-server",
  summary:
    "Skylake server (06_55H), 46-bit physical addresses, VMX with posted interrupts, PML, TSC scaling",
  brand: "vmxon Skylake server processor",
  signature: 0x0005_0654,
  physicalAddressBits: 46,
  linearAddressBits: 48,
  crystalFrequencyHz: 24_000_000,
  features: new Set(skylakeServerFeatures),
  maxBasicLeaf: 0x16,
  maxExtendedLeaf: 0x8000_0008,
  leaves: [
    // CLFLUSH line of 8 quadwords.
    { leaf: 0x1, subleaf: undefined, eax: 0, ebx: 0x0000_0800, ecx: 0, edx: 0 },
    // Cache and TLB descriptors.
    { leaf: 0x2, subleaf: undefined, eax: 0x7603_6301, ebx: 0x00f0_b5ff, ecx: 0, edx: 0x00c3_0000 },
    // Deterministic cache parameters: L1D 32 KiB, L1I 32 KiB, L2 1 MiB, L3; sharing and core counts are filled in.
    { leaf: 0x4, subleaf: 0, eax: 0x0000_0121, ebx: 0x01c0_003f, ecx: 0x3f, edx: 0 },
    { leaf: 0x4, subleaf: 1, eax: 0x0000_0122, ebx: 0x01c0_003f, ecx: 0x3f, edx: 0 },
    { leaf: 0x4, subleaf: 2, eax: 0x0000_0143, ebx: 0x03c0_003f, ecx: 0x3ff, edx: 0 },
    { leaf: 0x4, subleaf: 3, eax: 0x0000_0163, ebx: 0x0280_003f, ecx: 0x2fff, edx: 4 },
    // MONITOR/MWAIT: 64-byte lines, extensions and interrupts as break events, sub-states.
    { leaf: 0x5, subleaf: undefined, eax: 0x40, ebx: 0x40, ecx: 0x3, edx: 0x2020 },
    // State components of XSAVE: x87 and SSE only.
    { leaf: 0xd, subleaf: 0, eax: 0x3, ebx: 0x240, ecx: 0x240, edx: 0 },
    { leaf: 0xd, subleaf: 1, eax: 0, ebx: 0x240, ecx: 0, edx: 0 },
    { leaf: 0x8000_0006, subleaf: undefined, eax: 0, ebx: 0, ecx: 0x0100_6040, edx: 0 },
    { leaf: 0x8000_0008, subleaf: undefined, eax: 0x302e, ebx: 0, ecx: 0, edx: 0 },
  ],
  microcodeRevision: 0x0200_006a,
  machineCheckBanks: 4,
  variableMtrrs: 8,
  // Fast strings, automatic thermal control, no BTS, no PEBS, MONITOR enabled.
  miscEnable: 0x4_1809n,
  vmx: skylakeServerVmx,
};
