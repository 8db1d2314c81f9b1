import { UserError } from "../machine/user-error.ts";
import { explainCheck } from "./explain-check.ts";
import { explainControl } from "./explain-control.ts";
import { explainExit } from "./explain-exit.ts";
import { explainField } from "./explain-field.ts";
import { explainMsr } from "./explain-msr.ts";
import type { Subject } from "./explain-subject.ts";
import type { Explanation } from "./explanation.ts";
import { nearMatches } from "./near-matches.ts";

export const subjects = {
  exit: explainExit,
  field: explainField,
  control: explainControl,
  check: explainCheck,
  msr: explainMsr,
} as const satisfies Record<string, Subject>;

export type SubjectName = keyof typeof subjects;

/** @throws {UserError} nothing has that name or number; the message offers names that are like it */
export function explain(subject: SubjectName, text: string): readonly Explanation[] {
  const { find, names }: Subject = subjects[subject];
  const found = find(text);
  if (found.length > 0) return found;
  const near = nearMatches(text, names());
  const offer = near.length === 0 ? "" : `; near matches: ${near.join(", ")}`;
  throw new UserError(`explain ${subject}: nothing is called "${text}"${offer}`);
}
