import type { VmxProfile } from "../capabilities.ts";
import { primary } from "../controls.ts";
import { slot } from "../vmcs-fields.ts";

/** Reads physical memory; outside RAM everything reads as ones. */
export interface PhysicalReader {
  read32(address: number): number;
}

/**
 * What the entry rules look at: the fields of the current VMCS, and the little of the processor's state and of memory that
 * some of them need. One per LP; `begin` is called at each VM entry.
 */
export class EntryContext {
  readonly profile: VmxProfile;
  readonly memory: PhysicalReader;
  readonly #words: Uint32Array;
  #base = 0;

  /** Control words in effect: a word that is not activated counts as 0. */
  pin = 0;
  primary = 0;
  secondary = 0;
  tertiary = 0;
  exit = 0;
  entry = 0;
  /** VM-entry interruption-information field. */
  injection = 0;
  /** IA32_EFER.LMA at the time of the instruction. */
  isLongMode = false;
  /** The local APIC is in x2APIC mode. */
  isX2apic = false;
  /** System-management mode is not modelled. */
  readonly isInSmm = false;
  /** Physical address of the current VMCS. */
  currentPointer = 0;

  /** @param words 32-bit view that holds the VMCS; `begin` says where */
  constructor(profile: VmxProfile, memory: PhysicalReader, words: Uint32Array) {
    this.profile = profile;
    this.memory = memory;
    this.#words = words;
  }

  /** Takes up the VMCS that starts at word `base`. */
  begin(base: number): void {
    this.#base = base;
    const primaryControls = this.low(slot.primaryControls);
    this.pin = this.low(slot.pinControls);
    this.primary = primaryControls;
    this.secondary =
      (primaryControls & primary.activateSecondaryControls) !== 0
        ? this.low(slot.secondaryControls)
        : 0;
    this.tertiary =
      (primaryControls & primary.activateTertiaryControls) !== 0
        ? this.low(slot.tertiaryControls)
        : 0;
    this.exit = this.low(slot.exitControls);
    this.entry = this.low(slot.entryControls);
    this.injection = this.low(slot.entryInterruptionInformation);
  }

  /** Low half of a field, unsigned. */
  low(position: number): number {
    return this.#words[this.#base + position] ?? 0;
  }
  /** High half of a field, unsigned; 0 for fields of 16 and 32 bits. */
  high(position: number): number {
    return this.#words[this.#base + position + 1] ?? 0;
  }

  /** All address bits at and above the physical-address width are 0. */
  isWithinWidth(position: number): boolean {
    return (this.high(position) & this.profile.physicalHighMask) === 0;
  }
  isCanonical(position: number): boolean {
    return isCanonicalHigh(this.high(position), this.profile.canonicalShift);
  }
  /** A field as an address; meaningful below 2^53. */
  address(position: number): number {
    return this.high(position) * 0x1_0000_0000 + this.low(position);
  }
}

/** Whether the high half belongs to a canonical address: the bits from the sign bit of the linear address up are alike. */
export function isCanonicalHigh(high: number, shift: number): boolean {
  const top = (high | 0) >> shift;
  return top === 0 || top === -1;
}
