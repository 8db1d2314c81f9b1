import { allRules } from "../vmx/entry-rules/all-rules.ts";
import { canExit, exitCauses } from "../vmx/exit-causes.ts";
import {
  type ExitKind,
  type ExitReasonName,
  entryFailureBit,
  exitReasonTable,
  type InformationLayout,
  type QualificationLayout,
} from "../vmx/exit-reasons.ts";
import type { FieldName } from "../vmx/vmcs-fields.ts";
import { parseNumber, ruleLine, type Subject } from "./explain-subject.ts";
import type { Explanation } from "./explanation.ts";
import { modelsWhere } from "./model-profiles.ts";
import { plain } from "./near-matches.ts";

interface ExitRow {
  readonly number: number;
  readonly title: string;
  readonly kind: ExitKind;
  readonly qualification?: QualificationLayout;
  readonly information?: InformationLayout;
  readonly when: string;
}
const exits = Object.entries(exitReasonTable) as readonly (readonly [ExitReasonName, ExitRow])[];

const kinds: Readonly<Record<ExitKind, string>> = {
  instruction: "instead of an instruction; the saved RIP points at it",
  fault: "fault-like; the saved RIP points at the instruction in progress",
  trap: "trap-like; the saved RIP points at the next instruction",
  event: "between instructions; the saved RIP points at the next one",
  "entry-failure":
    "failure of a VM entry: bit 31 of the exit reason is 1 and no guest state is saved",
};

const informationForms: Readonly<Record<InformationLayout, string>> = {
  A: "address size and segment of INS and OUTS",
  B: "memory operand",
  B2: "memory operand and register",
  C: "memory operand and which of GDTR and IDTR",
  D: "operand and which of LDTR and TR",
  E: "operand and register that names the field",
  F: "register and operand size",
  operands: "the two register operands",
};

export const explainExit: Subject = {
  find: (text) => {
    const number = parseNumber(text);
    const wanted = plain(text);
    return exits
      .filter(([name, row]) =>
        number === undefined
          ? plain(name) === wanted || plain(row.title) === wanted
          : row.number === (number & 0xffff) && isBitFitting(number),
      )
      .map(([name, row]) => explanationOf(name, row));
  },
  names: () => exits.flatMap(([name, row]) => [name, row.title]),
};

/** The field's bits 31 and 15:0 are all that is known here. */
const isBitFitting = (number: number): boolean =>
  number < 0x1_0000 || (number >= entryFailureBit && number < entryFailureBit + 0x1_0000);

function explanationOf(name: ExitReasonName, row: ExitRow): Explanation {
  const { controls, lacking } = exitCauses[name];
  const facts: [string, string][] = [
    ["number", String(row.number)],
    ["happens", row.when],
    ["saved RIP", kinds[row.kind]],
    ["qualification", row.qualification ?? "none"],
  ];
  if (row.information !== undefined) {
    facts.push(["instruction information", informationForms[row.information]]);
  }
  if (lacking !== undefined) facts.push(["not simulated", lacking]);
  return {
    kind: "exit",
    name,
    title: row.title,
    facts,
    models: modelsWhere(({ profile }) => canExit(name, profile.offered)),
    controls,
    fields: fieldsOf(row),
    rules: allRules
      .filter(({ outcome }) => outcome.type === "entry-failure" && outcome.reason === row.number)
      .map(({ id }) => ruleLine(id)),
  };
}

/** The fields of exit information that mean something after such an exit. */
function fieldsOf({ kind, qualification, information }: ExitRow): readonly FieldName[] {
  const fields: FieldName[] = ["exitReason"];
  if (qualification !== undefined) fields.push("exitQualification");
  if (kind === "instruction") fields.push("exitInstructionLength");
  if (information !== undefined) fields.push("exitInstructionInformation");
  if (qualification === "debug-or-page-fault") {
    fields.push("exitInterruptionInformation", "exitInterruptionErrorCode");
  }
  if (qualification === "ept-violation") fields.push("guestPhysicalAddress", "guestLinearAddress");
  if (kind === "fault") fields.push("idtVectoringInformation", "idtVectoringErrorCode");
  return fields;
}
