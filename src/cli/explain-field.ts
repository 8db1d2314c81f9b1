import { isFieldThere } from "../vmx/capabilities.ts";
import type { ControlName } from "../vmx/controls.ts";
import { fieldAt, slotOfEncoding, type VmcsField, vmcsFields } from "../vmx/vmcs-fields.ts";
import { hex, parseNumber, rulesOnField, type Subject } from "./explain-subject.ts";
import type { Explanation } from "./explanation.ts";
import { modelProfiles, modelsWhere } from "./model-profiles.ts";
import { plain } from "./near-matches.ts";

export const explainField: Subject = {
  find: (text) => {
    const number = parseNumber(text);
    if (number !== undefined) {
      const slot = slotOfEncoding(number);
      const field = slot < 0 ? undefined : fieldAt(slot);
      return field === undefined ? [] : [explanationOf(field)];
    }
    const wanted = plain(text);
    return vmcsFields
      .filter(({ name, title }) => plain(name) === wanted || plain(title) === wanted)
      .map(explanationOf);
  },
  names: () => vmcsFields.map(({ name }) => name),
};

function explanationOf(field: VmcsField): Explanation {
  const { name, title, encoding, width, type, index, readOnly, existsIf } = field;
  const bits = width === "natural" ? "64 bits (natural width)" : `${width} bits`;
  const facts: [string, string][] = [
    ["encoding", width === 64 ? `${hex(encoding)}, high half ${hex(encoding + 1)}` : hex(encoding)],
    ["what", `${type}, ${bits}, index ${index}`],
    [
      "VMWRITE",
      readOnly
        ? `only in ${modelsWhere(({ profile }) => profile.writesReadOnlyFields).join(", ")}`
        : "yes",
    ],
    ["exists", existsIf.length === 0 ? "always" : `if one may be 1 of ${existsIf.join(", ")}`],
  ];
  const controls = existsIf.filter((control): control is ControlName => control !== "tdx");
  const models = modelsWhere(({ profile }) => isFieldThere(existsIf, profile.offered));
  const listed = modelProfiles
    .filter(({ model }) => controls.some((control) => model.vmx?.controls.includes(control)))
    .map(({ model }) => model.name);
  return {
    kind: "field",
    name,
    title,
    facts,
    models,
    notSimulatedIn: listed.filter((model) => !models.includes(model)),
    controls,
    rules: rulesOnField(name),
  };
}
