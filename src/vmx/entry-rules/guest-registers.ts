import { entryControl, secondary } from "../controls.ts";
import { exitReason } from "../exit-reasons.ts";
import { type FieldName, slot } from "../vmcs-fields.ts";
import { canonical, isPat, whenClear, whenSet, withinWidth } from "./conditions.ts";
import type { EntryContext } from "./entry-context.ts";
import { type Condition, entryFailure, type RuleGroup, ruleMaker } from "./entry-rule.ts";
import { isValidSCet, isValidSsp } from "./register-values.ts";

/** "Checks on Guest Control Registers, Debug Registers, and MSRs", and on SSP. */
const rule = ruleMaker(entryFailure(exitReason.invalidGuestState));

const cr0 = { pe: 1 << 0, wp: 1 << 16, nw: 1 << 29, cd: 1 << 30, pg: 1 << 31 };
const cr4 = { pae: 1 << 5, pcide: 1 << 17, cet: 1 << 23 };
const efer = { lme: 1 << 8, lma: 1 << 10 };

const is64BitGuest = (e: EntryContext): boolean => (e.entry & entryControl.ia32eModeGuest) !== 0;
const guestIsLong = whenSet("entry", "ia32eModeGuest");
const guestIsNotLong = whenClear("entry", "ia32eModeGuest");
const loadsDebug = whenSet("entry", "loadDebugControls");
const loadsEfer = whenSet("entry", "loadIa32Efer");
const loadsCet = whenSet("entry", "loadCetState");
const supportsCet: Condition = {
  text: "CET is supported",
  applies: (e) => (e.profile.cr4Fixed1 & cr4.cet) !== 0,
};

/** Bits of CR0 that VM entry insists on: an unrestricted guest may do without paging and protection. */
function cr0Required(e: EntryContext): number {
  const fixed = e.profile.cr0Fixed0;
  return (e.secondary & secondary.unrestrictedGuest) !== 0 ? fixed & ~(cr0.pe | cr0.pg) : fixed;
}

function hasOnly(field: FieldName, allowed: (e: EntryContext) => number) {
  return (e: EntryContext) => (e.low(slot[field]) & ~allowed(e)) === 0 && e.high(slot[field]) === 0;
}
const highIsZero = (field: FieldName) => (e: EntryContext) => e.high(slot[field]) === 0;

/** Bits of IA32_RTIT_CTL and IA32_LBR_CTL that exist: neither feature is offered by a model. */
const none = () => 0;

export const guestRegisterRules: RuleGroup = {
  name: "guest-control-regs-msrs",
  reads: [
    "primaryControls",
    "secondaryControls",
    "entryControls",
    "guestCr0",
    "guestCr3",
    "guestCr4",
    "guestDr7",
    "guestIa32Debugctl",
    "guestIa32SysenterEsp",
    "guestIa32SysenterEip",
    "guestIa32PerfGlobalCtrl",
    "guestIa32Pat",
    "guestIa32Efer",
    "guestIa32Bndcfgs",
    "guestIa32RtitCtl",
    "guestIa32SCet",
    "guestSsp",
    "guestIa32InterruptSspTableAddr",
    "guestIa32Pkrs",
    "guestUinv",
    "guestIa32LbrCtl",
    "guestCsAccessRights",
  ],
  rules: [
    rule(
      "GRG-01",
      "CR0 has the bits fixed to 1 (an unrestricted guest may lack PE and PG) and none of those fixed to 0",
      (e) =>
        (~e.low(slot.guestCr0) & cr0Required(e)) === 0 &&
        (e.low(slot.guestCr0) & ~(e.profile.cr0Fixed1 | cr0.nw | cr0.cd)) === 0 &&
        e.high(slot.guestCr0) === 0,
    ),
    rule("GRG-02", "CR0.PE is 1", (e) => (e.low(slot.guestCr0) & cr0.pe) !== 0, {
      text: "CR0.PG is 1",
      applies: (e) => (e.low(slot.guestCr0) & cr0.pg) !== 0,
    }),
    rule(
      "GRG-03",
      "CR4 has the bits fixed to 1 and none of those fixed to 0",
      (e) =>
        (~e.low(slot.guestCr4) & e.profile.cr4Fixed0) === 0 &&
        (e.low(slot.guestCr4) & ~e.profile.cr4Fixed1) === 0 &&
        e.high(slot.guestCr4) === 0,
    ),
    rule(
      "GRG-04",
      "CR4.CET is 0 unless CR0.WP is 1",
      (e) => (e.low(slot.guestCr4) & cr4.cet) === 0 || (e.low(slot.guestCr0) & cr0.wp) !== 0,
      supportsCet,
    ),
    rule(
      "GRG-05",
      "IA32_DEBUGCTL has no reserved bit",
      hasOnly("guestIa32Debugctl", (e) => e.profile.debugCtl),
      loadsDebug,
    ),
    rule("GRG-06", "CR0.PG is 1", (e) => (e.low(slot.guestCr0) & cr0.pg) !== 0, guestIsLong),
    rule("GRG-07", "CR4.PAE is 1", (e) => (e.low(slot.guestCr4) & cr4.pae) !== 0, guestIsLong),
    rule(
      "GRG-08",
      "CR4.PCIDE is 0",
      (e) => (e.low(slot.guestCr4) & cr4.pcide) === 0,
      guestIsNotLong,
    ),
    rule("GRG-09", "CR3 is within the physical-address width", withinWidth(slot.guestCr3)),
    rule("GRG-10", "bits 63:32 of DR7 are 0", highIsZero("guestDr7"), loadsDebug),
    rule("GRG-11", "IA32_SYSENTER_ESP is canonical", canonical(slot.guestIa32SysenterEsp)),
    rule("GRG-12", "IA32_SYSENTER_EIP is canonical", canonical(slot.guestIa32SysenterEip)),
    rule(
      "GRG-13",
      "IA32_PERF_GLOBAL_CTRL has no reserved bit",
      hasOnly("guestIa32PerfGlobalCtrl", (e) => e.profile.perfGlobalCtrl),
      whenSet("entry", "loadIa32PerfGlobalCtrl"),
    ),
    rule(
      "GRG-14",
      "IA32_PAT names memory types",
      isPat(slot.guestIa32Pat),
      whenSet("entry", "loadIa32Pat"),
    ),
    rule(
      "GRG-15",
      "IA32_EFER has no reserved bit",
      hasOnly("guestIa32Efer", (e) => e.profile.efer),
      loadsEfer,
    ),
    rule(
      "GRG-16",
      "IA32_EFER.LMA is the entry control for IA-32e mode",
      (e) => ((e.low(slot.guestIa32Efer) & efer.lma) !== 0) === is64BitGuest(e),
      loadsEfer,
    ),
    rule(
      "GRG-17",
      "IA32_EFER.LME equals LMA",
      (e) =>
        ((e.low(slot.guestIa32Efer) & efer.lma) !== 0) ===
        ((e.low(slot.guestIa32Efer) & efer.lme) !== 0),
      {
        text: "entry.loadIa32Efer is 1 and CR0.PG is 1",
        applies: (e) => loadsEfer.applies(e) && (e.low(slot.guestCr0) & cr0.pg) !== 0,
      },
    ),
    rule(
      "GRG-18",
      "bits 11:2 of IA32_BNDCFGS are 0 and its base is canonical",
      (e) => (e.low(slot.guestIa32Bndcfgs) & 0xffc) === 0 && e.isCanonical(slot.guestIa32Bndcfgs),
      whenSet("entry", "loadIa32Bndcfgs"),
    ),
    rule(
      "GRG-19",
      "IA32_RTIT_CTL has no reserved bit",
      hasOnly("guestIa32RtitCtl", none),
      whenSet("entry", "loadIa32RtitCtl"),
    ),
    rule("GRG-20", "IA32_S_CET is valid", (e) => isValidSCet(e, slot.guestIa32SCet), loadsCet),
    rule(
      "GRG-21",
      "SSP is valid",
      (e) => isValidSsp(e, slot.guestSsp, is64BitGuest(e) && isLongCode(e)),
      loadsCet,
    ),
    rule(
      "GRG-22",
      "IA32_INTERRUPT_SSP_TABLE_ADDR is canonical",
      canonical(slot.guestIa32InterruptSspTableAddr),
      loadsCet,
    ),
    rule(
      "GRG-23",
      "bits 63:32 of IA32_PKRS are 0",
      highIsZero("guestIa32Pkrs"),
      whenSet("entry", "loadPkrs"),
    ),
    rule(
      "GRG-24",
      "bits 15:8 of UINV are 0",
      (e) => e.low(slot.guestUinv) >>> 8 === 0,
      whenSet("entry", "loadUinv"),
    ),
    rule(
      "GRG-25",
      "IA32_LBR_CTL has no reserved bit",
      hasOnly("guestIa32LbrCtl", none),
      whenSet("entry", "loadGuestIa32LbrCtl"),
    ),
  ],
};

function isLongCode(e: EntryContext): boolean {
  return (e.low(slot.guestCsAccessRights) & (1 << 13)) !== 0;
}
