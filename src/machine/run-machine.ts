import type { RunCallbacks } from "./callbacks.ts";
import type { DriverName, MachineConfiguration } from "./configuration.ts";
import { runDeterministic } from "./drivers/deterministic.ts";
import type { Driver } from "./drivers/driver.ts";
import { runThreads } from "./drivers/threads.ts";
import { buildMachine } from "./machine.ts";
import type { RunResult } from "./run-result.ts";

const drivers: Readonly<Record<DriverName, Driver>> = {
  threads: runThreads,
  deterministic: runDeterministic,
};

/**
 * Builds a machine, runs it to its end and says what has become of it. Whatever a guest does is an ending, a bug of the
 * simulator too; nothing is left running.
 * @throws {UserError} the machine cannot be built, or a file cannot be written
 */
export async function runMachine(
  configuration: MachineConfiguration,
  callbacks: RunCallbacks = {},
): Promise<RunResult> {
  const requestedAt = performance.now();
  const blueprint = buildMachine(configuration);
  return drivers[configuration.driver]({ configuration, blueprint, callbacks, requestedAt });
}
