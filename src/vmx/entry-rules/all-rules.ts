import { type FieldName, slot, vmcsBytes } from "../vmcs-fields.ts";
import type { EntryContext } from "./entry-context.ts";
import { entryControlRules } from "./entry-controls.ts";
import type { EntryRule, RuleDescription, RuleGroup } from "./entry-rule.ts";
import { eventInjectionRules } from "./event-injection.ts";
import { executionControlRules } from "./execution-controls.ts";
import { exitControlRules } from "./exit-controls.ts";
import { guestNonRegisterRules } from "./guest-non-register.ts";
import { guestPdpteRules } from "./guest-pdptes.ts";
import { guestRegisterRules } from "./guest-registers.ts";
import { guestFlagsRules, guestRipRules, guestTableRules } from "./guest-rip-rflags.ts";
import { guestSegmentRules } from "./guest-segments.ts";
import {
  hostAddressSpaceRules,
  hostModeRules,
  hostRegisterRules,
  hostSegmentRules,
} from "./host-state.ts";
import { entryMsrLoadRules, exitMsrRules, hostPdpteRule } from "./msr-areas.ts";
import { preliminaryRules } from "./preliminary.ts";

/** The groups of rules on the contents of the VMCS, in the order they are checked. */
export const ruleGroups: readonly RuleGroup[] = [
  executionControlRules,
  exitControlRules,
  entryControlRules,
  eventInjectionRules,
  hostModeRules,
  hostRegisterRules,
  hostSegmentRules,
  hostAddressSpaceRules,
  guestRegisterRules,
  guestSegmentRules,
  guestTableRules,
  guestRipRules,
  guestFlagsRules,
  guestNonRegisterRules,
  guestPdpteRules,
];

/** Every rule of VM entry, in order. */
export const allRules: readonly RuleDescription[] = [
  ...preliminaryRules,
  ...ruleGroups.flatMap((group) => group.rules),
  ...entryMsrLoadRules,
  ...exitMsrRules,
  hostPdpteRule,
];

/** Bit n stands for group n of `ruleGroups`. */
export type GroupSet = number;
export const allGroups: GroupSet = 2 ** ruleGroups.length - 1;

function groupsOf(...groups: readonly RuleGroup[]): GroupSet {
  return groups.reduce((set, group) => set | (1 << ruleGroups.indexOf(group)), 0);
}
export const ripGroup: GroupSet = groupsOf(guestRipRules);
/** Groups that say nothing about the host. */
export const guestGroups: GroupSet = groupsOf(
  eventInjectionRules,
  guestRegisterRules,
  guestSegmentRules,
  guestTableRules,
  guestRipRules,
  guestFlagsRules,
  guestNonRegisterRules,
  guestPdpteRules,
);

/** For each 32-bit word of a VMCS the groups that read it. */
export const groupsBySlot = new Int32Array(vmcsBytes >>> 2);
ruleGroups.forEach((group, n) => {
  for (const name of group.reads) {
    const position = slot[name satisfies FieldName];
    groupsBySlot[position] = (groupsBySlot[position] ?? 0) | (1 << n);
    groupsBySlot[position + 1] = (groupsBySlot[position + 1] ?? 0) | (1 << n);
  }
});

/**
 * Rules that also look at something beside the VMCS (the processor's mode, memory): while they apply they are evaluated at
 * each entry.
 */
const dependsOnMore: ReadonlySet<string> = new Set([
  "CTL-17",
  "HAS-01",
  "HAS-02",
  "HAS-03",
  "GNR-24",
  "GNR-25",
  "GPD-02",
]);
const hostModeGroup: GroupSet = 1 << ruleGroups.indexOf(hostModeRules);
/** In a set of live groups: the processor was in IA-32e mode at the last check. */
export const longModeBit = 1 << 30;

interface PreparedGroup {
  readonly all: readonly EntryRule[];
  readonly always: readonly EntryRule[];
}
const prepared: readonly PreparedGroup[] = ruleGroups.map((group) => ({
  all: group.rules,
  always: group.rules.filter((rule) => dependsOnMore.has(rule.id)),
}));

function firstBroken(rules: readonly EntryRule[], entry: EntryContext): EntryRule | undefined {
  for (const rule of rules) {
    if ((rule.applies === undefined || rule.applies(entry)) && !rule.holds(entry)) {
      return rule;
    }
  }
  return undefined;
}

function isLive(group: PreparedGroup, entry: EntryContext): boolean {
  return group.always.some((rule) => rule.applies === undefined || rule.applies(entry));
}

/** Evaluates the rules that may have changed their answer. One per LP. */
export class RuleChecker {
  /** Groups that are known to hold after the last `check`. */
  held: GroupSet = 0;
  /** Groups with rules that are to be evaluated at each entry: what `check` was given, brought up to date; opaque. */
  live: GroupSet = 0;
  /**
   * @param dirty groups of which a field has been written since they last held
   * @param live what `live` was after the last check of this VMCS
   * @returns the first rule that does not hold
   */
  check(entry: EntryContext, dirty: GroupSet, live: GroupSet): EntryRule | undefined {
    const mode = entry.isLongMode ? longModeBit : 0;
    this.held = 0;
    this.live = (live & ~longModeBit) | mode;
    let visit = dirty | (live & ~longModeBit);
    if ((live & longModeBit) !== mode) {
      visit |= hostModeGroup;
    }
    while (visit !== 0) {
      const n = 31 - Math.clz32(visit & -visit);
      const bit = 1 << n;
      visit ^= bit;
      const group = prepared[n];
      const broken = group && this.#checkGroup(group, bit, entry, (dirty & bit) !== 0);
      if (broken !== undefined) {
        return broken;
      }
      this.held |= bit;
    }
    return undefined;
  }

  #checkGroup(
    group: PreparedGroup,
    bit: GroupSet,
    entry: EntryContext,
    isDirty: boolean,
  ): EntryRule | undefined {
    if (!isDirty) {
      return firstBroken(group.always, entry);
    }
    const hasLive = bit !== hostModeGroup && isLive(group, entry);
    this.live = hasLive ? this.live | bit : this.live & ~bit;
    return firstBroken(group.all, entry);
  }
}
