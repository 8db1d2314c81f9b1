import { baseFeatures } from "./base-features.ts";
import type { CpuModel } from "./cpu-model.ts";
import { penrynVmx } from "./penryn.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

/** Nested paging and tagged translations; real mode is still emulated by the hypervisor. */
export const nehalemVmx: VmxCapabilities = {
  ...penrynVmx,
  revision: 0xe,
  controls: [
    ...penrynVmx.controls,
    "pin.activateVmxPreemptionTimer",
    "primary.monitorTrapFlag",
    "secondary.enableEpt",
    "secondary.descriptorTableExiting",
    "secondary.enableRdtscp",
    "secondary.virtualizeX2apicMode",
    "secondary.enableVpid",
    "secondary.pauseLoopExiting",
    "exit.saveIa32Pat",
    "exit.loadIa32Pat",
    "exit.saveIa32Efer",
    "exit.loadIa32Efer",
    "exit.saveVmxPreemptionTimer",
    "entry.loadIa32Pat",
    "entry.loadIa32Efer",
  ],
  translation: [
    "ept.executeOnly",
    "ept.walkLength4",
    "ept.uncacheable",
    "ept.writeBack",
    "ept.pages2M",
    "ept.invept",
    "ept.inveptSingle",
    "ept.inveptAll",
    "vpid.invvpid",
    "vpid.individualAddress",
    "vpid.singleContext",
    "vpid.allContexts",
    "vpid.retainingGlobals",
  ],
  hasTrueControls: true,
  preemptionTimerShift: 5,
};

export const nehalemFeatures = [
  ...baseFeatures,
  "x2apic",
  "popcnt",
  "rdtscp",
  "invariantTsc",
] as const;

/** Nehalem, family 6 model 1EH stepping 5, without what the execution core does not execute. */
export const nehalem: CpuModel = {
  name: "nehalem",
  summary: "Nehalem (06_1EH), 36-bit physical addresses, VMX with EPT and VPID",
  brand: "vmxon Nehalem processor",
  signature: 0x0001_06e5,
  physicalAddressBits: 36,
  linearAddressBits: 48,
  crystalFrequencyHz: 24_000_000,
  features: new Set(nehalemFeatures),
  maxBasicLeaf: 0xb,
  maxExtendedLeaf: 0x8000_0008,
  leaves: [
    // CLFLUSH line of 8 quadwords.
    { leaf: 0x1, subleaf: undefined, eax: 0, ebx: 0x0000_0800, ecx: 0, edx: 0 },
    // Cache and TLB descriptors.
    { leaf: 0x2, subleaf: undefined, eax: 0x5503_5a01, ebx: 0x00f0_b2e4, ecx: 0, edx: 0x09ca_212c },
    // Deterministic cache parameters: L1D 32 KiB, L1I 32 KiB, L2 256 KiB, L3 8 MiB.
    { leaf: 0x4, subleaf: 0, eax: 0x0000_0121, ebx: 0x01c0_003f, ecx: 0x3f, edx: 0 },
    { leaf: 0x4, subleaf: 1, eax: 0x0000_0122, ebx: 0x00c0_003f, ecx: 0x7f, edx: 0 },
    { leaf: 0x4, subleaf: 2, eax: 0x0000_0143, ebx: 0x01c0_003f, ecx: 0x1ff, edx: 0 },
    { leaf: 0x4, subleaf: 3, eax: 0x0000_0163, ebx: 0x03c0_003f, ecx: 0x1fff, edx: 2 },
    // MONITOR/MWAIT: 64-byte lines, extensions and interrupts as break events, sub-states.
    { leaf: 0x5, subleaf: undefined, eax: 0x40, ebx: 0x40, ecx: 0x3, edx: 0x1120 },
    { leaf: 0x8000_0006, subleaf: undefined, eax: 0, ebx: 0, ecx: 0x0100_6040, edx: 0 },
    { leaf: 0x8000_0008, subleaf: undefined, eax: 0x3024, ebx: 0, ecx: 0, edx: 0 },
  ],
  microcodeRevision: 0xa,
  machineCheckBanks: 9,
  variableMtrrs: 8,
  // Fast strings, automatic thermal control, no BTS, no PEBS, MONITOR enabled.
  miscEnable: 0x4_1809n,
  vmx: nehalemVmx,
};
