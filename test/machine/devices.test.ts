import { describe, expect, it } from "vitest";
import { driverNames } from "../../src/machine/configuration.ts";
import { dmaGuest, stormGuest } from "./device-guests.ts";
import { runGuest } from "./run-guest.ts";

const device = (kind: string, parameters: Readonly<Record<string, string>> = {}) => ({
  kind,
  parameters,
});

describe.each(driverNames)("under the %s driver", (driver) => {
  it("a halted LP gets the messages of an interrupt storm", async () => {
    const devices = [device("storm", { queues: "2", entries: "3" })];
    const { result } = await runGuest(stormGuest, { driver, devices, timeoutSeconds: 20 });
    // Under threads, messages may come before the one before has been handled.
    const deliveries = result.ending.type === "exit" ? result.ending.value : -1;
    expect(result.ending.type).toBe("exit");
    expect(deliveries).toBeGreaterThanOrEqual(3);
    expect(deliveries).toBeLessThanOrEqual(34);
    if (driver === "deterministic") expect(deliveries).toBe(34);
  });

  it("a DMA engine moves memory, and tells what it did not move", async () => {
    const devices = [device("dma")];
    const { result, serial } = await runGuest(dmaGuest, { driver, devices, timeoutSeconds: 20 });
    expect(result.ending).toEqual({ type: "exit", value: 0 });
    expect(serial).toBe("two pieces make a whole\n");
  });
});
