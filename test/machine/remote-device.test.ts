import { describe, expect, test } from "vitest";
import { AccessUnderWay } from "../../src/machine/device-actors/access-under-way.ts";
import { RemoteDevice } from "../../src/machine/device-actors/remote-device.ts";
import { createChannelMemory, DeviceChannel, DmaState } from "../../src/protocol/device-channel.ts";

const barRegister = 0x10;
const windowAt = 0xe000_0000;

/** The platform's end of a storm device; the test plays the device. */
function newRemote() {
  const memory = createChannelMemory();
  const device = new DeviceChannel(memory);
  const access = new AccessUnderWay();
  const heard: unknown[] = [];
  const ram = new Uint8Array(64);
  const remote = new RemoteDevice({
    slot: {
      ...{ bus: 0, device: 4, function: 0 },
      port: {
        read: (address, into) => {
          if (Number(address) >= ram.length) return false;
          into.set(ram.subarray(Number(address), Number(address) + into.length));
          return true;
        },
        write: (address, from) => {
          if (Number(address) >= ram.length) return false;
          ram.set(from, Number(address));
          return true;
        },
        message: (address, data) => heard.push(["message", address, data]),
      },
      interrupt: (high) => heard.push(["line", high]),
    },
    configuration: { kind: "storm", parameters: { queues: "2" } },
    channel: new DeviceChannel(memory),
    access,
    output: (byte) => heard.push(["output", byte]),
    answer: (lp, value) => heard.push(["answer", lp, value]),
  });
  remote.function.writeConfiguration(barRegister, 4, windowAt);
  remote.function.writeConfiguration(4, 2, 2);
  for (let n = 0; n < 2; n++) expect(device.nextForDevice()).toMatchObject({ tag: -1 });
  const window = remote.function.decode("memory", windowAt + 0x1010);
  if (window === undefined) throw new Error("the window is not decoded");
  return { remote, device, access, heard, ram, window };
}

describe("a device on a thread of its own, from the platform", () => {
  test("is told of reads, and the LP waits", () => {
    const { device, access, window } = newRemote();
    const result = access.serve(3, () => window.bar.read(window.offset, 4));
    expect(result).toBeUndefined();
    expect(device.nextForDevice()).toEqual({
      type: "read",
      tag: 3,
      bar: 0,
      offset: 0x1010,
      size: 4,
    });
  });

  test("is told of writes, and nobody waits", () => {
    const { device, access, window } = newRemote();
    const result = access.serve(3, () => {
      window.bar.write(window.offset, 4, 77);
      return 0;
    });
    expect(result).toBe(0);
    expect(device.nextForDevice()).toMatchObject({ type: "write", tag: -1, value: 77 });
  });

  test("is waited for when its configuration is written, and by the mirror's form when nobody asks", () => {
    const { remote, device, access } = newRemote();
    expect(remote.function.readConfiguration(barRegister, 4)).toBe(windowAt);
    const result = access.serve(1, () => {
      remote.function.writeConfiguration(4, 2, 6);
      return 0;
    });
    expect(result).toBeUndefined();
    expect(device.nextForDevice()).toMatchObject({ type: "writeConfiguration", tag: 1, value: 6 });
    expect(access.serve(1, () => remote.function.readConfiguration(4, 2))).toBeUndefined();
  });

  test("has what it said before an answer heard before the answer", () => {
    const { remote, device, heard } = newRemote();
    device.report({ type: "message", address: 0xfee0_0000, data: 0x40 });
    device.report({ type: "output", bytes: Uint8Array.of(72, 105) });
    device.report({ type: "line", high: true });
    device.report({ type: "answer", tag: 2, value: 9 });
    expect(remote.serve()).toBe(true);
    expect(heard).toEqual([
      ["message", 0xfee0_0000, 0x40],
      ["output", 72],
      ["output", 105],
      ["line", true],
      ["answer", 2, 9],
    ]);
    expect(remote.serve()).toBe(false);
  });

  test("when it is behind, even a writer waits, and the order stays", () => {
    const { remote, device, access, window } = newRemote();
    const write = (lp: number, value: number) =>
      access.serve(lp, () => {
        window.bar.write(window.offset, 4, value);
        return 0;
      });
    let written = 0;
    while (write(0, written) === 0) written += 1;
    expect(write(1, written + 1)).toBeUndefined();
    for (let n = 0; n < written; n++) {
      expect(device.nextForDevice()).toMatchObject({ tag: -1, value: n });
    }
    remote.serve();
    expect(device.nextForDevice()).toMatchObject({ tag: 0, value: written });
    expect(device.nextForDevice()).toMatchObject({ tag: 1, value: written + 1 });
    expect(write(0, 0)).toBe(0);
  });

  test("reaches memory through its slot, or is refused", () => {
    const { remote, device, ram } = newRemote();
    device.data.set([1, 2, 3]);
    device.moveDma(DmaState.Requested);
    device.report({ type: "dmaWrite", address: 5, bytes: 3 });
    remote.serve();
    expect(device.dmaState).toBe(DmaState.Done);
    expect([...ram.subarray(4, 9)]).toEqual([0, 1, 2, 3, 0]);
    device.moveDma(DmaState.Idle);
    device.moveDma(DmaState.Requested);
    device.report({ type: "dmaRead", address: 64, bytes: 3 });
    remote.serve();
    expect(device.dmaState).toBe(DmaState.Refused);
    expect([...device.data.subarray(0, 3)]).toEqual([1, 2, 3]);
  });
});
