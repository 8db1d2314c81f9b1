import type { FieldName } from "../vmcs-fields.ts";
import type { EntryContext } from "./entry-context.ts";

/** What a rule that does not hold leads to. */
export type RuleOutcome =
  | { readonly type: "fault"; readonly vector: "#UD" | "#GP" }
  | { readonly type: "vm-exit" }
  | { readonly type: "fail-invalid" }
  | { readonly type: "fail-valid"; readonly error: number }
  | { readonly type: "entry-failure"; readonly reason: number; readonly qualification: number }
  | { readonly type: "abort"; readonly indicator: number };

/** When a rule applies; without one it always does. */
export interface Condition {
  readonly text: string;
  readonly applies: (entry: EntryContext) => boolean;
}

/** A rule as a reader meets it: in a trace, an explanation, a test. */
export interface RuleDescription {
  /** Group prefix and number; stable. */
  readonly id: string;
  /** What must be so. */
  readonly text: string;
  /** When it must be so; undefined: always. */
  readonly when: string | undefined;
  readonly outcome: RuleOutcome;
}

/** A rule on the contents of the current VMCS. */
export interface EntryRule extends RuleDescription {
  readonly applies: ((entry: EntryContext) => boolean) | undefined;
  readonly holds: (entry: EntryContext) => boolean;
}

export interface RuleGroup {
  readonly name: string;
  /** Every field that a rule or a condition of the group looks at. */
  readonly reads: readonly FieldName[];
  readonly rules: readonly EntryRule[];
}

/** Makes the rows of a group: `rule(id, text, holds, condition?, outcome?)`. */
export function ruleMaker(usual: RuleOutcome) {
  return (
    id: string,
    text: string,
    holds: (entry: EntryContext) => boolean,
    condition?: Condition,
    outcome: RuleOutcome = usual,
  ): EntryRule => ({
    id,
    text,
    when: condition?.text,
    outcome,
    applies: condition?.applies,
    holds,
  });
}

export const failValid = (error: number): RuleOutcome => ({ type: "fail-valid", error });
export const entryFailure = (reason: number, qualification = 0): RuleOutcome => ({
  type: "entry-failure",
  reason,
  qualification,
});
