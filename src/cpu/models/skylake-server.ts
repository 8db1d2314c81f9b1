import type { CpuModel } from "./cpu-model.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

/**
 * VMX capabilities of a Skylake server part, less what hangs on features the model leaves out: dual-monitor treatment of
 * SMM, Processor Trace, MPX, performance monitoring and SGX.
 */
const vmx: VmxCapabilities = {
  basic: 0x00d8_0400_0000_0004n,
  pinbased: 0x0000_00ff_0000_0016n,
  procbased: 0xfff9_fffe_0401_e172n,
  exit: 0x007f_efff_0003_6dffn,
  entry: 0x0000_dfff_0000_11ffn,
  misc: 0x0000_0000_6004_01e7n,
  cr0Fixed0: 0x8000_0021n,
  cr0Fixed1: 0xffff_ffffn,
  cr4Fixed0: 0x2000n,
  cr4Fixed1: 0x37_27ffn,
  vmcsEnum: 0x2en,
  procbased2: 0x0257_7fff_0000_0000n,
  eptVpidCap: 0x0000_0f01_0673_4141n,
  truePinbased: 0x0000_00ff_0000_0016n,
  trueProcbased: 0xfff9_fffe_0400_6172n,
  trueExit: 0x007f_efff_0003_6dfbn,
  trueEntry: 0x0000_dfff_0000_11fbn,
  vmfunc: 0x1n,
};

/**
 * Skylake server, family 6 model 55H stepping 4, without what the execution core does not execute: AVX and everything on
 * it, SSE3 to SSE4.2, AES, PCLMULQDQ, TSX, MPX, Processor Trace, performance counters. (MMX and the floating-point half of
 * SSE and SSE2 stay announced although not executed: 64-bit software takes them for granted.)
 */
export const skylakeServer: CpuModel = {
  name: "skylake-server",
  summary: "Skylake server (06_55H), 46-bit physical addresses, VMX",
  brand: "vmxon Skylake server processor",
  signature: 0x0005_0654,
  physicalAddressBits: 46,
  linearAddressBits: 48,
  crystalFrequencyHz: 24_000_000,
  features: new Set([
    "fpu",
    "vme",
    "de",
    "pse",
    "tsc",
    "msr",
    "pae",
    "mce",
    "cmpxchg8b",
    "apic",
    "sysenter",
    "mtrr",
    "pge",
    "mca",
    "cmov",
    "pat",
    "pse36",
    "clflush",
    "mmx",
    "fxsr",
    "sse",
    "sse2",
    "monitor",
    "vmx",
    "cmpxchg16b",
    "pcid",
    "x2apic",
    "movbe",
    "popcnt",
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
    "rdseed",
    "adx",
    "smap",
    "clflushopt",
    "clwb",
    "xsaveopt",
    "xsavec",
    "xgetbv1",
    "xsaves",
    "lahf",
    "lzcnt",
    "prefetchw",
    "syscall",
    "nx",
    "pages1G",
    "rdtscp",
    "longMode",
    "invariantTsc",
  ]),
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
  vmx,
};
