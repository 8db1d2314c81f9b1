import {
  type ControlName,
  type ControlWord,
  controlBit,
  controlNames,
  controlText,
  wordOf,
} from "../vmx/controls.ts";
import { exitCauses } from "../vmx/exit-causes.ts";
import { controlNeeds } from "../vmx/implemented-controls.ts";
import { activation } from "../vmx/reported-msrs.ts";
import { type FieldName, vmcsFields } from "../vmx/vmcs-fields.ts";
import { rulesOnControl, type Subject } from "./explain-subject.ts";
import type { Explanation } from "./explanation.ts";
import { modelsThatList, modelsWhere } from "./model-profiles.ts";
import { plain } from "./near-matches.ts";

/** What a control word is called, and the MSRs that report it. */
export const wordTitles: Readonly<
  Record<ControlWord, { readonly title: string; readonly field: FieldName; readonly msr: string }>
> = {
  pin: {
    title: "pin-based VM-execution controls",
    field: "pinControls",
    msr: "IA32_VMX_PINBASED_CTLS",
  },
  primary: {
    title: "primary processor-based VM-execution controls",
    field: "primaryControls",
    msr: "IA32_VMX_PROCBASED_CTLS",
  },
  secondary: {
    title: "secondary processor-based VM-execution controls",
    field: "secondaryControls",
    msr: "IA32_VMX_PROCBASED_CTLS2",
  },
  tertiary: {
    title: "tertiary processor-based VM-execution controls",
    field: "tertiaryControls",
    msr: "IA32_VMX_PROCBASED_CTLS3",
  },
  exit: { title: "VM-exit controls", field: "exitControls", msr: "IA32_VMX_EXIT_CTLS" },
  exit2: {
    title: "secondary VM-exit controls",
    field: "exitControls2",
    msr: "IA32_VMX_EXIT_CTLS2",
  },
  entry: { title: "VM-entry controls", field: "entryControls", msr: "IA32_VMX_ENTRY_CTLS" },
  vmFunction: {
    title: "VM-function controls",
    field: "vmFunctionControls",
    msr: "IA32_VMX_VMFUNC",
  },
};

export const explainControl: Subject = {
  find: (text) => {
    const place = /^([a-z0-9]+)[.:](\d+)$/i.exec(text.trim());
    const wanted = plain(text);
    return controlNames
      .filter((control) =>
        place === null
          ? plain(control) === wanted || plain(control.slice(wordOf(control).length)) === wanted
          : plain(wordOf(control)) === plain(place[1] ?? "") &&
            controlBit(control) === Number(place[2]),
      )
      .map(explanationOf);
  },
  names: () => controlNames,
};

function explanationOf(control: ControlName): Explanation {
  const word = wordOf(control);
  const { title, field, msr } = wordTitles[word];
  const needs = [activation[word], ...(controlNeeds[control] ?? [])].filter(
    (needed) => needed !== undefined,
  );
  const neededBy = controlNames.filter((other) => controlNeeds[other]?.includes(control));
  const facts: [string, string][] = [["where", `bit ${controlBit(control)} of the ${title}`]];
  if (needs.length > 0) facts.push(["needs", needs.join(", ")]);
  if (neededBy.length > 0) facts.push(["needed by", neededBy.join(", ")]);
  facts.push(["reported by", msr]);
  return {
    kind: "control",
    name: control,
    title: controlText(control),
    facts,
    models: modelsWhere(({ profile }) => profile.offered.has(control)),
    notSimulatedIn: modelsThatList(control),
    fields: [
      field,
      ...vmcsFields.filter(({ existsIf }) => existsIf.includes(control)).map(({ name }) => name),
    ],
    exits: Object.entries(exitCauses)
      .filter(([, { controls }]) => controls.includes(control))
      .map(([name]) => name),
    rules: rulesOnControl(control),
  };
}
