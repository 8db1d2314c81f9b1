import { defaultCpuModel } from "../../../src/cpu/models/models.ts";
import type { ScriptedSoftware } from "../../../src/isa/operations.ts";
import type { RunCallbacks } from "../../../src/machine/callbacks.ts";
import { configure, type MachineConfiguration } from "../../../src/machine/configuration.ts";
import { runMachine } from "../../../src/machine/run-machine.ts";
import type { RunResult } from "../../../src/machine/run-result.ts";

/** Runs scripts on a machine under the deterministic driver. */
export function runScripts(
  software: ScriptedSoftware,
  options: Partial<MachineConfiguration> = {},
  callbacks: RunCallbacks = {},
): Promise<RunResult> {
  const configuration = configure({
    cpuModel: defaultCpuModel.name,
    ramBytes: 16 * 2 ** 20,
    driver: "deterministic",
    timeoutSeconds: 20,
    ...options,
  });
  return runMachine(configuration, { software, ...callbacks });
}
