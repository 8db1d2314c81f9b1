import { defaultCpuModel } from "../../src/cpu/models/models.ts";
import type { RunCallbacks } from "../../src/machine/callbacks.ts";
import { configure, type MachineConfiguration } from "../../src/machine/configuration.ts";
import { runMachine } from "../../src/machine/run-machine.ts";
import type { RunResult } from "../../src/machine/run-result.ts";

export interface GuestRun {
  readonly result: RunResult;
  readonly serial: string;
}

/** Runs an image and gathers what it prints. A run that does not end by itself is an ending of its own: `timeout`. */
export async function runGuest(
  bytes: Uint8Array,
  options: Partial<MachineConfiguration> = {},
  callbacks: RunCallbacks = {},
): Promise<GuestRun> {
  const pieces: Uint8Array[] = [];
  const configuration = configure({
    image: { name: "guest", bytes },
    cpuModel: defaultCpuModel.name,
    ramBytes: 16 * 2 ** 20,
    timeoutSeconds: 60,
    ...options,
  });
  const result = await runMachine(configuration, {
    serial: (piece) => {
      pieces.push(piece);
    },
    ...callbacks,
  });
  return { result, serial: Buffer.concat(pieces).toString("latin1") };
}
