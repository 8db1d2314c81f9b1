/** The VM-entry MSR-load, VM-exit MSR-store and VM-exit MSR-load areas ("Loading MSRs", "Saving MSRs"). */

import { ApicMode } from "../cpu/local-apic/registers.ts";
import type { LogicalProcessor } from "../cpu/logical-processor.ts";
import {
  entryMsrLoadRules,
  type MsrAreaEntry,
  type MsrPort,
  storedMsr,
} from "./entry-rules/msr-areas.ts";

const entryBytes = 16;

class AreaMsrs implements MsrPort {
  readonly #lp: LogicalProcessor;

  constructor(lp: LogicalProcessor) {
    this.#lp = lp;
  }
  get isX2apic(): boolean {
    return this.#lp.apic.mode === ApicMode.X2Apic;
  }
  write(index: number, value: bigint): boolean {
    return this.#lp.msrs.write(index, value);
  }
  read(index: number): bigint | undefined {
    return this.#lp.msrs.read(index);
  }
}

/** The MSR areas of one LP. */
export class MsrAreas {
  readonly #lp: LogicalProcessor;
  readonly #msrs: AreaMsrs;
  readonly #entryCountMax: number;

  /** @param entryCountMax entries that an area may have; one more fails */
  constructor(lp: LogicalProcessor, entryCountMax: number) {
    this.#lp = lp;
    this.#msrs = new AreaMsrs(lp);
    this.#entryCountMax = entryCountMax;
  }

  /** @returns 0, or the number of the entry that cannot be loaded, counted from 1 */
  load(address: number, count: number): number {
    for (let n = 0; n < count; n++) {
      if (n >= this.#entryCountMax) {
        return n + 1;
      }
      const entry = this.#entryAt(address + n * entryBytes);
      for (const rule of entryMsrLoadRules) {
        if (!rule.holds(entry, this.#msrs)) {
          return n + 1;
        }
      }
    }
    return 0;
  }

  /** @returns false when an entry cannot be stored */
  store(address: number, count: number): boolean {
    for (let n = 0; n < count; n++) {
      const at = address + n * entryBytes;
      const value = storedMsr(this.#entryAt(at), this.#msrs);
      if (value === undefined || n >= this.#entryCountMax) {
        return false;
      }
      this.#lp.physical.write64(at + 8, value);
    }
    return true;
  }

  #entryAt(address: number): MsrAreaEntry {
    const { physical } = this.#lp;
    return {
      index: physical.read32(address),
      reserved: physical.read32(address + 4),
      value: physical.read64(address + 8),
    };
  }
}
