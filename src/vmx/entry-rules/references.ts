/** Which fields and controls the rules of VM entry look at: found by watching them, so that no list can grow stale. */
import { Prng } from "../../base/prng.ts";
import type { VmxProfile } from "../capabilities.ts";
import { type ControlName, controlMask, controlNames, wordOf } from "../controls.ts";
import { type FieldName, fieldAt, vmcsBytes } from "../vmcs-fields.ts";
import { ruleGroups } from "./all-rules.ts";
import { EntryContext } from "./entry-context.ts";
import type { EntryRule } from "./entry-rule.ts";

export interface RuleReferences {
  readonly fields: ReadonlySet<FieldName>;
  readonly controls: ReadonlySet<ControlName>;
}

/** VMCSs with random contents that each rule is tried on. */
const samples = 48;
const words = ["pin", "primary", "secondary", "tertiary", "exit", "entry"] as const;
type Word = (typeof words)[number];
const wordFields: Readonly<Record<Word | "injection", FieldName>> = {
  pin: "pinControls",
  primary: "primaryControls",
  secondary: "secondaryControls",
  tertiary: "tertiaryControls",
  exit: "exitControls",
  entry: "entryControls",
  injection: "entryInterruptionInformation",
};

/** Records the words it is asked for. */
class WatchedContext extends EntryContext {
  readonly positions = new Set<number>();
  override low(position: number): number {
    this.positions.add(position);
    return super.low(position);
  }
  override high(position: number): number {
    this.positions.add(position);
    return super.high(position);
  }
}

/** By rule id; rules on something else than fields of the VMCS have no entry. @param profile with any control words */
export function ruleReferences(profile: VmxProfile): ReadonlyMap<string, RuleReferences> {
  const anyBit = { mustBeOne: 0, mayBeOne: 0xffff_ffff };
  const lenient: VmxProfile = {
    ...profile,
    ...Object.fromEntries(words.map((word) => [word, anyBit])),
  };
  const watch = new RuleWatch(lenient);
  const rules = ruleGroups.flatMap((group) => group.rules);
  return new Map(rules.map((rule) => [rule.id, watch.referencesOf(rule)]));
}

class RuleWatch {
  readonly #words = new Uint32Array(vmcsBytes >>> 2);
  readonly #random = new Prng(1);
  readonly #context: WatchedContext;

  constructor(profile: VmxProfile) {
    this.#context = new WatchedContext(profile, { read32: () => 0 }, this.#words);
  }

  referencesOf(rule: EntryRule): RuleReferences {
    const fields = new Set<FieldName>();
    const controls = new Set<ControlName>();
    for (let n = 0; n < samples; n++) {
      this.#fill();
      for (const name of this.#fieldsRead(rule)) {
        fields.add(name);
      }
      for (const control of this.#controlsThatCount(rule, fields)) {
        controls.add(control);
      }
    }
    return { fields, controls };
  }

  #fill(): void {
    for (let n = 0; n < this.#words.length; n++) {
      this.#words[n] = this.#random.next();
    }
    this.#context.begin(0);
    for (const word of words) {
      this.#context[word] = this.#random.next();
    }
  }

  #fieldsRead(rule: EntryRule): FieldName[] {
    const context = this.#context;
    const properties = new Set<string>();
    const watched = new Proxy(context, {
      get: (target, key) => {
        properties.add(String(key));
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    context.positions.clear();
    rule.applies?.(watched);
    rule.holds(watched);
    const read = [...context.positions].flatMap((position) => fieldAt(position)?.name ?? []);
    const inWords = Object.entries(wordFields).filter(([word]) => properties.has(word));
    return [...read, ...inWords.map(([, field]) => field)];
  }

  /** Controls whose flip changes what the rule says of the sample. */
  #controlsThatCount(rule: EntryRule, fields: ReadonlySet<FieldName>): ControlName[] {
    const context = this.#context;
    const says = (): number =>
      rule.applies?.(context) === false ? 2 : rule.holds(context) ? 1 : 0;
    const before = says();
    return controlNames.filter((control) => {
      const word = wordOf(control) as Word;
      if (!words.includes(word) || !fields.has(wordFields[word])) {
        return false;
      }
      const value = context[word];
      context[word] = value ^ controlMask(control);
      const hasChanged = says() !== before;
      context[word] = value;
      return hasChanged;
    });
  }
}
