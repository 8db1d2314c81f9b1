import fc from "fast-check";
import { expect, test } from "vitest";
import { VirtioNet } from "../../../src/platform/devices/virtio/virtio-net.ts";
import { VirtioPci } from "../../../src/platform/devices/virtio/virtio-pci.ts";
import { DeviceBench } from "./device-harness.ts";
import { eventIndex, indirect, VirtioDriver, version1 } from "./virtio-driver.ts";

/** Small numbers are indexes, flags and addresses of something; large ones are nonsense. */
const word = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 9 }) },
  { weight: 3, arbitrary: fc.integer({ min: 0x1000, max: 0x3000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff }) },
);
const queueWords = 0x300 / 2;
test("whatever a driver writes into its queues, the device comes to an end and is there after a reset", () => {
  const content = fc.array(word, { minLength: queueWords, maxLength: queueWords });
  fc.assert(
    fc.property(content, content, (receive, transmit) => {
      const bench = new DeviceBench<VirtioPci>(
        (slot, { clock }) => new VirtioPci(slot, clock, new VirtioNet()),
      );
      bench.enableMsix(3, 0x40);
      const driver = new VirtioDriver(bench);
      driver.start(version1 | indirect | eventIndex);
      for (const [queue, words] of [receive, transmit].entries()) {
        for (const [n, value] of words.entries()) {
          bench.view.setUint16(driver.descriptors(queue) + 2 * n, value, true);
        }
      }
      for (let round = 0; round < 4; round++) {
        driver.notify(1);
        driver.notify(0);
      }
      expect(bench.device.deadline()).toBeUndefined();
      bench.ram.fill(0);
      driver.start();
      expect(driver.status).toBe(15);
      driver.send(0, [{ address: 0x9000, length: 100, flags: 2 }]);
      driver.send(1, [{ address: 0x8000, length: 20 }]);
      expect(driver.usedIndex(0)).toBe(1);
    }),
    { numRuns: 300 },
  );
});
