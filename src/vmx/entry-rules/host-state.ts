import { entryControl, exitControl } from "../controls.ts";
import { instructionError } from "../instruction-errors.ts";
import { type FieldName, slot } from "../vmcs-fields.ts";
import { canonical, isPat, whenClear, whenSet, withinWidth } from "./conditions.ts";
import type { EntryContext } from "./entry-context.ts";
import { type Condition, failValid, type RuleGroup, ruleMaker } from "./entry-rule.ts";
import { isValidSCet, isValidSsp } from "./register-values.ts";

/** "Checks on Host Control Registers, MSRs, and SSP" and the two sections after it. */
const rule = ruleMaker(failValid(instructionError.entryHostState));

const cr4 = { pae: 1 << 5, pcide: 1 << 17, cet: 1 << 23 };
const cr0Wp = 1 << 16;
const efer = { lme: 1 << 8, lma: 1 << 10 };

const is64BitHost = (e: EntryContext): boolean => (e.exit & exitControl.hostAddressSpaceSize) !== 0;
const hostIs64Bit = whenSet("exit", "hostAddressSpaceSize");
const hostIs32Bit = whenClear("exit", "hostAddressSpaceSize");
const loadsEfer = whenSet("exit", "loadIa32Efer");
const loadsCet = whenSet("exit", "loadCetState");
const supportsCet: Condition = {
  text: "CET is supported",
  applies: (e) => (e.profile.cr4Fixed1 & cr4.cet) !== 0,
};

/** Rules on the size of the address space that depend on the processor's present mode. */
export const hostModeRules: RuleGroup = {
  name: "host-address-space",
  reads: ["exitControls", "entryControls"],
  rules: [
    rule("HAS-01", "the host address-space size is 1", is64BitHost, {
      text: "the processor is in IA-32e mode",
      applies: (e) => e.isLongMode,
    }),
    rule("HAS-02", "the host address-space size is 0", (e) => !is64BitHost(e), {
      text: "the processor is outside IA-32e mode",
      applies: (e) => !e.isLongMode,
    }),
    rule(
      "HAS-03",
      "the guest is not in IA-32e mode",
      (e) => (e.entry & entryControl.ia32eModeGuest) === 0,
      { text: "the processor is outside IA-32e mode", applies: (e) => !e.isLongMode },
    ),
  ],
};

export const hostRegisterRules: RuleGroup = {
  name: "host-control-regs-msrs",
  reads: [
    "exitControls",
    "hostCr0",
    "hostCr3",
    "hostCr4",
    "hostIa32SysenterEsp",
    "hostIa32SysenterEip",
    "hostIa32PerfGlobalCtrl",
    "hostIa32Pat",
    "hostIa32Efer",
    "hostIa32SCet",
    "hostSsp",
    "hostIa32InterruptSspTableAddr",
    "hostIa32Pkrs",
  ],
  rules: [
    rule(
      "HRG-01",
      "CR0 has the bits fixed to 1 and none of those fixed to 0",
      (e) =>
        (~e.low(slot.hostCr0) & e.profile.cr0Fixed0) === 0 &&
        (e.low(slot.hostCr0) & ~e.profile.cr0Fixed1) === 0 &&
        e.high(slot.hostCr0) === 0,
    ),
    rule(
      "HRG-02",
      "CR4 has the bits fixed to 1 and none of those fixed to 0",
      (e) =>
        (~e.low(slot.hostCr4) & e.profile.cr4Fixed0) === 0 &&
        (e.low(slot.hostCr4) & ~e.profile.cr4Fixed1) === 0 &&
        e.high(slot.hostCr4) === 0,
    ),
    rule(
      "HRG-03",
      "CR4.CET is 0 unless CR0.WP is 1",
      (e) => (e.low(slot.hostCr4) & cr4.cet) === 0 || (e.low(slot.hostCr0) & cr0Wp) !== 0,
      supportsCet,
    ),
    rule("HRG-04", "CR3 is within the physical-address width", withinWidth(slot.hostCr3)),
    rule("HRG-05", "IA32_SYSENTER_ESP is canonical", canonical(slot.hostIa32SysenterEsp)),
    rule("HRG-06", "IA32_SYSENTER_EIP is canonical", canonical(slot.hostIa32SysenterEip)),
    rule(
      "HRG-07",
      "IA32_PERF_GLOBAL_CTRL has no reserved bit",
      (e) => hasOnly(e, "hostIa32PerfGlobalCtrl", e.profile.perfGlobalCtrl),
      whenSet("exit", "loadIa32PerfGlobalCtrl"),
    ),
    rule(
      "HRG-08",
      "IA32_PAT names memory types",
      isPat(slot.hostIa32Pat),
      whenSet("exit", "loadIa32Pat"),
    ),
    rule(
      "HRG-09",
      "IA32_EFER has no reserved bit",
      (e) => hasOnly(e, "hostIa32Efer", e.profile.efer),
      loadsEfer,
    ),
    rule(
      "HRG-10",
      "IA32_EFER.LMA is the host address-space size",
      (e) => ((e.low(slot.hostIa32Efer) & efer.lma) !== 0) === is64BitHost(e),
      loadsEfer,
    ),
    rule(
      "HRG-11",
      "IA32_EFER.LME is the host address-space size",
      (e) => ((e.low(slot.hostIa32Efer) & efer.lme) !== 0) === is64BitHost(e),
      loadsEfer,
    ),
    rule("HRG-12", "IA32_S_CET is valid", (e) => isValidSCet(e, slot.hostIa32SCet), loadsCet),
    rule("HRG-13", "SSP is valid", (e) => isValidSsp(e, slot.hostSsp, is64BitHost(e)), loadsCet),
    rule(
      "HRG-14",
      "IA32_INTERRUPT_SSP_TABLE_ADDR is canonical",
      canonical(slot.hostIa32InterruptSspTableAddr),
      loadsCet,
    ),
    rule(
      "HRG-15",
      "bits 63:32 of IA32_PKRS are 0",
      (e) => e.high(slot.hostIa32Pkrs) === 0,
      whenSet("exit", "loadPkrs"),
    ),
  ],
};

function hasOnly(e: EntryContext, field: FieldName, allowed: number): boolean {
  return (e.low(slot[field]) & ~allowed) === 0 && e.high(slot[field]) === 0;
}

const selectorRule = (id: string, name: string, field: FieldName) =>
  rule(
    id,
    `the ${name} selector has RPL 0 and names the GDT`,
    (e) => (e.low(slot[field]) & 7) === 0,
  );
const notNullRule = (id: string, name: string, field: FieldName, condition?: Condition) =>
  rule(id, `the ${name} selector is not null`, (e) => e.low(slot[field]) !== 0, condition);
const canonicalRule = (id: string, name: string, field: FieldName) =>
  rule(id, `the base of ${name} is canonical`, canonical(slot[field]));

export const hostSegmentRules: RuleGroup = {
  name: "host-segments",
  reads: [
    "exitControls",
    "hostCsSelector",
    "hostSsSelector",
    "hostDsSelector",
    "hostEsSelector",
    "hostFsSelector",
    "hostGsSelector",
    "hostTrSelector",
    "hostFsBase",
    "hostGsBase",
    "hostGdtrBase",
    "hostIdtrBase",
    "hostTrBase",
  ],
  rules: [
    selectorRule("HSG-01", "CS", "hostCsSelector"),
    selectorRule("HSG-02", "SS", "hostSsSelector"),
    selectorRule("HSG-03", "DS", "hostDsSelector"),
    selectorRule("HSG-04", "ES", "hostEsSelector"),
    selectorRule("HSG-05", "FS", "hostFsSelector"),
    selectorRule("HSG-06", "GS", "hostGsSelector"),
    selectorRule("HSG-07", "TR", "hostTrSelector"),
    notNullRule("HSG-08", "CS", "hostCsSelector"),
    notNullRule("HSG-09", "TR", "hostTrSelector"),
    notNullRule("HSG-10", "SS", "hostSsSelector", hostIs32Bit),
    canonicalRule("HSG-11", "FS", "hostFsBase"),
    canonicalRule("HSG-12", "GS", "hostGsBase"),
    canonicalRule("HSG-13", "GDTR", "hostGdtrBase"),
    canonicalRule("HSG-14", "IDTR", "hostIdtrBase"),
    canonicalRule("HSG-15", "TR", "hostTrBase"),
  ],
};

/** "Checks Related to Address-Space Size". */
export const hostAddressSpaceRules: RuleGroup = {
  name: "host-address-space",
  reads: ["exitControls", "entryControls", "hostCr4", "hostRip"],
  rules: [
    rule("HAS-04", "CR4.PAE is 1", (e) => (e.low(slot.hostCr4) & cr4.pae) !== 0, hostIs64Bit),
    rule("HAS-05", "RIP is canonical", canonical(slot.hostRip), hostIs64Bit),
    rule(
      "HAS-06",
      "the guest is not in IA-32e mode",
      (e) => (e.entry & entryControl.ia32eModeGuest) === 0,
      hostIs32Bit,
    ),
    rule("HAS-07", "CR4.PCIDE is 0", (e) => (e.low(slot.hostCr4) & cr4.pcide) === 0, hostIs32Bit),
    rule("HAS-08", "bits 63:32 of RIP are 0", (e) => e.high(slot.hostRip) === 0, hostIs32Bit),
  ],
};
