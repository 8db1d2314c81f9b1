/** What `vmxon explain` knows of one thing. */
export interface Explanation {
  readonly kind: string;
  /** The name in the project's tables, and what to type to get here again. */
  readonly name: string;
  readonly title: string;
  /** One-line properties. */
  readonly facts: readonly (readonly [label: string, value: string])[];
  /** Models it exists in; undefined where the question makes no sense. */
  readonly models?: readonly string[];
  /** Models whose real part has it, though it is not simulated. */
  readonly notSimulatedIn?: readonly string[];
  readonly rules?: readonly string[];
  readonly fields?: readonly string[];
  readonly controls?: readonly string[];
  readonly exits?: readonly string[];
}

const lists = [
  ["models", "models", "none"],
  ["notSimulatedIn", "not simulated", undefined],
  ["controls", "controls", undefined],
  ["fields", "fields", undefined],
  ["exits", "exits", undefined],
  ["rules", "rules", undefined],
] as const;

/** Several lines for a reader. */
export function formatExplanation(explanation: Explanation): string {
  const { kind, name, title, facts } = explanation;
  const rows: (readonly [string, string])[] = [...facts];
  for (const [key, label, ifEmpty] of lists) {
    const entries = explanation[key] ?? [];
    if (entries.length > 0) rows.push(...column(label, entries));
    else if (ifEmpty !== undefined && explanation[key] !== undefined) rows.push([label, ifEmpty]);
  }
  const width = Math.max(...rows.map(([label]) => label.length));
  const lines = rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`.trimEnd());
  return `${kind} ${name}: ${title}\n${lines.join("\n")}\n`;
}

/** Short lists on one line, rules and long lists one to a line. */
function column(label: string, entries: readonly string[]): (readonly [string, string])[] {
  const line = entries.join(", ");
  if (label !== "rules" && line.length <= 100) return [[label, line]];
  return entries.map((entry, n) => [n === 0 ? label : "", entry]);
}
