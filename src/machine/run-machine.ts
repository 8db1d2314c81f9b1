import type { RunCallbacks } from "./callbacks.ts";
import type { DriverName, MachineConfiguration } from "./configuration.ts";
import type { Driver } from "./drivers/driver.ts";
import { buildMachine } from "./machine.ts";
import { hexadecimal } from "./quantities.ts";
import type { RunResult } from "./run-result.ts";
import { placeSoftware } from "./scripted-software.ts";
import { loadSoftware } from "./software-source.ts";

/** Loaded when asked for: with threads, this thread needs none of what an LP is made of. */
const drivers: Readonly<Record<DriverName, () => Promise<Driver>>> = {
  threads: async () => (await import("./drivers/threads.ts")).runThreads,
  deterministic: async () => (await import("./drivers/deterministic.ts")).runDeterministic,
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
  const { ramBytes, lpCount, driver, seed, cpuModel } = configuration;
  const { boot } = blueprint;
  const software =
    callbacks.software ??
    (configuration.software === undefined ? undefined : await loadSoftware(configuration.software));
  if (software !== undefined) placeSoftware(software, blueprint);
  callbacks.log?.("info", "machine built", {
    image: configuration.image?.name ?? "scripts",
    ...{ ramBytes, lpCount, driver, seed, cpuModel },
    entry: boot === undefined ? "main" : hexadecimal(boot.entry),
    mode: boot?.mode ?? "long64",
  });
  const run = await drivers[driver]();
  const result = await run({ configuration, blueprint, callbacks, software, requestedAt });
  const { startSeconds, runSeconds } = result;
  callbacks.log?.("info", "machine stopped", { ...result.ending, startSeconds, runSeconds });
  return result;
}
