import { present } from "../base/assert.ts";
import type { AccessSize } from "../wasm/expression.ts";
import type { Semantics } from "./semantics/arithmetic.ts";
import { bitFamilies } from "./semantics/bit-families.ts";
import { hintFamilies, integerFamilies, transferFamilies } from "./semantics/families.ts";
import type { Family } from "./semantics/family.ts";
import type { Form, OperandPlace } from "./semantics/instruction-emitter.ts";
import { simdFamilies } from "./semantics/simd-families.ts";
import { decimalFamilies, stringFamilies } from "./semantics/string-families.ts";

/** A form with its place in the interpreter. */
export interface PlacedForm {
  readonly name: string;
  readonly form: Form;
  readonly semantics: Semantics;
  /** Arm of the br_table, when hot. */
  readonly arm: number | undefined;
  /** Index in the cold function table, when not. */
  readonly cold: number | undefined;
}

/** Arms that are not forms. Forms' arms follow. */
export const specialArm = { end: 0, relook: 1, cold: 2, system: 3, assisted: 4 } as const;
const firstFormArm = 5;

/**
 * The order decides where arms lie in the interpreter's one big function. Host compilers are touchy about that: with the vector
 * moves behind the others everything ran a quarter slower. Measure when changing it.
 */
export const families: readonly Family[] = [
  ...simdFamilies,
  ...integerFamilies,
  ...transferFamilies,
  ...hintFamilies,
  ...bitFamilies,
  ...stringFamilies,
  ...decimalFamilies,
];

const places: Readonly<Record<string, readonly OperandPlace[]>> = {
  "-": ["none"],
  r: ["register"],
  x: ["register"],
  i: ["immediate"],
  m: ["simple", "general"],
};

function name(family: Family, number: number, form: Form): string {
  return [
    `${family.mnemonic}#${number}`,
    form.size,
    form.destination,
    form.source,
    form.lock ? "lock" : "",
    form.legacyStack ? "legacy" : "",
  ].join(":");
}

interface FormPlace {
  readonly form: Form;
  readonly hot: boolean;
}

/** All forms of a family: hot ones for simple memory operands, cold ones for everything. */
function* formsOf(family: Family): Generator<FormPlace> {
  for (const size of family.sizes) {
    for (const pattern of family.patterns) {
      const [destinations, sources] = [places[pattern[0] ?? "-"], places[pattern[1] ?? "-"]];
      const hot =
        (family.hot?.sizes.includes(size) && family.hot.patterns.includes(pattern)) ?? false;
      for (const destination of present(destinations, "pattern")) {
        for (const source of present(sources, "pattern")) {
          yield* variantsOf(family, { size, destination, source }, hot);
        }
      }
    }
  }
}

/** The forms of one combination of operands: for either kind of stack, without and with LOCK. */
function* variantsOf(
  family: Family,
  operands: Pick<Form, "size" | "destination" | "source">,
  hot: boolean,
): Generator<FormPlace> {
  const simple = operands.destination === "simple" || operands.source === "simple";
  const inMemory = operands.destination === "general";
  const general = inMemory || operands.source === "general";
  for (const legacyStack of family.stack ? [false, true] : [false]) {
    const isHot = hot && !legacyStack && !general;
    if (simple && !isHot) {
      continue;
    }
    if (!(inMemory && family.lock === "always")) {
      yield { form: { ...operands, lock: false, legacyStack }, hot: isHot };
    }
    if (inMemory && family.lock !== undefined) {
      yield { form: { ...operands, lock: true, legacyStack }, hot: false };
    }
  }
}

function place(): Map<string, PlacedForm> {
  const placed = new Map<string, PlacedForm>();
  let arm = firstFormArm;
  let cold = 0;
  families.forEach((family, number) => {
    for (const { form, hot } of formsOf(family)) {
      const key = name(family, number, form);
      placed.set(key, {
        name: key,
        form,
        semantics: family.semantics,
        arm: hot ? arm++ : undefined,
        cold: hot ? undefined : cold++,
      });
    }
  });
  return placed;
}

/** Every form by name. */
export const forms: ReadonlyMap<string, PlacedForm> = place();

/** The form of a family for what has been decoded: the hot one where there is one, else the general one. */
export function findForm(
  familyNumber: number,
  size: AccessSize,
  destination: OperandPlace,
  source: OperandPlace,
  lock: boolean,
  legacyStack: boolean,
): PlacedForm | undefined {
  const family = families[familyNumber];
  if (!family) {
    return undefined;
  }
  const locked =
    lock || (family.lock === "always" && destination !== "register" && destination !== "none");
  const legacy = family.stack ? legacyStack : false;
  const general = (operand: OperandPlace): OperandPlace =>
    operand === "simple" ? "general" : operand;
  const key = name(family, familyNumber, {
    size,
    destination,
    source,
    lock: locked,
    legacyStack: legacy,
  });
  return (
    forms.get(key) ??
    forms.get(
      name(family, familyNumber, {
        size,
        destination: general(destination),
        source: general(source),
        lock: locked,
        legacyStack: legacy,
      }),
    )
  );
}
