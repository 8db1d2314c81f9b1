import { type Document, isMap, isNode, LineCounter, parseDocument } from "yaml";
import type { z } from "zod";
import type { Scenario } from "../hypervisor/scenario.ts";
import { UserError } from "../machine/user-error.ts";
import { nearMatches } from "./near-matches.ts";
import { scenarioSchema } from "./sched-scenario-schema.ts";

type Path = readonly PropertyKey[];

/**
 * A scenario from the text of a YAML file.
 * @param file its name, for errors
 * @throws {UserError} it is no YAML, or no scenario: with file, line and key
 */
export function readScenario(text: string, file: string): Scenario {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [fault] = document.errors;
  if (fault !== undefined) {
    const { line, col } = lines.linePos(fault.pos[0]);
    throw new UserError(`${file}:${line}:${col}: ${fault.message}`);
  }
  const parsed = scenarioSchema.safeParse(toPlain(document, file));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue === undefined) throw new UserError(`${file}: is not a scenario`);
  const { path, message } = complaint(issue, document);
  const line = lines.linePos(offsetOf(document, path)).line;
  const key = path.length === 0 ? "" : `${keyName(path)}: `;
  throw new UserError(`${file}:${line}: ${key}${message}`);
}

/** @throws {UserError} an alias has no anchor, or aliases multiply beyond measure */
function toPlain(document: Document, file: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new UserError(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** `vms[0].workloads[1].hold`. */
function keyName(path: Path): string {
  return path
    .map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`))
    .join("")
    .replace(/^\./, "");
}

/** The key that is wrong and why. A key nobody knows is named itself, with what it may have been meant to be. */
function complaint(issue: z.core.$ZodIssue, document: Document): { path: Path; message: string } {
  if (issue.code === "unrecognized_keys") {
    const [key = ""] = issue.keys;
    const near = nearMatches(key, knownKeys(issue.path, document));
    const offer = near.length === 0 ? "" : `; near: ${near.join(", ")}`;
    return { path: [...issue.path, key], message: `there is no such key${offer}` };
  }
  if (issue.code === "invalid_type" && !document.hasIn(issue.path)) {
    return { path: issue.path, message: "is missing" };
  }
  return { path: issue.path, message: issue.message };
}

/** Offers for a misspelt key: the keys of all objects of a scenario, without those already there. */
function knownKeys(path: Path, document: Document): readonly string[] {
  const here = path.length === 0 ? document.contents : document.getIn(path, true);
  const taken = isMap(here) ? here.items.map(({ key }) => String(key)) : [];
  return allKeys.filter((key) => !taken.includes(key));
}

const allKeys = [
  ...["name", "description", "topology", "duration", "warmup", "features", "vms"],
  ...["sockets", "coresPerSocket", "threadsPerCore"],
  ...["posting", "ipiVirtualization", "haltPollMax", "pauseGap", "pauseWindow", "directedYield"],
  ...["copies", "vcpus", "weight", "cap", "affinity", "workloads"],
  ...["type", "unit", "run", "sleep", "lock", "locks", "hold", "think", "spins", "guest"],
  ...["phase", "imbalance", "mode", "handler", "produce", "consume", "depth", "device", "service"],
  ...["connections", "period"],
];

/** Where in the text a key stands, or the nearest thing around it that is there. */
function offsetOf(document: Document, path: Path): number {
  for (let length = path.length; length > 0; length--) {
    const parent =
      length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    const step = path[length - 1];
    if (isMap(parent)) {
      const pair = parent.items.find(({ key }) => String(key) === String(step));
      if (isNode(pair?.key)) return pair.key.range?.[0] ?? 0;
    }
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node)) return node.range?.[0] ?? 0;
  }
  return 0;
}
