import { type ControlName, controlNames } from "../vmx/controls.ts";
import { allRules, ruleGroups } from "../vmx/entry-rules/all-rules.ts";
import type { RuleDescription, RuleOutcome } from "../vmx/entry-rules/entry-rule.ts";
import { exitReasonTitle } from "../vmx/exit-reasons.ts";
import { instructionErrorTable } from "../vmx/instruction-errors.ts";
import { hex, referencesOf, type Subject } from "./explain-subject.ts";
import type { Explanation } from "./explanation.ts";
import { modelsWhere } from "./model-profiles.ts";
import { plain } from "./near-matches.ts";

export const explainCheck: Subject = {
  find: (text) => {
    const wanted = plain(text);
    const typed = /^([a-z]+)(\d+)$/.exec(wanted);
    // CTL-7 stands for CTL-07.
    const id = typed === null ? wanted : `${typed[1]}${typed[2]?.padStart(2, "0")}`;
    return allRules.flatMap((rule, n) => (plain(rule.id) === id ? [explanationOf(rule, n)] : []));
  },
  names: () => allRules.map(({ id }) => id),
};

function explanationOf(rule: RuleDescription, position: number): Explanation {
  const group = ruleGroups.find(({ rules }) => rules.some(({ id }) => id === rule.id));
  const looksAt = referencesOf(rule.id);
  return {
    kind: "check",
    name: rule.id,
    title: rule.text,
    facts: [
      ["applies", rule.when === undefined ? "always" : `when ${rule.when}`],
      ["otherwise", describeOutcome(rule.outcome)],
      ["order", `${position + 1} of ${allRules.length}${group ? `, group ${group.name}` : ""}`],
    ],
    models: modelsWhere(({ profile }) =>
      controlsThatMustBeOne(rule).every((control) => profile.offered.has(control)),
    ),
    ...(looksAt && { fields: [...looksAt.fields], controls: [...looksAt.controls] }),
  };
}

/** Controls without which the rule never applies. */
function controlsThatMustBeOne({ when }: RuleDescription): readonly ControlName[] {
  if (when === undefined || when.includes(" or ")) return [];
  return controlNames.filter((control) => when.includes(`${control} is 1`));
}

export function describeOutcome(outcome: RuleOutcome): string {
  switch (outcome.type) {
    case "fault":
      return `the instruction faults with ${outcome.vector}`;
    case "vm-exit":
      return "the instruction causes a VM exit";
    case "fail-invalid":
      return "VMfailInvalid";
    case "fail-valid": {
      const text = Object.values(instructionErrorTable).find(([n]) => n === outcome.error)?.[1];
      return `VMfailValid ${outcome.error}: ${text}`;
    }
    case "entry-failure": {
      const qualification =
        outcome.qualification === 0 ? "" : `, qualification ${outcome.qualification}`;
      return `the entry fails with exit reason ${outcome.reason}${qualification}: ${exitReasonTitle(outcome.reason)}`;
    }
    case "abort":
      return `VMX abort, indicator ${hex(outcome.indicator)}`;
  }
}
