import type { ScriptedSoftware } from "../../isa/operations.ts";
import type { RunCallbacks } from "../callbacks.ts";
import type { MachineConfiguration } from "../configuration.ts";
import type { MachineBlueprint } from "../machine.ts";
import type { RunResult } from "../run-result.ts";

/** What every driver is given. */
export interface RunRequest {
  readonly configuration: MachineConfiguration;
  readonly blueprint: MachineBlueprint;
  readonly callbacks: RunCallbacks;
  /** The scripts that run on the machine, already loaded on this thread; undefined for a machine of machine code alone. */
  readonly software: ScriptedSoftware | undefined;
  /** Host milliseconds (`performance.now`) at which the run was asked for. */
  readonly requestedAt: number;
}

/** Runs a machine to its end. */
export type Driver = (request: RunRequest) => Promise<RunResult>;
