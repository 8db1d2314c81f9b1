import { present } from "../base/assert.ts";
import { defaultCpuModel } from "../cpu/models/models.ts";
import { vmxProfile } from "../vmx/capabilities.ts";
import type { ControlName } from "../vmx/controls.ts";
import { allRules } from "../vmx/entry-rules/all-rules.ts";
import { type RuleReferences, ruleReferences } from "../vmx/entry-rules/references.ts";
import type { FieldName } from "../vmx/vmcs-fields.ts";
import type { Explanation } from "./explanation.ts";

/** One sort of thing that can be explained. */
export interface Subject {
  /** Everything that a text names; empty when nothing has that name or number. */
  readonly find: (text: string) => readonly Explanation[];
  readonly names: () => readonly string[];
}

/** A number as it may be typed: decimal, 0x1f, 1fh. */
export function parseNumber(text: string): number | undefined {
  const typed = text.trim().replaceAll("_", "");
  if (/^(\d+|0x[0-9a-f]+)$/i.test(typed)) return Number(typed);
  return /^[0-9a-f]+h$/i.test(typed) ? Number.parseInt(typed, 16) : undefined;
}

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

let references: ReadonlyMap<string, RuleReferences> | undefined;

/** What each rule looks at. */
export function referencesOf(id: string): RuleReferences | undefined {
  references ??= ruleReferences(present(vmxProfile(defaultCpuModel), "VMX of the default model"));
  return references.get(id);
}

export const rulesOnField = (name: FieldName): readonly string[] =>
  rulesWhere(({ fields }) => fields.has(name));
export const rulesOnControl = (name: ControlName): readonly string[] =>
  rulesWhere(({ controls }) => controls.has(name));

function rulesWhere(holds: (references: RuleReferences) => boolean): readonly string[] {
  return allRules.flatMap((rule) => {
    const looksAt = referencesOf(rule.id);
    return looksAt !== undefined && holds(looksAt) ? [ruleLine(rule.id)] : [];
  });
}

/** A rule on one line: `CTL-14: the virtual-APIC page is page-aligned, when primary.useTprShadow is 1`. */
export function ruleLine(id: string): string {
  const rule = present(
    allRules.find((candidate) => candidate.id === id),
    id,
  );
  return `${id}: ${rule.text}${rule.when === undefined ? "" : `, when ${rule.when}`}`;
}
