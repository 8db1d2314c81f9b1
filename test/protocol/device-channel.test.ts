import { describe, expect, test } from "vitest";
import {
  createChannelMemory,
  DeviceChannel,
  DmaState,
  type FromDevice,
  isDmaStep,
  type ToDevice,
} from "../../src/protocol/device-channel.ts";

function newEnds(): readonly [platform: DeviceChannel, device: DeviceChannel] {
  const memory = createChannelMemory();
  return [new DeviceChannel(memory), new DeviceChannel(memory)];
}

describe("a device channel", () => {
  test("carries what a platform says, in order", () => {
    const [platform, device] = newEnds();
    const messages: readonly ToDevice[] = [
      { type: "read", tag: 3, bar: 1, offset: 0x8ffc, size: 4 },
      { type: "write", tag: -1, bar: 5, offset: 0x7fff_fffc, size: 2, value: 0xffff_fffe },
      { type: "readConfiguration", tag: 0, offset: 0xfc, size: 1 },
      { type: "writeConfiguration", tag: 63, offset: 4, size: 2, value: 6 },
      { type: "reset" },
    ];
    for (const message of messages) expect(platform.tell(message)).toBe(true);
    expect(messages.map(() => device.nextForDevice())).toEqual(messages);
    expect(device.nextForDevice()).toBeUndefined();
  });

  test("carries what a device says, in order", () => {
    const [platform, device] = newEnds();
    const messages: readonly FromDevice[] = [
      { type: "answer", tag: 2, value: 0xffff_ffff },
      { type: "message", address: 0xfee0_0000, data: 0x4041 },
      { type: "message", address: 0xffff_ffff_0000_0004n, data: 0xffff_ffff },
      { type: "line", high: true },
      { type: "output", bytes: Uint8Array.from({ length: 24 }, (_, n) => 250 - n) },
      { type: "output", bytes: Uint8Array.of(7) },
      { type: "dmaRead", address: 2 ** 40 + 5, bytes: 65536 },
      { type: "dmaWrite", address: 0, bytes: 1 },
    ];
    for (const message of messages) expect(device.report(message)).toBe(true);
    expect(messages.map(() => platform.nextForPlatform())).toEqual(messages);
    expect(platform.nextForPlatform()).toBeUndefined();
  });

  test("an address that is rounded up to 2^64 does not become 0", () => {
    const [platform, device] = newEnds();
    device.report({ type: "dmaRead", address: 0xffff_ffff * 2 ** 32 + 0xffff_fff0, bytes: 8 });
    expect(platform.nextForPlatform()).toMatchObject({ address: 0xffff_ffff_ffff_ffffn });
  });

  test("refuses what it has no room for, and goes on when there is some", () => {
    const [platform, device] = newEnds();
    let put = 0;
    while (platform.tell({ type: "read", tag: put, bar: 0, offset: 0, size: 4 })) put += 1;
    expect(put).toBe(256);
    for (let n = 0; n < 1000; n++) {
      expect(device.nextForDevice()).toMatchObject({ tag: n });
      expect(platform.tell({ type: "read", tag: put++, bar: 0, offset: 0, size: 4 })).toBe(true);
    }
    expect(platform.tell({ type: "reset" })).toBe(false);
  });

  test("a DMA request has its steps", () => {
    const [platform, device] = newEnds();
    device.moveDma(DmaState.Requested);
    expect(platform.dmaState).toBe(DmaState.Requested);
    platform.moveDma(DmaState.Refused);
    device.moveDma(DmaState.Idle);
    expect(isDmaStep(DmaState.Idle, DmaState.Done)).toBe(false);
    expect(isDmaStep(DmaState.Done, DmaState.Refused)).toBe(false);
    expect(isDmaStep(DmaState.Requested, DmaState.Requested)).toBe(false);
    expect(() => platform.moveDma(DmaState.Done)).toThrow("changed hands");
  });
});
