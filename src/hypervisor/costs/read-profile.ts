import { builtInProfiles, findProfile } from "./built-in-profiles.ts";
import {
  type Cost,
  type CostKey,
  type CostProfile,
  type CostTag,
  type CostUnit,
  costKeys,
  costTags,
  costUnits,
} from "./cost-profile.ts";

/** A user's profile is wrong; the message names the file, the key and the mend. */
export class CostProfileError extends Error {
  override readonly name = "CostProfileError";
}

/**
 * A profile from a file of JSON:
 *
 * ```json
 * { "name": "mine", "title": "My machine", "base": "skylake-kvm",
 *   "clock": { "value": 3, "unit": "GHz", "source": "data sheet", "tag": "published" },
 *   "costs": { "vmx.exit": { "value": 610, "unit": "cycles", "source": "measured", "tag": "published" } } }
 * ```
 *
 * With a `base`, a built-in profile, what is not said is as there; without one all must be said.
 *
 * @param file its name, for errors
 * @throws CostProfileError
 */
export function readProfile(text: string, file: string): CostProfile {
  const wrong = (key: string, complaint: string): never => {
    throw new CostProfileError(`${file}: ${key === "" ? "" : `${key}: `}${complaint}`);
  };
  const whole = asObject(parse(text, wrong), "", wrong);
  for (const key of Object.keys(whole)) {
    if (!["name", "title", "base", "clock", "costs"].includes(key)) {
      wrong(key, "unknown; there are name, title, base, clock and costs");
    }
  }
  const name = asString(whole["name"], "name", wrong);
  const base = whole["base"] === undefined ? undefined : findBase(whole["base"], wrong);
  return {
    name,
    title: whole["title"] === undefined ? name : asString(whole["title"], "title", wrong),
    clock: readClock(whole["clock"], base, wrong),
    costs: readCosts(whole["costs"], base, wrong),
  };
}

type Wrong = (key: string, complaint: string) => never;
type Fields = Readonly<Record<string, unknown>>;

function parse(text: string, wrong: Wrong): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return wrong("", `not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function findBase(given: unknown, wrong: Wrong): CostProfile {
  const base = typeof given === "string" ? findProfile(given) : undefined;
  const names = builtInProfiles.map((profile) => profile.name).join(", ");
  return base ?? wrong("base", `must be one of ${names}`);
}

function readClock(
  given: unknown,
  base: CostProfile | undefined,
  wrong: Wrong,
): CostProfile["clock"] {
  if (given === undefined && base !== undefined) {
    return base.clock;
  }
  const fields = entryFields(given, "clock", wrong);
  if (fields["unit"] !== "GHz") {
    wrong("clock.unit", "must be GHz");
  }
  const value = asNumber(fields["value"], "clock.value", wrong);
  if (value === 0) {
    wrong("clock.value", "must be more than 0");
  }
  return { value, unit: "GHz", ...origin(fields, "clock", wrong) };
}

function readCosts(
  given: unknown,
  base: CostProfile | undefined,
  wrong: Wrong,
): CostProfile["costs"] {
  const fields = given === undefined && base !== undefined ? {} : asObject(given, "costs", wrong);
  for (const key of Object.keys(fields)) {
    if (!costKeys.some((known) => known === key)) {
      wrong(`costs.${key}`, `unknown${nearest(key)}`);
    }
  }
  const entries = costKeys.map((key): [CostKey, Cost] => {
    if (Object.hasOwn(fields, key)) {
      return [key, readCost(fields[key], `costs.${key}`, wrong)];
    }
    return [
      key,
      base?.costs[key] ?? wrong(`costs.${key}`, "missing, and there is no base to take it from"),
    ];
  });
  return Object.fromEntries(entries) as Record<CostKey, Cost>;
}

function readCost(given: unknown, key: string, wrong: Wrong): Cost {
  const fields = entryFields(given, key, wrong);
  const unit = costUnits.find((known): known is CostUnit => known === fields["unit"]);
  return {
    value: asNumber(fields["value"], `${key}.value`, wrong),
    unit: unit ?? wrong(`${key}.unit`, `must be one of ${costUnits.join(", ")}`),
    ...origin(fields, key, wrong),
  };
}

function entryFields(given: unknown, key: string, wrong: Wrong): Fields {
  const fields = asObject(given, key, wrong);
  for (const name of Object.keys(fields)) {
    if (!["value", "unit", "source", "tag"].includes(name)) {
      wrong(`${key}.${name}`, "unknown; an entry has value, unit, source and tag");
    }
  }
  return fields;
}

function origin(fields: Fields, key: string, wrong: Wrong): { source: string; tag: CostTag } {
  const tag = costTags.find((known) => known === fields["tag"]);
  return {
    source: asString(fields["source"], `${key}.source`, wrong),
    tag: tag ?? wrong(`${key}.tag`, `must be one of ${costTags.join(", ")}`),
  };
}

function asObject(value: unknown, key: string, wrong: Wrong): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Fields)
    : wrong(key, "must be an object");
}

function asString(value: unknown, key: string, wrong: Wrong): string {
  return typeof value === "string" && value !== ""
    ? value
    : wrong(key, "must be a string that is not empty");
}

function asNumber(value: unknown, key: string, wrong: Wrong): number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0
    ? value
    : wrong(key, "must be a number of at least 0");
}

/** Keys of the same group, when the group is right. */
function nearest(key: string): string {
  const group = key.slice(0, key.indexOf(".") + 1);
  const known = group === "" ? [] : costKeys.filter((candidate) => candidate.startsWith(group));
  if (known.length > 0) {
    return `; ${group}* are ${known.map((name) => name.slice(group.length)).join(", ")}`;
  }
  const groups = [...new Set(costKeys.map((name) => name.slice(0, name.indexOf("."))))];
  return `; keys begin with ${groups.join(", ")}`;
}
