import type { ControlWord } from "../controls.ts";
import { controlTable } from "../controls.ts";
import type { EntryContext } from "./entry-context.ts";
import type { Condition } from "./entry-rule.ts";

type WordInContext = "pin" | "primary" | "secondary" | "tertiary" | "exit" | "entry";

/** "the control is 1", by word and name. */
export function whenSet<W extends WordInContext & ControlWord>(
  word: W,
  name: keyof (typeof controlTable)[W] & string,
): Condition {
  const rows: Readonly<Record<string, readonly [bit: number, text: string]>> = controlTable[word];
  const mask = 1 << (rows[name]?.[0] ?? 0);
  return {
    text: `${word}.${name} is 1`,
    applies: (entry) => (entry[word] & mask) !== 0,
  };
}

/** "the control is 0". */
export function whenClear<W extends WordInContext & ControlWord>(
  word: W,
  name: keyof (typeof controlTable)[W] & string,
): Condition {
  const set = whenSet(word, name);
  return { text: `${word}.${name} is 0`, applies: (entry) => !set.applies(entry) };
}

export function both(first: Condition, second: Condition): Condition {
  return {
    text: `${first.text} and ${second.text}`,
    applies: (entry) => first.applies(entry) && second.applies(entry),
  };
}

export const pageAligned = (position: number) => (entry: EntryContext) =>
  (entry.low(position) & 0xfff) === 0;
export const withinWidth = (position: number) => (entry: EntryContext) =>
  entry.isWithinWidth(position);
export const canonical = (position: number) => (entry: EntryContext) => entry.isCanonical(position);

/** Each byte of a 64-bit field names a memory type that IA32_PAT may hold. */
export const isPat = (position: number) => (entry: EntryContext) =>
  isPatWord(entry.low(position)) && isPatWord(entry.high(position));

function isPatWord(word: number): boolean {
  for (let shift = 0; shift < 32; shift += 8) {
    const type = (word >>> shift) & 0xff;
    if (type > 7 || type === 2 || type === 3) {
      return false;
    }
  }
  return true;
}
