import { entryControl, pin, secondary } from "../controls.ts";
import { exitReason } from "../exit-reasons.ts";
import { InterruptionType, interruptionBit } from "../interruption.ts";
import { slot } from "../vmcs-fields.ts";
import { pageAligned, whenSet, withinWidth } from "./conditions.ts";
import type { EntryContext } from "./entry-context.ts";
import { type Condition, entryFailure, type RuleGroup, ruleMaker } from "./entry-rule.ts";

/** "Checks on Guest Non-Register State". */
const rule = ruleMaker(entryFailure(exitReason.invalidGuestState));

const Activity = { active: 0, hlt: 1, shutdown: 2, waitForSipi: 3 };
const blocking = { sti: 1, movSs: 2, smi: 4, nmi: 8, enclave: 16 };
const pendingDebug = { enabled: 1 << 12, singleStep: 1 << 14, rtm: 1 << 16 };

const activityOf = (e: EntryContext): number => e.low(slot.guestActivity);
const blockingOf = (e: EntryContext): number => e.low(slot.guestInterruptibility);
const injects = (e: EntryContext): boolean => (e.injection & interruptionBit.valid) !== 0;
const typeOf = (e: EntryContext): number => (e.injection >>> 8) & 7;
const vectorOf = (e: EntryContext): number => e.injection & 0xff;
const injectsType = (e: EntryContext, type: number): boolean => injects(e) && typeOf(e) === type;

const injectsInto = (activity: number, name: string): Condition => ({
  text: `an event is injected and the activity state is ${name}`,
  applies: (e) => injects(e) && activityOf(e) === activity,
});
const injectsExternal: Condition = {
  text: "an external interrupt is injected",
  applies: (e) => injectsType(e, InterruptionType.External),
};
const injectsNmi: Condition = {
  text: "an NMI is injected",
  applies: (e) => injectsType(e, InterruptionType.Nmi),
};

/** Events that wake HLT: external interrupt, NMI, #DB, #MC, pending MTF. */
function wakesHlt(e: EntryContext): boolean {
  const type = typeOf(e);
  const vector = vectorOf(e);
  return (
    type === InterruptionType.External ||
    type === InterruptionType.Nmi ||
    (type === InterruptionType.HardwareException && (vector === 1 || vector === 18)) ||
    (type === InterruptionType.Other && vector === 0)
  );
}

const endsShutdown = (e: EntryContext): boolean =>
  typeOf(e) === InterruptionType.Nmi ||
  (typeOf(e) === InterruptionType.HardwareException && vectorOf(e) === 18);

/** RFLAGS.TF is 1 and IA32_DEBUGCTL.BTF is 0: a trap follows the instruction. */
const singleSteps = (e: EntryContext): boolean =>
  (e.low(slot.guestRflags) & (1 << 8)) !== 0 && (e.low(slot.guestIa32Debugctl) & 2) === 0;
const holdsTrap = (e: EntryContext): boolean =>
  (blockingOf(e) & (blocking.sti | blocking.movSs)) !== 0 || activityOf(e) === Activity.hlt;

const hasLink: Condition = {
  text: "the VMCS link pointer is not all ones",
  applies: (e) =>
    e.low(slot.vmcsLinkPointer) !== 0xffff_ffff || e.high(slot.vmcsLinkPointer) !== 0xffff_ffff,
};
const linkFailure = entryFailure(exitReason.invalidGuestState, 4);

/** First word of the region that the link pointer names: revision identifier and shadow indicator. */
const linkedHeader = (e: EntryContext): number => e.memory.read32(e.address(slot.vmcsLinkPointer));

export const guestNonRegisterRules: RuleGroup = {
  name: "guest-non-register",
  reads: [
    "pinControls",
    "primaryControls",
    "secondaryControls",
    "entryControls",
    "entryInterruptionInformation",
    "guestActivity",
    "guestInterruptibility",
    "guestPendingDebug",
    "guestRflags",
    "guestIa32Debugctl",
    "guestSsAccessRights",
    "vmcsLinkPointer",
  ],
  rules: [
    rule(
      "GNR-01",
      "the activity state is supported",
      (e) => activityOf(e) <= 3 && ((e.profile.activityStates >>> activityOf(e)) & 1) !== 0,
    ),
    rule("GNR-02", "the DPL of SS is 0", (e) => (e.low(slot.guestSsAccessRights) & 0x60) === 0, {
      text: "the activity state is HLT",
      applies: (e) => activityOf(e) === Activity.hlt,
    }),
    rule("GNR-03", "the activity state is active", (e) => activityOf(e) === Activity.active, {
      text: "there is blocking by STI or by MOV SS",
      applies: (e) => (blockingOf(e) & (blocking.sti | blocking.movSs)) !== 0,
    }),
    rule(
      "GNR-04",
      "the event is an external interrupt, NMI, #DB, #MC or MTF",
      wakesHlt,
      injectsInto(Activity.hlt, "HLT"),
    ),
    rule(
      "GNR-05",
      "the event is NMI or #MC",
      endsShutdown,
      injectsInto(Activity.shutdown, "shutdown"),
    ),
    rule(
      "GNR-06",
      "no event is injected",
      () => false,
      injectsInto(Activity.waitForSipi, "wait-for-SIPI"),
    ),
    rule(
      "GNR-07",
      "the activity state is not wait-for-SIPI",
      (e) => activityOf(e) !== Activity.waitForSipi,
      whenSet("entry", "entryToSmm"),
    ),
    rule(
      "GNR-08",
      "bits 31:5 of the interruptibility state are 0",
      (e) => blockingOf(e) >>> 5 === 0,
    ),
    rule(
      "GNR-09",
      "blocking by STI and by MOV SS are not both 1",
      (e) => (blockingOf(e) & 3) !== (blocking.sti | blocking.movSs),
    ),
    rule("GNR-10", "there is no blocking by STI", (e) => (blockingOf(e) & blocking.sti) === 0, {
      text: "RFLAGS.IF is 0",
      applies: (e) => (e.low(slot.guestRflags) & (1 << 9)) === 0,
    }),
    rule(
      "GNR-11",
      "there is no blocking by STI or MOV SS",
      (e) => (blockingOf(e) & 3) === 0,
      injectsExternal,
    ),
    rule(
      "GNR-12",
      "there is no blocking by MOV SS",
      (e) => (blockingOf(e) & blocking.movSs) === 0,
      injectsNmi,
    ),
    rule("GNR-13", "there is no blocking by SMI", (e) => (blockingOf(e) & blocking.smi) === 0),
    rule(
      "GNR-14",
      "there is blocking by SMI",
      (e) => (blockingOf(e) & blocking.smi) !== 0,
      whenSet("entry", "entryToSmm"),
    ),
    // Processors may or may not insist; here they do not, and blocking by STI simply ends with the injection.
    rule(
      "GNR-15",
      "blocking by STI may be either",
      () => true,
      injectsNmi,
      entryFailure(exitReason.invalidGuestState, 3),
    ),
    rule("GNR-16", "there is no blocking by NMI", (e) => (blockingOf(e) & blocking.nmi) === 0, {
      text: "an NMI is injected and virtual NMIs is 1",
      applies: (e) => injectsType(e, InterruptionType.Nmi) && (e.pin & pin.virtualNmis) !== 0,
    }),
    rule(
      "GNR-17",
      "enclave interruption is supported and there is no blocking by MOV SS",
      (e) => e.profile.hasSgx && (blockingOf(e) & blocking.movSs) === 0,
      {
        text: "enclave interruption is 1",
        applies: (e) => (blockingOf(e) & blocking.enclave) !== 0,
      },
    ),
    rule(
      "GNR-18",
      "the reserved bits of the pending debug exceptions are 0",
      (e) =>
        (e.low(slot.guestPendingDebug) & 0xfffe_aff0) === 0 && e.high(slot.guestPendingDebug) === 0,
    ),
    rule(
      "GNR-19",
      "the pending debug exceptions hold a single step",
      (e) => (e.low(slot.guestPendingDebug) & pendingDebug.singleStep) !== 0,
      {
        text: "blocking by STI or MOV SS or HLT holds a trap, and the guest is stepping",
        applies: (e) => holdsTrap(e) && singleSteps(e),
      },
    ),
    rule(
      "GNR-20",
      "the pending debug exceptions hold no single step",
      (e) => (e.low(slot.guestPendingDebug) & pendingDebug.singleStep) === 0,
      {
        text: "blocking by STI or MOV SS or HLT holds traps, and the guest is not stepping",
        applies: (e) => holdsTrap(e) && !singleSteps(e),
      },
    ),
    rule(
      "GNR-21",
      "a pending debug exception inside a transaction is alone, enabled, supported and not blocked by MOV SS",
      (e) =>
        e.profile.hasRtm &&
        (e.low(slot.guestPendingDebug) & 0xefff) === 0 &&
        (e.low(slot.guestPendingDebug) & pendingDebug.enabled) !== 0 &&
        (blockingOf(e) & blocking.movSs) === 0,
      {
        text: "bit 16 of the pending debug exceptions is 1",
        applies: (e) => (e.low(slot.guestPendingDebug) & pendingDebug.rtm) !== 0,
      },
    ),
    rule(
      "GNR-22",
      "the VMCS link pointer is page-aligned",
      pageAligned(slot.vmcsLinkPointer),
      hasLink,
      linkFailure,
    ),
    rule(
      "GNR-23",
      "the VMCS link pointer is within the physical-address width",
      withinWidth(slot.vmcsLinkPointer),
      hasLink,
      linkFailure,
    ),
    rule(
      "GNR-24",
      "the linked region has this processor's revision identifier",
      (e) => (linkedHeader(e) & 0x7fff_ffff) === e.profile.revision,
      hasLink,
      linkFailure,
    ),
    rule(
      "GNR-25",
      "the linked region is a shadow VMCS exactly if VMCS shadowing is 1",
      (e) => linkedHeader(e) >>> 31 === ((e.secondary & secondary.vmcsShadowing) !== 0 ? 1 : 0),
      hasLink,
      linkFailure,
    ),
    rule(
      "GNR-26",
      "the VMCS link pointer is not the current VMCS",
      (e) => e.address(slot.vmcsLinkPointer) !== e.currentPointer,
      hasLink,
      linkFailure,
    ),
    // Only an entry from SMM could break it, and the processor is never in SMM.
    rule(
      "GNR-27",
      "the VMCS link pointer is not the VMXON pointer",
      () => true,
      {
        text: "the entry is made in SMM and does not lead into it",
        applies: (e) => e.isInSmm && (e.entry & entryControl.entryToSmm) === 0,
      },
      linkFailure,
    ),
  ],
};
