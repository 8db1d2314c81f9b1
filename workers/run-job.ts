/** One run of a seed sweep, as a job of a pool of threads. */
import { createHash } from "node:crypto";
import type { MachineConfiguration } from "../src/machine/configuration.ts";
import { runMachine } from "../src/machine/run-machine.ts";
import type { SweepOutcome } from "../src/machine/seed-sweep.ts";
import { eventLine } from "../src/trace/event-line.ts";

/** @returns what the run has come to; its event log only as a digest */
export async function runJob(configuration: MachineConfiguration): Promise<SweepOutcome> {
  const digest = createHash("sha256");
  const pieces: Uint8Array[] = [];
  const result = await runMachine(configuration, {
    serial: (bytes) => {
      pieces.push(bytes);
    },
    trace: {
      sink: (source, clock) => (kind, detail) => {
        digest.update(eventLine(clock.now(), source, kind, detail));
      },
      partFile: () => "",
    },
  });
  return {
    seed: configuration.seed,
    ending: result.ending,
    serial: Buffer.concat(pieces).toString("latin1"),
    cycles: result.cycles,
    instructions: result.lps.reduce((sum, lp) => sum + lp.statistics.instructions, 0),
    traceDigest: digest.digest("hex"),
  };
}
