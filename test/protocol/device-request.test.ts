import { expect, it } from "vitest";
import {
  DeviceOperation,
  Doorbell,
  nextRequestState,
  RequestSlot,
  RequestState,
} from "../../src/protocol/device-request.ts";

const words = (): Int32Array => new Int32Array(new SharedArrayBuffer(256));

it("carries every part of a request there and the result back", () => {
  const memory = words();
  const lp = new RequestSlot(memory, 64);
  const platform = new RequestSlot(memory, 64);
  const seen: unknown[] = [];
  lp.request(DeviceOperation.WriteMmio, 0x3f_fee0_0300, 4, 0xffff_fffe);
  expect(platform.state).toBe(RequestState.Requested);
  platform.serve({
    access: (...request) => {
      seen.push(request);
      return 0x8000_0001;
    },
  });
  expect(seen).toEqual([[DeviceOperation.WriteMmio, 0x3f_fee0_0300, 4, 0xffff_fffe]]);
  expect(lp.take()).toBe(0x8000_0001);
  expect(lp.state).toBe(RequestState.Idle);
});

it("goes round idle, requested, answered, and nowhere else", () => {
  expect([0, 1, 2].map(nextRequestState)).toEqual([1, 2, 0]);
  expect(() => nextRequestState(3)).toThrow("no known state");
});

it("refuses a second request, an answer nobody asked for, and a result that is not there", () => {
  const slot = new RequestSlot(words(), 0);
  const server = { access: () => 0 };
  expect(() => slot.serve(server)).toThrow("changed hands");
  expect(() => slot.take()).toThrow("changed hands");
  slot.request(DeviceOperation.ReadPort, 0x60, 1, 0);
  expect(() => slot.request(DeviceOperation.ReadPort, 0x60, 1, 0)).toThrow("changed hands");
});

it("counts rings, so that a sleeper that has missed one does not sleep", () => {
  const bell = new Doorbell(words(), 8);
  const before = bell.rings;
  bell.ring();
  expect(bell.rings).toBe(before + 1);
  bell.sleep(before, Number.POSITIVE_INFINITY);
});
