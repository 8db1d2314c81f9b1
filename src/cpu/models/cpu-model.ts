import type { CpuFeature } from "./cpu-features.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

/** One CPUID leaf as the model reports it, feature flags apart. `subleaf` undefined: ECX does not matter. */
export interface CpuidRow {
  readonly leaf: number;
  readonly subleaf: number | undefined;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** A processor model: data only. What depends on the machine (APIC ids, LP count, control registers) is filled in by CPUID. */
export interface CpuModel {
  /** Name on the command line. */
  readonly name: string;
  /** One line for a list of models. */
  readonly summary: string;
  /** Brand string, at most 47 characters. */
  readonly brand: string;
  /** CPUID.1:EAX: family, model, stepping. Also EDX after reset. */
  readonly signature: number;
  readonly physicalAddressBits: number;
  readonly linearAddressBits: number;
  /** Core crystal clock, which the local APIC timer counts. */
  readonly crystalFrequencyHz: number;
  readonly features: ReadonlySet<CpuFeature>;
  /** Leaves beside the feature flags; flags are or-ed into them. Leaves 0, 0BH, 15H, 16H and 80000002H–4H are computed. */
  readonly leaves: readonly CpuidRow[];
  readonly maxBasicLeaf: number;
  readonly maxExtendedLeaf: number;
  /** Revision that IA32_BIOS_SIGN_ID reports. */
  readonly microcodeRevision: number;
  readonly machineCheckBanks: number;
  readonly variableMtrrs: number;
  /** IA32_MISC_ENABLE after reset. */
  readonly miscEnable: bigint;
  /** What IA32_VMX_* read as; undefined without VMX. */
  readonly vmx: VmxCapabilities | undefined;
}

/** Bits of CR4 by the feature that brings them. */
const cr4Bits: readonly (readonly [CpuFeature, number])[] = [
  ["vme", 0x3],
  ["tsc", 1 << 2],
  ["de", 1 << 3],
  ["pse", 1 << 4],
  ["pae", 1 << 5],
  ["mce", 1 << 6],
  ["pge", 1 << 7],
  ["msr", 1 << 8],
  ["fxsr", 1 << 9],
  ["sse", 1 << 10],
  ["umip", 1 << 11],
  ["vmx", 1 << 13],
  ["fsgsbase", 1 << 16],
  ["pcid", 1 << 17],
  ["xsave", 1 << 18],
  ["smep", 1 << 20],
  ["smap", 1 << 21],
  ["pku", 1 << 22],
  ["pks", 1 << 24],
];

/** The bits of CR4 that may be 1. RDPMC, hence CR4.PCE (bit 8), comes with the MSRs. */
export function supportedCr4(model: CpuModel): number {
  return cr4Bits.reduce(
    (mask, [feature, bits]) => (model.features.has(feature) ? mask | bits : mask),
    0,
  );
}

/** The bits of IA32_EFER that may be 1: SCE, LME, LMA, NXE. */
export function supportedEfer(model: CpuModel): number {
  return (
    (model.features.has("syscall") ? 1 << 0 : 0) |
    (model.features.has("longMode") ? (1 << 8) | (1 << 10) : 0) |
    (model.features.has("nx") ? 1 << 11 : 0)
  );
}
