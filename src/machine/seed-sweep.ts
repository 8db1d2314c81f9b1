import { availableParallelism } from "node:os";
import { Piscina } from "piscina";
import type { MachineConfiguration } from "./configuration.ts";
import { workerFile } from "./project-files.ts";
import type { Ending } from "./run-result.ts";

/** What one run of a sweep has come to. Two runs with equal digests have gone through the same events at the same times. */
export interface SweepOutcome {
  readonly seed: number;
  readonly ending: Ending;
  readonly serial: string;
  readonly cycles: number;
  readonly instructions: number;
  /** SHA-256 of the event log's bytes, hexadecimal. */
  readonly traceDigest: string;
}

/**
 * Runs one machine per seed under the deterministic driver, side by side on all processors of the host.
 * @returns the outcomes in the order of the seeds
 */
export async function sweepSeeds(
  configuration: MachineConfiguration,
  seeds: readonly number[],
): Promise<readonly SweepOutcome[]> {
  const pool = new Piscina<MachineConfiguration, SweepOutcome>({
    filename: workerFile("run-job"),
    maxThreads: Math.max(1, Math.min(availableParallelism(), seeds.length)),
  });
  try {
    return await Promise.all(
      seeds.map((seed) =>
        pool.run({ ...configuration, driver: "deterministic", seed }, { name: "runJob" }),
      ),
    );
  } finally {
    await pool.destroy();
  }
}
