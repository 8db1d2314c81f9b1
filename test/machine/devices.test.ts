import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { driverNames } from "../../src/machine/configuration.ts";
import { circularGuest, consoleGuest, diskGuest, dmaGuest, stormGuest } from "./device-guests.ts";
import { runGuest } from "./run-guest.ts";

const device = (kind: string, parameters: Readonly<Record<string, string>> = {}) => ({
  kind,
  parameters,
});

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmxon-devices-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
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

  it("a virtio console speaks to where COM1 does", async () => {
    const devices = [device("virtio-console")];
    const { result, serial } = await runGuest(consoleGuest, {
      driver,
      devices,
      timeoutSeconds: 20,
    });
    expect(result.ending).toEqual({ type: "exit", value: 1 });
    expect(serial).toBe("through a queue\n");
  });

  it("a virtio disk reads, writes and flushes a file", async () => {
    const file = join(folder, `${driver}.img`);
    const image = Buffer.alloc(1024);
    image.write("sectors\n", 512);
    writeFileSync(file, image);
    const devices = [device("virtio-blk", { file })];
    const { result, serial } = await runGuest(diskGuest, { driver, devices, timeoutSeconds: 20 });
    expect(result.ending).toEqual({ type: "exit", value: 0 });
    expect(serial).toBe("sectors\n");
    image.copy(image, 0, 512);
    expect(readFileSync(file)).toEqual(image);
  });

  it("a disk's file that is not there is the user's trouble, before anything runs", async () => {
    const file = join(folder, "absent.img");
    const run = runGuest(diskGuest, { driver, devices: [device("virtio-blk", { file })] });
    await expect(run).rejects.toThrow(`${file}: no such file`);
  });

  it("a chain in circles stops the device, not the machine", async () => {
    const devices = [device("virtio-console")];
    const { result } = await runGuest(circularGuest, { driver, devices, timeoutSeconds: 20 });
    expect(result.ending).toEqual({ type: "exit", value: 15 | 64 });
  });

  it("a device behind a VT-d unit works as without one until software sets the unit up", async () => {
    const { result, serial } = await runGuest(dmaGuest, {
      driver,
      devices: [device("dma")],
      iommu: true,
      timeoutSeconds: 20,
    });
    expect(result.ending).toEqual({ type: "exit", value: 0 });
    expect(serial).toBe("two pieces make a whole\n");
  });
});

it("devices can share the platform's thread", async () => {
  const devices = [device("dma", { thread: "platform" })];
  const { result } = await runGuest(dmaGuest, { driver: "threads", devices, timeoutSeconds: 20 });
  expect(result.ending).toEqual({ type: "exit", value: 0 });
});
