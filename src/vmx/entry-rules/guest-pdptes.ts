import { entryControl, secondary } from "../controls.ts";
import { exitReason } from "../exit-reasons.ts";
import { slot } from "../vmcs-fields.ts";
import type { EntryContext } from "./entry-context.ts";
import { entryFailure, type RuleGroup, ruleMaker } from "./entry-rule.ts";

/** "Checks on Guest Page-Directory-Pointer-Table Entries". */
const rule = ruleMaker(entryFailure(exitReason.invalidGuestState, 2));

/** Bits 2:1 and 8:5 of a PDPTE. */
const reservedLow = 0x1e6;

export function isValidPdpte(low: number, high: number, physicalHighMask: number): boolean {
  return (low & 1) === 0 || ((low & reservedLow) === 0 && (high & physicalHighMask) === 0);
}

/** The guest will use PAE paging: paging on, PAE on, not in IA-32e mode. */
export function usesPaePaging(e: EntryContext): boolean {
  return (
    (e.low(slot.guestCr0) & 0x8000_0000) !== 0 &&
    (e.low(slot.guestCr4) & (1 << 5)) !== 0 &&
    (e.entry & entryControl.ia32eModeGuest) === 0
  );
}
const usesEpt = (e: EntryContext): boolean => (e.secondary & secondary.enableEpt) !== 0;

const pdpteSlots = [slot.guestPdpte0, slot.guestPdpte1, slot.guestPdpte2, slot.guestPdpte3];

function areFieldsValid(e: EntryContext): boolean {
  return pdpteSlots.every((position) =>
    isValidPdpte(e.low(position), e.high(position), e.profile.physicalHighMask),
  );
}

function areInMemoryValid(e: EntryContext): boolean {
  const table = (e.low(slot.guestCr3) & ~31) >>> 0;
  return pdpteSlots.every((_, n) =>
    isValidPdpte(
      e.memory.read32(table + n * 8),
      e.memory.read32(table + n * 8 + 4),
      e.profile.physicalHighMask,
    ),
  );
}

export const guestPdpteRules: RuleGroup = {
  name: "guest-pdpte",
  reads: [
    "primaryControls",
    "secondaryControls",
    "entryControls",
    "guestCr0",
    "guestCr3",
    "guestCr4",
    "guestPdpte0",
    "guestPdpte1",
    "guestPdpte2",
    "guestPdpte3",
  ],
  rules: [
    rule("GPD-01", "the reserved bits of present PDPTE fields are 0", areFieldsValid, {
      text: "the guest uses PAE paging with EPT",
      applies: (e) => usesPaePaging(e) && usesEpt(e),
    }),
    rule("GPD-02", "the reserved bits of present PDPTEs at CR3 are 0", areInMemoryValid, {
      text: "the guest uses PAE paging without EPT",
      applies: (e) => usesPaePaging(e) && !usesEpt(e),
    }),
  ],
};
