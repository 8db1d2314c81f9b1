import { Segment } from "../execution/lp-window.ts";
import type { LpState } from "./lp-state.ts";
import { type CpuFeature, cpuFeatures } from "./models/cpu-features.ts";
import type { CpuidRow, CpuModel } from "./models/cpu-model.ts";
import { apicBaseBit, cr4Bit, eferBit, rightsBit } from "./register-bits.ts";

/** Contents of EAX, EBX, ECX, EDX; each an unsigned 32-bit number. */
export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** Where an LP stands in the machine: one package, one thread per core. */
export interface CpuidTopology {
  readonly apicId: number;
  /** APIC ids of all LPs. */
  readonly apicIds: readonly number[];
}

/** IA32_MISC_ENABLE. */
const miscEnableBit = {
  monitor: 1n << 18n,
  limitCpuid: 1n << 22n,
  executeDisableOff: 1n << 34n,
} as const;

/** What IA32_MISC_ENABLE and XCR0 leave of basic leaves when "limit CPUID maxval" is set. */
const limitedMaxLeaf = 2;
const brandLeaf = 0x8000_0002;
const brandBytes = 48;

/**
 * CPUID of one LP: the model's leaves, completed with what depends on the machine (once) and on registers (at each query).
 */
export class CpuidLeaves {
  readonly #model: CpuModel;
  readonly #state: LpState;
  /** By leaf, then by subleaf; a leaf without subleaves has one entry under `undefined`. */
  readonly #leaves = new Map<number, Map<number | undefined, CpuidResult>>();

  /** @param tscFrequencyHz rate at which the machine's TSC really counts */
  constructor(model: CpuModel, state: LpState, topology: CpuidTopology, tscFrequencyHz: number) {
    this.#model = model;
    this.#state = state;
    for (const row of model.leaves) {
      this.#set(row);
    }
    for (const feature of model.features) {
      this.#announce(feature);
    }
    this.#set({ leaf: 0, subleaf: undefined, ...vendorLeaf(model.maxBasicLeaf) });
    this.#set({
      leaf: 0x8000_0000,
      subleaf: undefined,
      eax: model.maxExtendedLeaf,
      ebx: 0,
      ecx: 0,
      edx: 0,
    });
    this.#set({
      leaf: 0x15,
      subleaf: undefined,
      ...clockLeaf(tscFrequencyHz, model.crystalFrequencyHz),
    });
    this.#set({ leaf: 0x16, subleaf: undefined, ...frequencyLeaf(tscFrequencyHz) });
    this.#setTopology(topology);
    this.#setBrand(model.brand);
  }

  /** @param leaf, subleaf EAX and ECX, unsigned */
  query(leaf: number, subleaf: number): CpuidResult {
    const effective = this.#effectiveLeaf(leaf);
    const rows = this.#leaves.get(effective);
    const row = rows?.get(undefined) ?? rows?.get(subleaf);
    const result = row === undefined ? { eax: 0, ebx: 0, ecx: 0, edx: 0 } : { ...row };
    this.#complete(result, effective, subleaf);
    return result;
  }

  /** Leaves above the highest of their range answer as the highest basic leaf. */
  #effectiveLeaf(leaf: number): number {
    const { maxBasicLeaf, maxExtendedLeaf } = this.#model;
    const highest = this.#limited ? limitedMaxLeaf : maxBasicLeaf;
    const limit = leaf >= 0x8000_0000 ? maxExtendedLeaf : highest;
    return leaf <= limit ? leaf : highest;
  }

  get #limited(): boolean {
    return (this.#state.get("miscEnable") & miscEnableBit.limitCpuid) !== 0n;
  }

  /** What registers decide. */
  #complete(result: CpuidResult, leaf: number, subleaf: number): void {
    const state = this.#state;
    switch (leaf) {
      case 0:
        if (this.#limited) {
          result.eax = limitedMaxLeaf;
        }
        return;
      case 1:
        if ((state.low("cr4") & cr4Bit.OSXSAVE) !== 0) {
          result.ecx |= 1 << 27;
        }
        if ((state.get("miscEnable") & miscEnableBit.monitor) === 0n) {
          result.ecx &= ~(1 << cpuFeatures.monitor.bit);
        }
        if ((state.low("apicBase") & apicBaseBit.enable) === 0) {
          result.edx &= ~(1 << cpuFeatures.apic.bit);
        }
        result.ecx >>>= 0;
        result.edx >>>= 0;
        return;
      case 7:
        if (subleaf === 0 && (state.low("cr4") & cr4Bit.PKE) !== 0) {
          result.ecx = (result.ecx | (1 << 4)) >>> 0;
        }
        return;
      case 0xb:
        if (subleaf > 1) {
          result.ecx = subleaf & 0xff;
          result.edx = this.#leaves.get(0xb)?.get(0)?.edx ?? 0;
        }
        return;
      case 0x8000_0001:
        if (!this.#in64BitMode) {
          result.edx &= ~(1 << cpuFeatures.syscall.bit);
        }
        if ((state.get("miscEnable") & miscEnableBit.executeDisableOff) !== 0n) {
          result.edx &= ~(1 << cpuFeatures.nx.bit);
        }
        return;
      default:
    }
  }

  get #in64BitMode(): boolean {
    const isLong = (this.#state.rights(Segment.CS) & rightsBit.long) !== 0;
    return isLong && (this.#state.low("efer") & eferBit.LMA) !== 0;
  }

  #set({ leaf, subleaf, eax, ebx, ecx, edx }: CpuidRow): void {
    const rows = this.#leaves.get(leaf) ?? new Map<number | undefined, CpuidResult>();
    this.#leaves.set(leaf, rows.set(subleaf, { eax, ebx, ecx, edx }));
  }

  /** The row of a leaf, made when the model has none. */
  #row(leaf: number, subleaf: number): CpuidResult {
    const rows = this.#leaves.get(leaf);
    const row = rows?.get(undefined) ?? rows?.get(subleaf);
    if (row !== undefined) {
      return row;
    }
    const hasSubleaves = leaf === 7 || leaf === 0xd;
    const fresh: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    this.#leaves.set(leaf, (rows ?? new Map()).set(hasSubleaves ? subleaf : undefined, fresh));
    return fresh;
  }

  #announce(feature: CpuFeature): void {
    const { leaf, subleaf, register, bit } = cpuFeatures[feature];
    const row = this.#row(leaf, subleaf);
    row[register] = (row[register] | (1 << bit)) >>> 0;
  }

  /** Leaves 1, 4 and 0BH: ids and how many LPs share what. */
  #setTopology({ apicId, apicIds }: CpuidTopology): void {
    const cores = apicIds.length;
    const idBits = bitsFor(Math.max(...apicIds) + 1);
    const addressable = 1 << idBits;
    const version = this.#row(1, 0);
    version.eax = this.#model.signature;
    version.ebx |= ((apicId & 0xff) << 24) | (Math.min(addressable, 255) << 16);
    version.ebx >>>= 0;
    if (cores > 1) {
      version.edx |= 1 << cpuFeatures.htt.bit;
    }
    for (const [subleaf, cache] of this.#leaves.get(4) ?? []) {
      const sharing = subleaf === 3 ? addressable - 1 : 0;
      cache.eax = (cache.eax | (Math.min(addressable - 1, 63) << 26) | (sharing << 14)) >>> 0;
    }
    this.#set({ leaf: 0xb, subleaf: 0, eax: 0, ebx: 1, ecx: 0x100, edx: apicId });
    this.#set({ leaf: 0xb, subleaf: 1, eax: idBits, ebx: cores, ecx: 0x201, edx: apicId });
  }

  #setBrand(brand: string): void {
    const bytes = new Uint8Array(brandBytes);
    bytes.set(new TextEncoder().encode(brand).subarray(0, brandBytes - 1));
    const words = new Uint32Array(bytes.buffer);
    for (let n = 0; n < 3; n++) {
      const [eax = 0, ebx = 0, ecx = 0, edx = 0] = words.subarray(n * 4, n * 4 + 4);
      this.#set({ leaf: brandLeaf + n, subleaf: undefined, eax, ebx, ecx, edx });
    }
  }
}

function vendorLeaf(maxBasicLeaf: number): CpuidResult {
  return { eax: maxBasicLeaf, ebx: 0x756e_6547, ecx: 0x6c65_746e, edx: 0x4965_6e69 };
}

/** TSC rate as a ratio to the core crystal clock: TSC Hz = ECX · EBX / EAX. */
function clockLeaf(tscHz: number, crystalHz: number): CpuidResult {
  const divisor = greatestCommonDivisor(tscHz, crystalHz);
  return { eax: crystalHz / divisor, ebx: tscHz / divisor, ecx: crystalHz, edx: 0 };
}

/** Base, maximum and bus frequency in MHz. */
function frequencyLeaf(tscHz: number): CpuidResult {
  const megahertz = Math.round(tscHz / 1_000_000);
  return { eax: megahertz, ebx: megahertz, ecx: 100, edx: 0 };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Bits that number `count` things. */
function bitsFor(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}
