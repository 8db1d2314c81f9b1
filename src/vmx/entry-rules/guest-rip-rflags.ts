import { entryControl } from "../controls.ts";
import { exitReason } from "../exit-reasons.ts";
import { InterruptionType, interruptionBit } from "../interruption.ts";
import { slot } from "../vmcs-fields.ts";
import { canonical } from "./conditions.ts";
import type { EntryContext } from "./entry-context.ts";
import { entryFailure, type RuleGroup, ruleMaker } from "./entry-rule.ts";

/** "Checks on Guest Descriptor-Table Registers" and "Checks on Guest RIP, RFLAGS, and SSP". */
const rule = ruleMaker(entryFailure(exitReason.invalidGuestState));

export const guestTableRules: RuleGroup = {
  name: "guest-descriptor-tables",
  reads: ["guestGdtrBase", "guestGdtrLimit", "guestIdtrBase", "guestIdtrLimit"],
  rules: [
    rule("GDT-01", "the base of GDTR is canonical", canonical(slot.guestGdtrBase)),
    rule(
      "GDT-02",
      "bits 31:16 of the GDTR limit are 0",
      (e) => e.low(slot.guestGdtrLimit) >>> 16 === 0,
    ),
    rule("GDT-03", "the base of IDTR is canonical", canonical(slot.guestIdtrBase)),
    rule(
      "GDT-04",
      "bits 31:16 of the IDTR limit are 0",
      (e) => e.low(slot.guestIdtrLimit) >>> 16 === 0,
    ),
  ],
};

const isLongGuest = (e: EntryContext): boolean => (e.entry & entryControl.ia32eModeGuest) !== 0;
const isLongCode = (e: EntryContext): boolean =>
  isLongGuest(e) && (e.low(slot.guestCsAccessRights) & (1 << 13)) !== 0;

const injectsExternal = (e: EntryContext): boolean =>
  (e.injection & interruptionBit.valid) !== 0 &&
  ((e.injection >>> 8) & 7) === InterruptionType.External;

/**
 * RIP of 64-bit code need not be canonical: the bits above the linear-address width must be alike, but not like the top bit
 * below them.
 */
function hasUniformTop(e: EntryContext): boolean {
  const top = (e.high(slot.guestRip) | 0) >> (e.profile.canonicalShift + 1);
  return top === 0 || top === -1;
}

/** RIP changes at every VM exit: its rules stand apart, so that they alone are evaluated then. */
export const guestRipRules: RuleGroup = {
  name: "guest-rip-rflags-ssp",
  reads: ["entryControls", "guestCsAccessRights", "guestRip"],
  rules: [
    rule("GRF-01", "bits 63:32 of RIP are 0", (e) => e.high(slot.guestRip) === 0, {
      text: "the guest is not in 64-bit mode",
      applies: (e) => !isLongCode(e),
    }),
    rule("GRF-02", "the bits of RIP above the linear-address width are alike", hasUniformTop, {
      text: "the guest is in 64-bit mode",
      applies: isLongCode,
    }),
  ],
};

export const guestFlagsRules: RuleGroup = {
  name: "guest-rip-rflags-ssp",
  reads: ["entryControls", "entryInterruptionInformation", "guestRflags", "guestCr0"],
  rules: [
    rule(
      "GRF-03",
      "the reserved bits of RFLAGS are 0",
      (e) => (e.low(slot.guestRflags) & 0xffc0_8028) === 0 && e.high(slot.guestRflags) === 0,
    ),
    rule("GRF-04", "bit 1 of RFLAGS is 1", (e) => (e.low(slot.guestRflags) & 2) !== 0),
    rule("GRF-05", "RFLAGS.VM is 0", (e) => (e.low(slot.guestRflags) & (1 << 17)) === 0, {
      text: "the guest is in IA-32e mode or CR0.PE is 0",
      applies: (e) => isLongGuest(e) || (e.low(slot.guestCr0) & 1) === 0,
    }),
    rule("GRF-06", "RFLAGS.IF is 1", (e) => (e.low(slot.guestRflags) & (1 << 9)) !== 0, {
      text: "an external interrupt is injected",
      applies: injectsExternal,
    }),
  ],
};
