import { describePlace, describeState } from "../machine/lp-snapshot.ts";
import type { Ending, RunResult } from "../machine/run-result.ts";
import { describeViolation } from "../vmx/checker/invariants.ts";

const bugHint =
  "this is a bug of the simulator; please report it with the command line, the image and the lines above";

/** Most places listed of accesses that nobody answered. */
const unownedPlacesMax = 8;

/** One line about accesses that no device answered; empty when there were none. */
export function formatUnowned({ unowned }: RunResult): string {
  const places = Object.entries(unowned);
  if (places.length === 0) return "";
  const sum = places.reduce((total, [, count]) => total + count, 0);
  const listed = places.slice(0, unownedPlacesMax).map(([place, count]) => `${place} ×${count}`);
  const more = places.length > unownedPlacesMax ? ", …" : "";
  return `vmxon: no device answered ${sum} accesses: ${listed.join(", ")}${more}\n`;
}

/** Lines for stderr about an end that is not the guest's own; empty when there is nothing to say. */
export function formatEnding({ ending, lps }: RunResult): string {
  const places = lps.map(({ state }) => `  ${describePlace(state)}\n`).join("");
  switch (ending.type) {
    case "exit":
    case "power-off":
    case "output-closed":
      return "";
    case "reset":
      return "vmxon: the guest asked for a reset\n";
    case "dead":
      return `vmxon: every LP is halted and nothing can wake one\n${places}`;
    case "timeout":
      return `vmxon: --timeout has run out; the LPs are at\n${places}`;
    case "interrupted":
      return `vmxon: interrupted; the LPs are at\n${places}`;
    case "shutdown":
      return `vmxon: LP ${ending.lp} is in shutdown (triple fault)\n${stateOf(lps, ending.lp)}`;
    case "violation":
      return `vmxon: check: ${ending.message}\n${stateOf(lps, ending.lp)}`;
    case "bug":
      return `vmxon: ${describeSource(ending)}: ${ending.message}\n${stateOf(lps, ending.source ?? -1)}vmxon: ${bugHint}\n`;
  }
}

/** What `--check` has found: a line per violation, and how many. Empty without the option. */
export function formatViolations({ check, lps, ending }: RunResult): string {
  if (check === "off" || ending.type === "violation") return "";
  const lines = lps.flatMap(({ violations }) =>
    violations.map((violation) => `vmxon: check: ${describeViolation(violation)}\n`),
  );
  const count = lines.length === 0 ? "no violation" : `${lines.length} kinds of violation`;
  return `${lines.join("")}vmxon: check: ${count} found\n`;
}

function describeSource({ source }: Extract<Ending, { type: "bug" }>): string {
  if (source === undefined) return "machine";
  return source < 0 ? "platform" : `LP ${source}`;
}

function stateOf(lps: RunResult["lps"], index: number): string {
  const lp = lps.find(({ state }) => state.index === index);
  return lp === undefined ? "" : `  ${describeState(lp.state)}\n`;
}
