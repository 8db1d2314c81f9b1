import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { builtInProfiles } from "../hypervisor/costs/built-in-profiles.ts";
import { type CostProfile, scaled } from "../hypervisor/costs/cost-profile.ts";
import { CostProfileError, readProfile } from "../hypervisor/costs/read-profile.ts";
import { lpsOf, millisecond, placeVms, type Scenario, vcpusMax } from "../hypervisor/scenario.ts";
import { builtInScenarios } from "../hypervisor/scenarios/built-in.ts";
import { ParameterError, resolveParameters } from "../hypervisor/schedulers/parameters.ts";
import { findPolicy, policies } from "../hypervisor/schedulers/registry.ts";
import { readInputFile } from "../machine/input-files.ts";
import type {
  BenchRequest,
  PolicyChoice,
  ScenarioChoice,
} from "../machine/scheduling/bench-plan.ts";
import { UserError } from "../machine/user-error.ts";
import { nearMatches } from "./near-matches.ts";
import type { SchedOptions } from "./sched-option-values.ts";
import { readScenario } from "./sched-scenario-file.ts";

/** What the factors of `--sensitivity` multiply: the costs that are only estimated. */
export const sensitivityFactors = [0.5, 2] as const;

/**
 * Puts the request together. Files are read here.
 * @throws {UserError} something named is not there, or things do not fit each other
 */
export function benchRequest(options: SchedOptions): BenchRequest {
  const profile = costProfile(options.cost);
  const costs = options.sensitivity
    ? [profile, ...sensitivityFactors.map((factor) => scaled(profile, factor, "estimate"))]
    : [profile];
  const request = {
    policies: policyChoices(options.policy),
    scenarios: options.scenario.map((name) => scenarioChoice(name, options)),
    overcommits: options.overcommit,
    seeds: Array.from({ length: options.seeds }, (_, n) => options.seed + n),
    costs,
    check: options.check ?? false,
    keepRecords: options.report !== undefined || options.trace !== undefined,
  };
  for (const choice of request.scenarios) checkSizes(choice, Math.max(...options.overcommit));
  return request;
}

function policyChoices(given: string | undefined): readonly PolicyChoice[] {
  const texts = given?.split(",") ?? policies.map(({ name }) => name);
  return [...new Set(texts)].map((text) => policyChoice(text.trim()));
}

/** `NAME` or `./FILE`, and after it `:parameter=value` as often as needed. */
function policyChoice(text: string): PolicyChoice {
  const [name = "", ...settings] = text.split(":");
  const parameters = Object.fromEntries(settings.map((setting) => parameterOf(text, setting)));
  if (/[/\\]|\.[cm]?[jt]s$/.test(name)) {
    const path = resolve(name);
    if (!existsSync(path)) throw new UserError(`--policy ${name}: no such file`);
    const source = { type: "file", name: basename(name), path } as const;
    return { label: [basename(name), ...settings].join(":"), source, parameters };
  }
  const policy = findPolicy(name);
  if (policy === undefined) {
    throw new UserError(
      unknownName(
        "--policy",
        "policy",
        name,
        policies.map((candidate) => candidate.name),
      ),
    );
  }
  try {
    resolveParameters(policy.parameters ?? {}, parameters);
  } catch (error) {
    if (error instanceof ParameterError) throw new UserError(`--policy ${text}: ${error.message}`);
    throw error;
  }
  return { label: text, source: { type: "built-in", name }, parameters };
}

function parameterOf(text: string, setting: string): [string, number | string | boolean] {
  const match = /^([\w-]+)=(.+)$/.exec(setting);
  if (match === null) {
    throw new UserError(`--policy ${text}: "${setting}" is no parameter; write name=value`);
  }
  const [, name = "", value = ""] = match;
  if (value === "true" || value === "false") return [name, value === "true"];
  return [name, /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value];
}

/** A name that is one of some, or the message that says which there are. */
export function unknownName(
  option: string,
  kind: string,
  name: string,
  names: readonly string[],
): string {
  const near = nearMatches(name, names);
  const offer =
    near.length > 0 ? `near matches: ${near.join(", ")}` : `there are ${names.join(", ")}`;
  return `${option}: no ${kind} is called "${name}"; ${offer}`;
}

function scenarioChoice(name: string, options: SchedOptions): ScenarioChoice {
  const given = findScenario(name);
  const duration =
    options.duration === undefined ? given.duration : Math.round(options.duration * millisecond);
  // A short run has a warm-up in proportion.
  const warmup = Math.min(given.warmup, Math.round(duration / 10));
  const scenario: Scenario = { ...given, duration, warmup };
  return { scenario, lps: options.lps ?? lpsOf(given.topology), duration };
}

function findScenario(name: string): Scenario {
  const found = builtInScenarios.find((candidate) => candidate.name === name);
  if (found !== undefined) return found;
  if (/[/\\]|\.ya?ml$/.test(name)) {
    return readScenario(inputText(name), name);
  }
  const names = builtInScenarios.map((candidate) => candidate.name);
  throw new UserError(unknownName("--scenario", "scenario", name, names));
}

function checkSizes({ scenario, lps }: ScenarioChoice, overcommit: number): void {
  const vms = placeVms(scenario, lps, overcommit);
  const vcpus = vms.reduce((sum, vm) => sum + vm.vcpus.length, 0);
  if (vcpus > vcpusMax) {
    throw new UserError(
      `${scenario.name}: ${vcpus} vCPUs at overcommit ${overcommit} with ${lps} LPs are too many; ${vcpusMax} is the most`,
    );
  }
  for (const { name, affinity } of scenario.vms) {
    const missing = typeof affinity === "string" ? undefined : affinity.find((lp) => lp >= lps);
    if (missing !== undefined) {
      throw new UserError(
        `${scenario.name}: affinity of VM ${name} names LP ${missing}, and there are LPs 0 to ${lps - 1}; mend it or give --lps`,
      );
    }
  }
}

/** A built-in cost profile or one from a file. @throws {UserError} */
export function costProfile(name: string): CostProfile {
  const found = builtInProfiles.find((candidate) => candidate.name === name);
  if (found !== undefined) return found;
  if (!/[/\\]|\.json$/.test(name)) {
    const names = builtInProfiles.map((candidate) => candidate.name);
    throw new UserError(unknownName("--cost", "cost profile", name, names));
  }
  try {
    return readProfile(inputText(name), name);
  } catch (error) {
    if (error instanceof CostProfileError) throw new UserError(error.message);
    throw error;
  }
}

/** @throws {UserError} the file cannot be read */
const inputText = (name: string): string => new TextDecoder().decode(readInputFile(name).bytes);
