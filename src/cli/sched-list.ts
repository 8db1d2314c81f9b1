import { builtInProfiles } from "../hypervisor/costs/built-in-profiles.ts";
import { builtInScenarios } from "../hypervisor/scenarios/built-in.ts";
import { policies } from "../hypervisor/schedulers/registry.ts";
import type { Policy } from "../hypervisor/schedulers/scheduler.ts";

const indent = (text: string): string => text.replaceAll(/^(?=.)/gm, "  ");

/** What there is to choose from: policies with their parameters, scenarios, cost profiles. */
export function formatSchedList(): string {
  const scenarios = builtInScenarios.map(
    ({ name, description }) => `${name.padEnd(24)}${description}\n`,
  );
  const profiles = builtInProfiles.map(({ name, title }) => `${name.padEnd(24)}${title}\n`);
  return [
    "policies (--policy NAME, NAME+core for whole cores, NAME:parameter=value):\n",
    ...policies.map((policy) => indent(formatPolicy(policy))),
    "\nscenarios (--scenario):\n",
    ...scenarios.map(indent),
    "\ncost profiles (--cost):\n",
    ...profiles.map(indent),
  ].join("");
}

function formatPolicy({ name, title, parameters = {} }: Policy): string {
  const rows = Object.entries(parameters).map(([key, { default: value, unit = "", about }]) => {
    const standard = unit === "" ? String(value) : `${value} ${unit}`;
    return [`${key}=${standard}`, about] as const;
  });
  const width = Math.max(0, ...rows.map(([setting]) => setting.length)) + 2;
  const lines = rows.map(([setting, about]) => `${setting.padEnd(width)}${about}\n`);
  return `${name.padEnd(24)}${title}\n${lines.map(indent).join("")}`;
}

/** The same for programs. */
export function schedListJson(): string {
  const list = {
    policies: policies.map(({ name, title, source, parameters = {} }) => ({
      name,
      title,
      source,
      parameters,
    })),
    scenarios: builtInScenarios,
    costs: builtInProfiles.map(({ name, title }) => ({ name, title })),
  };
  return `${JSON.stringify(list, undefined, 2)}\n`;
}
