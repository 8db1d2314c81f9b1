import { expect, test } from "vitest";
import { DirectPort } from "../../src/platform/direct-port.ts";
import type { InterruptMessage } from "../../src/protocol/interrupt-message.ts";

test("a function without a VT-d unit reaches memory, and the bus by writes to the interrupt range", () => {
  const writes: [address: number, bytes: number[]][] = [];
  const sent: InterruptMessage[] = [];
  const port = new DirectPort(
    {
      read: (address, into) => {
        into.fill(address & 0xff);
        return true;
      },
      write: (address, from) => {
        writes.push([address, [...from]]);
        return address < 0x1_0000;
      },
    },
    { send: (message) => sent.push(message), drivePin: () => undefined },
  );
  const byte = new Uint8Array(1);
  expect(port.read(0x1234n, byte)).toBe(true);
  expect(byte[0]).toBe(0x34);
  expect(port.write(0x5000, Uint8Array.of(1, 2))).toBe(true);
  expect(port.write(2n ** 63n, Uint8Array.of(1, 2))).toBe(false);
  port.message(0x6000, 0x0403_0201);
  expect(writes.filter(([address]) => address < 0x1_0000)).toEqual([
    [0x5000, [1, 2]],
    [0x6000, [1, 2, 3, 4]],
  ]);
  expect(sent).toEqual([]);
  expect(port.write(0xfee0_2000, Uint8Array.of(0x41, 0, 0, 0))).toBe(true);
  port.message(0xfee0_3000n, 0x42);
  expect(sent.map(({ vector, destination }) => [vector, destination])).toEqual([
    [0x41, 2],
    [0x42, 3],
  ]);
});
