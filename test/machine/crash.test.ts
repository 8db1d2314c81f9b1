import { expect, it } from "vitest";
import { defaultCpuModel } from "../../src/cpu/models/models.ts";
import { configure } from "../../src/machine/configuration.ts";
import { runDeterministic } from "../../src/machine/drivers/deterministic.ts";
import type { RunRequest } from "../../src/machine/drivers/driver.ts";
import { runThreads } from "../../src/machine/drivers/threads.ts";
import { buildMachine } from "../../src/machine/machine.ts";
import { statusOf } from "../../src/machine/run-result.ts";
import { floodsSerial, spins, tripleFault } from "./guests.ts";

const emptyModule = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));

function request(bytes: Uint8Array, lpCount: number): RunRequest {
  const configuration = configure({
    image: { name: "guest", bytes },
    cpuModel: defaultCpuModel.name,
    ramBytes: 16 * 2 ** 20,
    lpCount,
    timeoutSeconds: 60,
  });
  return {
    configuration,
    blueprint: buildMachine(configuration),
    callbacks: {},
    software: undefined,
    requestedAt: performance.now(),
  };
}

it("a thread that cannot start ends the run as a bug of its LP", async () => {
  const good = request(spins, 2);
  const result = await runThreads({
    ...good,
    blueprint: { ...good.blueprint, module: emptyModule },
  });
  expect(result.ending).toMatchObject({ type: "bug" });
  expect(statusOf(result.ending)).toBe(70);
  expect(result.lps).toHaveLength(2);
});

it("a bug in the middle of a run stops all LPs and says on which it showed", async () => {
  const run = request(floodsSerial, 2);
  const { memory, layout } = run.blueprint;
  let spoiled = false;
  const spoilRequestSlot = (): void => {
    // The request slots lie behind the first 8 KiB of the control words; LP 0's comes first.
    if (!spoiled) Atomics.store(new Int32Array(memory.buffer), (layout.control + 8192) / 4, 3);
    spoiled = true;
  };
  const result = await runThreads({ ...run, callbacks: { serial: spoilRequestSlot } });
  expect(result.ending).toMatchObject({ type: "bug" });
  if (result.ending.type !== "bug") return;
  expect([0, -1]).toContain(result.ending.source);
  expect(result.ending.message).toMatch(/SimulatorBug: request slot/);
  expect(result.ending.message).not.toContain("\n");
  expect(result.lps[0]?.state.rip).toBeGreaterThan(0x10_0000n);
});

it("a bug under the deterministic driver is an ending too", async () => {
  const broken = (): never => {
    throw new Error("no\nluck");
  };
  const callbacks = { trace: { sink: () => broken, partFile: () => "" } };
  const { ending } = await runDeterministic({ ...request(tripleFault, 1), callbacks });
  expect(ending).toMatchObject({ type: "bug", source: 0 });
  if (ending.type === "bug")
    expect(ending.message).toMatch(/^Error: no luck \(at .*crash\.test\.ts/);
});
