import { defaultCpuModel } from "../src/cpu/models/models.ts";
import { configure } from "../src/machine/configuration.ts";
import { runMachine } from "../src/machine/run-machine.ts";
import { median } from "./statistics.ts";
import { type VmcallLoop, vmcallRamBytes } from "./vmcall-loop.ts";

const trips = 300_000;

/**
 * VMCALL round trips of scripted guests, each LP in its own loop on a thread of its own.
 * @returns trips per second of all LPs together, median of the runs
 */
export async function measureVmcalls(lps: number, runs: number): Promise<number | undefined> {
  const rates: number[] = [];
  for (let run = 0; run < runs; run++) {
    const parameters: VmcallLoop = { trips };
    let printed = "";
    const result = await runMachine(
      configure({
        cpuModel: defaultCpuModel.name,
        software: { module: new URL("./vmcall-loop.js", import.meta.url).href, parameters },
        ramBytes: vmcallRamBytes(lps),
        lpCount: lps,
        driver: "threads",
        timeoutSeconds: 120,
      }),
      {
        serial: (bytes) => {
          printed += Buffer.from(bytes).toString("latin1");
        },
      },
    );
    if (result.ending.type !== "exit") return undefined;
    rates.push((lps * trips * 1e9) / Number(printed));
  }
  return median(rates);
}
