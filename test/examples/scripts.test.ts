import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { defaultCpuModel } from "../../src/cpu/models/models.ts";
import { configure, type DriverName, driverNames } from "../../src/machine/configuration.ts";
import { runMachine } from "../../src/machine/run-machine.ts";

/** The module as the build has left it: workers load it by its URL. */
const module = new URL("../../dist/examples/scripts/ipi-latency.js", import.meta.url).href;

async function run(driver: DriverName) {
  const pieces: Uint8Array[] = [];
  const configuration = configure({
    cpuModel: defaultCpuModel.name,
    software: { module, parameters: { commandLine: "" } },
    ramBytes: 16 * 2 ** 20,
    lpCount: 3,
    driver,
    timeoutSeconds: 60,
  });
  const result = await runMachine(configuration, {
    serial: (piece) => {
      pieces.push(piece);
    },
  });
  return { result, text: Buffer.concat(pieces).toString("latin1") };
}

it.each(driverNames)("a study of scripts runs under the driver %s", async (driver) => {
  const { result, text } = await run(driver);
  expect(result.ending).toEqual({ type: "exit", value: 0 });
  expect(text.replaceAll(/\d+ cycles/g, "n cycles")).toBe(
    "LP 0 to LP 1: n cycles\nLP 0 to LP 2: n cycles\n",
  );
  for (const lp of result.lps.slice(1)) expect(lp.statistics.interruptsReceived).toBe(100);
});

it("a module that is no software is refused in one line", async () => {
  const other = fileURLToPath(new URL("../../dist/src/base/assert.js", import.meta.url));
  const configuration = configure({
    cpuModel: defaultCpuModel.name,
    software: { module: `file://${other}`, parameters: {} },
  });
  await expect(runMachine(configuration)).rejects.toThrow(/exports no function createSoftware/);
});
