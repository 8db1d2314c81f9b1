import { describe, expect, test } from "vitest";
import { DebugConsole } from "../../src/platform/debug-console.ts";
import { DebugExit } from "../../src/platform/debug-exit.ts";
import type { ExitRequest } from "../../src/platform/exit-request.ts";
import { KeyboardController } from "../../src/platform/keyboard-controller.ts";
import { PageRegisters } from "../../src/platform/page-registers.ts";
import { ResetControl, SystemControlPort } from "../../src/platform/reset-ports.ts";
import { ShutdownPort } from "../../src/platform/shutdown-port.ts";
import { TestDevice } from "../../src/platform/testdev.ts";

/** A device and the exits it has asked for. */
function watched<T>(make: (exit: (request: ExitRequest) => void) => T): {
  device: T;
  exits: ExitRequest[];
} {
  const exits: ExitRequest[] = [];
  return { device: make((request) => exits.push(request)), exits };
}

const softReset = { type: "reset", soft: true };

describe("debug exit", () => {
  test.each([
    [0, 1],
    [0x10, 0x21],
    [0xff, 0x1ff],
  ])("a write of %i asks for status %i", (value, status) => {
    const { device, exits } = watched((exit) => new DebugExit(exit));
    device.writePort(0xf4, 4, value);
    expect(exits).toEqual([{ type: "debug-exit", status }]);
  });
});

describe("shutdown port", () => {
  const type = (device: ShutdownPort, text: string): void => {
    for (const character of text) {
      device.writePort(0x8900, 1, character.charCodeAt(0));
    }
  };

  test("the password switches off", () => {
    const { device, exits } = watched((exit) => new ShutdownPort(exit));
    type(device, "Shutdow");
    expect(exits).toEqual([]);
    type(device, "n");
    expect(exits).toEqual([{ type: "power-off" }]);
  });

  test("a false start is forgotten, and the letter that broke it may begin anew", () => {
    const { device, exits } = watched((exit) => new ShutdownPort(exit));
    type(device, "shutdown Shut Shutdow");
    expect(exits).toEqual([]);
    type(device, "ShShutdown");
    expect(exits).toEqual([{ type: "power-off" }]);
  });
});

describe("keyboard controller", () => {
  const answer = (device: KeyboardController, command: number): number => {
    device.writePort(0x64, 1, command);
    expect(device.readPort(0x64) & 3).toBe(1);
    return device.readPort(0x60);
  };

  test("is never busy, and has nothing to say by itself", () => {
    const { device } = watched((exit) => new KeyboardController(exit));
    expect(device.readPort(0x64) & 3).toBe(0);
  });

  test("answers its tests and keeps its configuration", () => {
    const { device } = watched((exit) => new KeyboardController(exit));
    expect(answer(device, 0xaa)).toBe(0x55);
    expect(answer(device, 0xab)).toBe(0);
    device.writePort(0x64, 1, 0x60);
    device.writePort(0x60, 1, 0x03);
    expect(answer(device, 0x20)).toBe(0x03);
    device.writePort(0x64, 1, 0xad);
    expect(answer(device, 0x20)).toBe(0x13);
  });

  test("resets by a pulse and by the output port", () => {
    const { device, exits } = watched((exit) => new KeyboardController(exit));
    device.writePort(0x64, 1, 0xff);
    expect(exits).toEqual([]);
    device.writePort(0x64, 1, 0xfe);
    expect(exits).toEqual([softReset]);
    const port = answer(device, 0xd0);
    expect(port & 3).toBe(3);
    device.writePort(0x64, 1, 0xd1);
    device.writePort(0x60, 1, port);
    expect(exits).toHaveLength(1);
    device.writePort(0x64, 1, 0xd1);
    device.writePort(0x60, 1, port & ~1);
    expect(exits).toEqual([softReset, softReset]);
  });

  test("data for the keyboard that is not there is dropped", () => {
    const { device, exits } = watched((exit) => new KeyboardController(exit));
    device.writePort(0x60, 1, 0xf2);
    expect(device.readPort(0x64) & 1).toBe(0);
    expect(exits).toEqual([]);
  });
});

describe("reset ports", () => {
  test("port 92H: bit 0 resets when it becomes 1; A20 stays open", () => {
    const { device, exits } = watched((exit) => new SystemControlPort(exit));
    device.writePort(0x92, 1, 0);
    expect(device.readPort()).toBe(2);
    device.writePort(0x92, 1, 1);
    device.writePort(0x92, 1, 1);
    expect(exits).toEqual([softReset]);
    expect(device.readPort()).toBe(3);
  });

  test.each([
    [0x04, true],
    [0x06, false],
    [0x0e, false],
  ])("port CF9H: %i is a soft reset: %s", (value, soft) => {
    const { device, exits } = watched((exit) => new ResetControl(exit));
    device.writePort(0xcf9, 1, value & ~4);
    expect(exits).toEqual([]);
    device.writePort(0xcf9, 1, value);
    expect(exits).toEqual([{ type: "reset", soft }]);
  });
});

describe("testing device", () => {
  test("the latch takes accesses of every width, at two places", () => {
    const device = new TestDevice(() => undefined);
    device.writePort(0xe0, 4, 0x1234_5678);
    expect(device.readPort(0xe0, 4)).toBe(0x1234_5678);
    expect(device.readPort(0xe1, 1)).toBe(0x56);
    expect(device.readPort(0xe2, 2)).toBe(0x1234);
    expect(device.readPort(0xe8, 1)).toBe(0x78);
    device.writePort(0xe9, 1, 0xaa);
    expect(device.readPort(0xe0, 4)).toBe(0x1234_aa78);
  });

  test("the flush port is there and does nothing", () => {
    const device = new TestDevice(() => undefined);
    device.writePort(0xe4, 4, 0x1000);
    expect(device.readPort(0xe4, 4)).toBe(0);
    expect(device.readPort(0xe0, 4)).toBe(0);
  });

  test("a port per interrupt line", () => {
    const lines: [number, boolean][] = [];
    const device = new TestDevice((line, high) => lines.push([line, high]));
    device.writePort(0x200e, 1, 1);
    device.writePort(0x200e, 1, 0);
    expect(lines).toEqual([
      [14, true],
      [14, false],
    ]);
  });

  test("its memory is memory", () => {
    const device = new TestDevice(() => undefined);
    device.writeMmio(0xff00_fffc, 4, 0x8765_4321);
    expect(device.readMmio(0xff00_fffe, 2)).toBe(0x8765);
    device.writeMmio(0xff00_fffc, 1, 0);
    expect(device.readMmio(0xff00_fffc, 4)).toBe(0x8765_4300);
  });
});

test("debug console prints; with the testing device, only on the port that is free", () => {
  let text = "";
  const print = (byte: number): void => {
    text += String.fromCharCode(byte);
  };
  const device = new DebugConsole(print, true);
  expect(device.ports.map(({ first }) => first)).toEqual([0xe9, 0x402]);
  expect(new DebugConsole(print, false).ports.map(({ first }) => first)).toEqual([0x402]);
  expect(device.readPort()).toBe(0xe9);
  device.writePort(0xe9, 1, 0x41);
  expect(text).toBe("A");
});

test("page registers hold a byte each", () => {
  const device = new PageRegisters();
  device.writePort(0x80, 1, 0x55);
  device.writePort(0x8f, 1, 0xaa);
  expect([device.readPort(0x80), device.readPort(0x8f)]).toEqual([0x55, 0xaa]);
});
