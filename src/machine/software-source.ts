import type { ScriptedSoftware } from "../isa/operations.ts";
import { UserError } from "./user-error.ts";

/**
 * Where a machine's scripts come from: a module that exports a function `createSoftware(parameters)`. Unlike a generator it can be
 * posted to a worker: under the threads driver every LP loads its own copy.
 */
export interface SoftwareSource {
  /** File URL of an ECMAScript module. */
  readonly module: string;
  /** What the function is given; must survive being posted to a worker. */
  readonly parameters: unknown;
}

/** @throws {UserError} the module cannot be loaded, or exports no such function */
export async function loadSoftware({
  module,
  parameters,
}: SoftwareSource): Promise<ScriptedSoftware> {
  let exports: { createSoftware?: unknown };
  try {
    exports = (await import(module)) as { createSoftware?: unknown };
  } catch (error) {
    throw new UserError(`${module}: cannot be loaded: ${String(error)}`);
  }
  const { createSoftware } = exports;
  if (typeof createSoftware !== "function") {
    throw new UserError(`${module}: exports no function createSoftware`);
  }
  const software = createSoftware(parameters) as Partial<ScriptedSoftware> | undefined;
  if (typeof software?.programs?.["main"] !== "function") {
    throw new UserError(`${module}: createSoftware makes no program called main`);
  }
  return software as ScriptedSoftware;
}
