import { pin } from "../controls.ts";
import { instructionError } from "../instruction-errors.ts";
import { type FieldName, slot } from "../vmcs-fields.ts";
import { whenSet, withinWidth } from "./conditions.ts";
import type { EntryContext } from "./entry-context.ts";
import {
  type Condition,
  type EntryRule,
  failValid,
  type RuleGroup,
  ruleMaker,
} from "./entry-rule.ts";

/** "VM-Exit Control Fields", in "Checks on VMX Controls". */
const rule = ruleMaker(failValid(instructionError.entryControls));

/** Bytes of one entry of an MSR area. */
const msrEntryBytes = 16;

/** The three rules of an MSR area, which apply when it is not empty. */
export function msrAreaRules(
  ids: readonly [string, string, string],
  name: string,
  count: FieldName,
  address: FieldName,
): EntryRule[] {
  const isUsed: Condition = {
    text: `the ${name} count is not 0`,
    applies: (e) => e.low(slot[count]) !== 0,
  };
  const endsWithinWidth = (e: EntryContext) => {
    const last = e.address(slot[address]) + e.low(slot[count]) * msrEntryBytes - 1;
    return (Math.floor(last / 2 ** 32) & e.profile.physicalHighMask) === 0 && last < 2 ** 63;
  };
  return [
    rule(
      ids[0],
      `the ${name} area is aligned to 16 bytes`,
      (e) => (e.low(slot[address]) & 0xf) === 0,
      isUsed,
    ),
    rule(
      ids[1],
      `the ${name} area is within the physical-address width`,
      withinWidth(slot[address]),
      isUsed,
    ),
    rule(
      ids[2],
      `the ${name} area ends within the physical-address width`,
      endsWithinWidth,
      isUsed,
    ),
  ];
}

export const exitControlRules: RuleGroup = {
  name: "exit-control",
  reads: [
    "pinControls",
    "exitControls",
    "exitControls2",
    "exitMsrStoreAddress",
    "exitMsrStoreCount",
    "exitMsrLoadAddress",
    "exitMsrLoadCount",
  ],
  rules: [
    rule(
      "XCT-01",
      "the VM-exit word has every bit that must be 1",
      (e) => (~e.exit & e.profile.exit.mustBeOne) === 0,
    ),
    rule(
      "XCT-02",
      "the VM-exit word has no bit that must be 0",
      (e) => (e.exit & ~e.profile.exit.mayBeOne) === 0,
    ),
    rule(
      "XCT-03",
      "the secondary VM-exit word has no bit that must be 0",
      (e) =>
        (e.low(slot.exitControls2) & ~e.profile.exit2.mayBeOne) === 0 &&
        e.high(slot.exitControls2) === 0,
      whenSet("exit", "activateSecondaryControls"),
    ),
    rule(
      "XCT-04",
      "the preemption timer is active",
      (e) => (e.pin & pin.activateVmxPreemptionTimer) !== 0,
      whenSet("exit", "saveVmxPreemptionTimer"),
    ),
    ...msrAreaRules(
      ["XCT-05", "XCT-06", "XCT-07"],
      "VM-exit MSR-store",
      "exitMsrStoreCount",
      "exitMsrStoreAddress",
    ),
    ...msrAreaRules(
      ["XCT-08", "XCT-09", "XCT-10"],
      "VM-exit MSR-load",
      "exitMsrLoadCount",
      "exitMsrLoadAddress",
    ),
  ],
};
