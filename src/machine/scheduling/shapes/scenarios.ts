import { present } from "../../../base/assert.ts";
import type { HypervisorFeatures, Scenario } from "../../../hypervisor/scenario.ts";
import { builtInScenarios } from "../../../hypervisor/scenarios/built-in.ts";

/** A built-in scenario, with other features of the hypervisor if an experiment varies them. */
export function builtIn(name: string, features: Partial<HypervisorFeatures> = {}): Scenario {
  const scenario = present(
    builtInScenarios.find((candidate) => candidate.name === name),
    `no scenario ${name}`,
  );
  return { ...scenario, features: { ...scenario.features, ...features } };
}

/** Values with a name made of each of some keys. */
export function each<K extends string | number, T>(
  keys: readonly K[],
  name: (key: K) => string,
  value: (key: K) => T,
): Readonly<Record<string, T>> {
  return Object.fromEntries(keys.map((key) => [name(key), value(key)]));
}
