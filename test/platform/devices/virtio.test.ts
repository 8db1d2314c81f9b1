import { describe, expect, test } from "vitest";
import type { ByteStore } from "../../../src/platform/devices/device-services.ts";
import { VirtioBlk } from "../../../src/platform/devices/virtio/virtio-blk.ts";
import { VirtioConsole } from "../../../src/platform/devices/virtio/virtio-console.ts";
import type { VirtioModel } from "../../../src/platform/devices/virtio/virtio-model.ts";
import { VirtioNet } from "../../../src/platform/devices/virtio/virtio-net.ts";
import { VirtioPci } from "../../../src/platform/devices/virtio/virtio-pci.ts";
import { DeviceBench } from "./device-harness.ts";
import {
  accessPlatform,
  common,
  eventIndex,
  indirect,
  inTable,
  next,
  type Piece,
  queueSize,
  VirtioDriver,
  version1,
  write,
} from "./virtio-driver.ts";

const needsReset = 64;

function newDevice(model: VirtioModel) {
  const bench = new DeviceBench<VirtioPci>((slot, { clock }) => new VirtioPci(slot, clock, model));
  bench.enableMsix(model.queueSizes.length + 1, 0x40);
  return { bench, driver: new VirtioDriver(bench) };
}

function newConsole() {
  const text: number[] = [];
  const made = newDevice(new VirtioConsole((byte) => text.push(byte)));
  return { ...made, text };
}
const transmit = 1;

describe("the transport", () => {
  test("tells what it is where drivers look", () => {
    const { bench, driver } = newConsole();
    const { function: fn } = bench.device;
    expect(fn.readConfiguration(0, 4)).toBe(0x1043_1af4);
    expect(fn.readConfiguration(8, 1)).toBe(1);
    expect(driver.read(common.queueCount, 2)).toBe(2);
    expect(driver.offered() & (version1 | accessPlatform)).toBe(version1 | accessPlatform);
    driver.write(common.deviceFeatureSelect, 2);
    expect(driver.read(common.deviceFeature)).toBe(0);
  });

  test("agrees to what it offers, if version 1 is among it", () => {
    const { driver } = newConsole();
    expect(driver.negotiate(version1)).toBe(true);
    expect(driver.negotiate(driver.offered())).toBe(true);
    expect(driver.negotiate(accessPlatform)).toBe(false);
    expect(driver.negotiate(version1 | (1n << 34n))).toBe(false);
    // Once agreed, the driver's features are fixed.
    driver.negotiate(version1);
    driver.write(common.driverFeatureSelect, 1);
    driver.write(common.driverFeature, 0);
    expect(driver.read(common.driverFeature)).toBe(1);
  });

  test("writing 0 to the status resets everything", () => {
    const { driver } = newConsole();
    driver.start();
    expect(driver.read(common.queueEnable, 2)).toBe(1);
    driver.write(common.status, 0, 1);
    expect(driver.status).toBe(0);
    driver.write(common.queueSelect, 1, 2);
    expect(driver.read(common.queueEnable, 2)).toBe(0);
    expect(driver.read(common.queueSize, 2)).toBe(64);
    expect(driver.read(common.queueVector, 2)).toBe(0xffff);
    expect(driver.read(common.descriptors)).toBe(0);
  });

  test("a queue it does not have has size 0", () => {
    const { driver } = newConsole();
    driver.write(common.queueSelect, 2, 2);
    expect(driver.read(common.queueSize, 2)).toBe(0);
    driver.write(common.queueSize, 8, 2);
    driver.write(common.queueEnable, 1, 2);
    expect(driver.read(common.queueEnable, 2)).toBe(0);
  });

  test.each([3, 0, 128])("takes no queue of size %i", (size) => {
    const { driver } = newConsole();
    driver.write(common.queueSize, size, 2);
    expect(driver.read(common.queueSize, 2)).toBe(64);
  });

  test("an entry its table does not have is not taken", () => {
    const { driver } = newConsole();
    driver.write(common.configurationVector, 2, 2);
    expect(driver.read(common.configurationVector, 2)).toBe(2);
    driver.write(common.configurationVector, 3, 2);
    expect(driver.read(common.configurationVector, 2)).toBe(0xffff);
  });

  test("does nothing before DRIVER_OK, and then looks by itself", () => {
    const { bench, driver, text } = newConsole();
    bench.ram[0x8000] = 65;
    driver.describe(driver.descriptors(transmit), [{ address: 0x8000, length: 1 }]);
    driver.offer(transmit, 0);
    driver.negotiate(version1);
    driver.notify(transmit);
    expect(bench.device.deadline()).toBeUndefined();
    bench.view.setUint16(driver.driver(transmit) + 2, 0, true);
    driver.start();
    driver.send(transmit, [{ address: 0x8000, length: 1 }]);
    expect(text).toEqual([65]);
  });

  test("without MSI-X, INTA is held until the ISR status is read", () => {
    const { bench, driver } = newConsole();
    bench.device.function.writeConfiguration(bench.capability(0x11) + 2, 2, 0);
    driver.start();
    driver.send(transmit, [{ address: 0x8000, length: 1 }]);
    expect(bench.line).toBe(true);
    expect(bench.read(driver.interruptStatus, 0, 1)).toBe(1);
    expect(bench.line).toBe(false);
    expect(bench.read(driver.interruptStatus, 0, 1)).toBe(0);
  });
});

describe("access through configuration space", () => {
  const data = 16;
  function newAccess() {
    const { bench } = newConsole();
    const { function: fn } = bench.device;
    const at = bench.capability(9, 4);
    expect(fn.readConfiguration(at + 3, 1)).toBe(5);
    const aim = (bar: number, offset: number, length: number): void => {
      fn.writeConfiguration(at + 4, 1, bar);
      fn.writeConfiguration(at + 8, 4, offset);
      fn.writeConfiguration(at + 12, 4, length);
    };
    return { bench, fn, at: at + data, aim };
  }

  test("reads and writes the structures", () => {
    const { bench, fn, at, aim } = newAccess();
    aim(0, common.status, 1);
    fn.writeConfiguration(at, 1, 3);
    expect(bench.read(common.status, 0, 1)).toBe(3);
    expect(fn.readConfiguration(at, 1)).toBe(3);
    aim(0, common.queueCount, 2);
    expect(fn.readConfiguration(at, 2)).toBe(2);
    aim(1, 8, 4);
    expect(fn.readConfiguration(at, 4)).toBe(0x40);
  });

  test.each([
    ["a window it does not have", 2, 0, 4],
    ["what lies behind a window", 0, 0x4000, 4],
    ["what is not aligned", 0, 2, 4],
    ["eight bytes", 0, 0, 8],
  ])("does not reach %s", (_, bar, offset, length) => {
    const { fn, at, aim } = newAccess();
    aim(bar, offset, length);
    fn.writeConfiguration(at, 4, 0x1234_5678);
    expect(fn.readConfiguration(at, 4)).toBe(0x1234_5678);
  });
});

describe("a queue", () => {
  test("is worked off in order, through wraps of the ring and of the index", () => {
    const { bench, driver, text } = newConsole();
    driver.start();
    for (let n = 0; n < 0x1_0003; n++) {
      bench.ram[0x8000] = n & 0xff;
      driver.describe(driver.descriptors(transmit), [{ address: 0x8000, length: 1 }], n % 8);
      driver.offer(transmit, n % 8);
      if (n % 8 === 7 || n === 0x1_0002) {
        driver.notify(transmit);
        expect(driver.usedIndex(transmit)).toBe((n + 1) & 0xffff);
      }
    }
    expect(text.length).toBe(0x1_0003);
    expect(driver.used(transmit, 0x1_0002)).toEqual([2, 0]);
    expect(driver.status & needsReset).toBe(0);
  });

  test("gathers a chain, and an indirect table at its end", () => {
    const { bench, driver, text } = newConsole();
    driver.start(version1 | indirect);
    bench.ram.set([1, 2, 3, 4, 5, 6], 0x8000);
    driver.describe(0x9000, [
      { address: 0x8003, length: 2 },
      { address: 0x8005, length: 1 },
    ]);
    driver.send(transmit, [
      { address: 0x8000, length: 3 },
      { address: 0x9000, length: 32, flags: inTable },
    ]);
    expect(text).toEqual([1, 2, 3, 4, 5, 6]);
    expect(bench.messages).toEqual([0x42]);
  });

  test("keeps quiet when the driver wants it", () => {
    const { bench, driver } = newConsole();
    driver.start();
    bench.view.setUint16(driver.driver(transmit), 1, true);
    driver.send(transmit, [{ address: 0x8000, length: 1 }]);
    expect(driver.usedIndex(transmit)).toBe(1);
    expect(bench.messages).toEqual([]);
  });

  test("with event indexes, speaks up at the one asked for and asks for the next", () => {
    const { bench, driver } = newConsole();
    driver.start(version1 | eventIndex);
    bench.view.setUint16(driver.driver(transmit) + 4 + 2 * queueSize, 1, true);
    driver.send(transmit, [{ address: 0x8000, length: 1 }]);
    expect(bench.messages).toEqual([]);
    expect(bench.view.getUint16(driver.device(transmit) + 4 + 8 * queueSize, true)).toBe(1);
    driver.send(transmit, [{ address: 0x8000, length: 1 }]);
    expect(bench.messages).toEqual([0x42]);
  });
});

describe("a malformed queue needs a reset:", () => {
  const good: Piece = { address: 0x8000, length: 1 };
  const cases: readonly [string, readonly Piece[], bigint?][] = [
    ["a chain in circles", [{ ...good, next: 0 }, good]],
    ["a next descriptor outside the table", [{ ...good, next: 8 }, good]],
    ["a buffer of nothing", [{ address: 0x8000, length: 0 }]],
    ["a readable buffer behind a writable one", [{ ...good, flags: write }, good]],
    ["an indirect table nobody agreed to", [{ address: 0x9000, length: 16, flags: inTable }]],
    ["half a table", [{ address: 0x9000, length: 24, flags: inTable }], indirect],
    ["an empty table", [{ address: 0x9000, length: 0, flags: inTable }], indirect],
    ["a table in a table", [{ address: 0xa000, length: 16, flags: inTable }], indirect],
    ["a table that goes on", [{ address: 0x9000, length: 16, flags: inTable }, good], indirect],
    ["a table in circles", [{ address: 0xb000, length: 32, flags: inTable }], indirect],
    ["a table outside RAM", [{ address: 0xf_0000, length: 16, flags: inTable }], indirect],
    ["a buffer outside RAM", [{ address: 0xffff_0000, length: 8 }]],
  ];
  test.each(cases)("%s", (_, pieces, features = 0n) => {
    const { bench, driver, text } = newConsole();
    driver.start(version1 | features);
    driver.describe(0x9000, [good]);
    driver.describe(0xa000, [{ address: 0x9000, length: 16, flags: inTable }]);
    driver.describe(0xb000, [
      { ...good, flags: next, next: 1 },
      { ...good, flags: next, next: 0 },
    ]);
    driver.send(transmit, pieces);
    expect(driver.status & needsReset).toBe(needsReset);
    expect(driver.usedIndex(transmit)).toBe(0);
    expect(bench.messages).toEqual([0x40]);
    expect(text).toEqual([]);
    // Nothing goes on until the reset; then everything does.
    driver.send(transmit, [good]);
    expect(driver.usedIndex(transmit)).toBe(0);
    bench.ram.fill(0, 0x1000, 0x3000);
    driver.start();
    driver.send(transmit, [good]);
    expect(driver.status).toBe(15);
    expect(driver.usedIndex(transmit)).toBe(1);
  });

  test("more chains than the ring has", () => {
    const { bench, driver } = newConsole();
    driver.start();
    bench.view.setUint16(driver.driver(transmit) + 2, 9, true);
    driver.notify(transmit);
    expect(driver.status & needsReset).toBe(needsReset);
  });

  test("a head outside the table", () => {
    const { driver } = newConsole();
    driver.start();
    driver.offer(transmit, 8);
    driver.notify(transmit);
    expect(driver.status & needsReset).toBe(needsReset);
  });

  test("rings that cannot be reached", () => {
    const { bench, driver } = newConsole();
    driver.start();
    bench.isBlocked = true;
    driver.notify(transmit);
    expect(driver.status & needsReset).toBe(needsReset);
  });

  test("rings that are not aligned", () => {
    const { driver } = newConsole();
    driver.negotiate(version1);
    driver.write(common.descriptors, 0x1008);
    driver.write(common.queueEnable, 1, 2);
    expect(driver.status & needsReset).toBe(needsReset);
    expect(driver.read(common.queueEnable, 2)).toBe(0);
  });
});

/** A disk of four sectors in memory, each filled with its number plus one. */
class MemoryStore implements ByteStore {
  readonly content = Uint8Array.from({ length: 4 * 512 }, (_, n) => 1 + (n >> 9));
  readonly bytes = this.content.length;
  flushes = 0;
  isBroken = false;
  read(offset: number, into: Uint8Array): boolean {
    into.set(this.content.subarray(offset, offset + into.length));
    return !this.isBroken;
  }
  write(offset: number, from: Uint8Array): boolean {
    this.content.set(from, offset);
    return !this.isBroken;
  }
  flush(): boolean {
    this.flushes += 1;
    return !this.isBroken;
  }
}

describe("virtio-blk", () => {
  const header = 0x8000;
  const data = 0x9000;
  const status = 0x8100;
  const [read, writes, flush, identify] = [0, 1, 4, 8] as const;

  function newDisk(isReadOnly = false) {
    const store = new MemoryStore();
    const made = newDevice(new VirtioBlk(store, isReadOnly));
    made.driver.start();
    return { ...made, store };
  }
  /** One request. @returns its status, 0xff when the device has not answered */
  function ask(disk: ReturnType<typeof newDisk>, type: number, sector: number, bytes: number) {
    const { bench, driver } = disk;
    bench.view.setUint32(header, type, true);
    bench.view.setBigUint64(header + 8, BigInt(sector), true);
    bench.ram[status] = 0xff;
    const flags = type === writes ? 0 : write;
    const pieces = bytes === 0 ? [] : [{ address: data, length: bytes, flags }];
    driver.send(0, [
      { address: header, length: 16 },
      ...pieces,
      { address: status, length: 1, flags: write },
    ]);
    return bench.ram[status];
  }

  test("tells its size and that it can flush", () => {
    const { bench, driver } = newDisk(true);
    expect(bench.read(driver.configuration)).toBe(4);
    expect(bench.read(driver.configuration + 20)).toBe(512);
    expect(driver.offered() & 0xffff_ffn).toBe((1n << 2n) | (1n << 5n) | (1n << 6n) | (1n << 9n));
  });

  test("reads sectors", () => {
    const disk = newDisk();
    expect(ask(disk, read, 1, 1024)).toBe(0);
    expect(disk.driver.used(0, 0)).toEqual([0, 1025]);
    expect(disk.bench.ram.subarray(data, data + 513)).toEqual(
      Uint8Array.from({ length: 513 }, (_, n) => (n < 512 ? 2 : 3)),
    );
    expect(disk.bench.messages).toEqual([0x41]);
  });

  test("writes and flushes", () => {
    const disk = newDisk();
    disk.bench.ram.fill(0xaa, data, data + 512);
    expect(ask(disk, writes, 3, 512)).toBe(0);
    expect(disk.store.content.subarray(1535, 1538)).toEqual(Uint8Array.of(3, 0xaa, 0xaa));
    expect(ask(disk, flush, 0, 0)).toBe(0);
    expect(disk.store.flushes).toBe(1);
    expect(disk.driver.used(0, 1)).toEqual([0, 1]);
  });

  test("takes a header and data in any pieces", () => {
    const { bench, driver, store } = newDisk();
    bench.view.setUint32(header, writes, true);
    bench.ram.fill(0xbb, data, data + 512);
    driver.send(0, [
      { address: header, length: 4 },
      { address: header + 4, length: 12 },
      { address: data, length: 500 },
      { address: data + 500, length: 12 },
      { address: status, length: 1, flags: write },
    ]);
    expect(store.content.subarray(0, 513)).toEqual(
      Uint8Array.from({ length: 513 }, (_, n) => (n < 512 ? 0xbb : 2)),
    );
  });

  test.each([
    ["behind the end", read, 3, 1024, 1],
    ["that wraps around", read, 2 ** 53 - 1, 512, 1],
    ["of half a sector", read, 0, 100, 1],
    ["of no known type", 77, 0, 512, 2],
  ])("a request %s fails, and changes nothing", (_, type, sector, bytes, outcome) => {
    const disk = newDisk();
    disk.bench.ram.fill(0x5a, data, data + 1024);
    expect(ask(disk, type, sector, bytes)).toBe(outcome);
    expect(disk.driver.used(0, 0)).toEqual([0, 1]);
    expect(new Set(disk.bench.ram.subarray(data, data + 1024))).toEqual(new Set([0x5a]));
  });

  test("a disk that is only read refuses writes", () => {
    const disk = newDisk(true);
    expect(ask(disk, writes, 0, 512)).toBe(1);
    expect(disk.store.content[0]).toBe(1);
  });

  test("what the host cannot do is an error of the request", () => {
    const disk = newDisk();
    disk.store.isBroken = true;
    expect([ask(disk, read, 0, 512), ask(disk, flush, 0, 0)]).toEqual([1, 1]);
    expect(disk.driver.status & needsReset).toBe(0);
  });

  test("says its name", () => {
    const disk = newDisk();
    expect(ask(disk, identify, 0, 20)).toBe(0);
    const name = disk.bench.ram.subarray(data, data + 6);
    expect(String.fromCharCode(...name)).toBe("vmxon\0");
  });

  test.each([
    ["a status", [{ address: header, length: 16 }]],
    [
      "a whole header",
      [
        { address: header, length: 15 },
        { address: status, length: 1, flags: write },
      ],
    ],
  ])("a request without %s needs a reset", (_, pieces) => {
    const { driver } = newDisk();
    driver.send(0, pieces);
    expect(driver.status & needsReset).toBe(needsReset);
  });
});

describe("virtio-console", () => {
  test("writes in an emergency, without a queue", () => {
    const { bench, driver, text } = newConsole();
    bench.write(driver.configuration + 8, 0x21);
    expect(text).toEqual([0x21]);
  });
});

describe("virtio-net", () => {
  const receive = 0;
  const frame = Uint8Array.from({ length: 12 + 60 }, (_, n) => 100 + n);

  test("receives what it has sent, as soon as there is room", () => {
    const { bench, driver } = newDevice(new VirtioNet());
    driver.start();
    bench.ram.set(frame, 0x8000);
    driver.send(transmit, [{ address: 0x8000, length: frame.length }]);
    expect(driver.usedIndex(transmit)).toBe(0);
    driver.send(receive, [{ address: 0x9000, length: 2048, flags: write }]);
    expect(driver.used(receive, 0)).toEqual([0, frame.length]);
    expect(driver.usedIndex(transmit)).toBe(1);
    expect([...bench.ram.subarray(0x9000, 0x900c)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    expect(bench.ram.slice(0x900c, 0x9000 + frame.length)).toEqual(frame.slice(12));
    expect(bench.messages).toEqual([0x41, 0x42]);
  });

  test("a frame that does not fit is lost", () => {
    const { bench, driver } = newDevice(new VirtioNet());
    driver.start();
    driver.send(receive, [{ address: 0x9000, length: 20, flags: write }]);
    driver.send(transmit, [{ address: 0x8000, length: frame.length }]);
    expect(driver.used(receive, 0)).toEqual([0, 0]);
    expect(bench.ram[0x9000]).toBe(0);
  });
});
