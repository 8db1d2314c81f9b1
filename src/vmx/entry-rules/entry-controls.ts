import { entryControl } from "../controls.ts";
import { instructionError } from "../instruction-errors.ts";
import { failValid, type RuleGroup, ruleMaker } from "./entry-rule.ts";
import { msrAreaRules } from "./exit-controls.ts";

/** "VM-Entry Control Fields", in "Checks on VMX Controls". The processor is never in SMM here. */
const rule = ruleMaker(failValid(instructionError.entryControls));

const smmControls = entryControl.entryToSmm | entryControl.deactivateDualMonitor;

export const entryControlRules: RuleGroup = {
  name: "entry-control",
  reads: ["entryControls", "entryMsrLoadAddress", "entryMsrLoadCount"],
  rules: [
    rule(
      "NCT-01",
      "the VM-entry word has every bit that must be 1",
      (e) => (~e.entry & e.profile.entry.mustBeOne) === 0,
    ),
    rule(
      "NCT-02",
      "the VM-entry word has no bit that must be 0",
      (e) => (e.entry & ~e.profile.entry.mayBeOne) === 0,
    ),
    ...msrAreaRules(
      ["NCT-03", "NCT-04", "NCT-05"],
      "VM-entry MSR-load",
      "entryMsrLoadCount",
      "entryMsrLoadAddress",
    ),
    rule(
      "NCT-06",
      "the entry does not lead into SMM",
      (e) => (e.entry & entryControl.entryToSmm) === 0,
    ),
    rule(
      "NCT-07",
      "the entry does not end the dual-monitor treatment",
      (e) => (e.entry & entryControl.deactivateDualMonitor) === 0,
    ),
    rule(
      "NCT-08",
      "the two SMM controls are not both 1",
      (e) => (e.entry & smmControls) !== smmControls,
    ),
  ],
};
