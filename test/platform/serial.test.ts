import { describe, expect, test } from "vitest";
import { Serial } from "../../src/platform/serial.ts";

const port = {
  data: 0x3f8,
  ier: 0x3f9,
  iir: 0x3fa,
  fcr: 0x3fa,
  lcr: 0x3fb,
  mcr: 0x3fc,
  lsr: 0x3fd,
  msr: 0x3fe,
  scr: 0x3ff,
};
const dtr = 0x01;
const out2 = 0x08;

class Bench {
  irq = false;
  text = "";
  /** What waits at the other end. */
  typed: number[] = [];
  readonly serial = new Serial({
    firstPort: 0x3f8,
    interrupt: (high) => {
      this.irq = high;
    },
    output: (byte) => {
      this.text += String.fromCharCode(byte);
    },
    input: () => this.typed.shift(),
  });

  out(where: number, value: number): void {
    this.serial.writePort(where, 1, value);
  }
  in(where: number): number {
    return this.serial.readPort(where);
  }
  /** @returns whether the receiver has taken any of it */
  type(text: string): boolean {
    this.typed.push(...[...text].map((character) => character.charCodeAt(0)));
    return this.serial.receive();
  }
  ready(): this {
    this.out(port.mcr, dtr);
    return this;
  }
  /** Interrupts of these kinds reach the line. */
  enable(kinds: number): this {
    this.out(port.mcr, dtr | out2);
    this.out(port.ier, kinds);
    return this;
  }
}

test("polled output: the transmitter is always empty", () => {
  const bench = new Bench();
  for (const character of "hello") {
    expect(bench.in(port.lsr) & 0x60).toBe(0x60);
    bench.out(port.data, character.charCodeAt(0));
  }
  expect(bench.text).toBe("hello");
});

test("polled input: data ready, then the bytes in order", () => {
  const bench = new Bench().ready();
  expect(bench.in(port.lsr)).toBe(0x60);
  bench.type("ab");
  expect(bench.in(port.lsr)).toBe(0x61);
  expect([bench.in(port.data), bench.in(port.data)]).toEqual([0x61, 0x62]);
  expect(bench.in(port.lsr)).toBe(0x60);
  expect(bench.in(port.data)).toBe(0);
});

test("the divisor latch replaces data and interrupt enable", () => {
  const bench = new Bench();
  bench.out(port.lcr, 0x83);
  bench.out(port.data, 0x01);
  bench.out(port.ier, 0x02);
  expect([bench.in(port.data), bench.in(port.ier)]).toEqual([0x01, 0x02]);
  bench.out(port.lcr, 0x03);
  expect(bench.in(port.ier)).toBe(0);
  expect(bench.text).toBe("");
});

test("scratch register", () => {
  const bench = new Bench();
  bench.out(port.scr, 0x5a);
  expect(bench.in(port.scr)).toBe(0x5a);
});

describe("interrupts", () => {
  test("the line is gated by OUT2", () => {
    const bench = new Bench();
    bench.ready().out(port.ier, 0x01);
    bench.type("a");
    expect(bench.irq).toBe(false);
    bench.out(port.mcr, dtr | out2);
    expect(bench.irq).toBe(true);
  });

  test("transmitter empty: when enabled and after each byte, dismissed by reading the cause", () => {
    const bench = new Bench().enable(0x02);
    expect(bench.irq).toBe(true);
    expect(bench.in(port.iir)).toBe(0x02);
    expect(bench.irq).toBe(false);
    expect(bench.in(port.iir)).toBe(0x01);
    bench.out(port.data, 0x41);
    expect(bench.irq).toBe(true);
  });

  test("received data: until it is read", () => {
    const bench = new Bench().enable(0x01);
    bench.type("a");
    expect(bench.in(port.iir)).toBe(0x04);
    expect(bench.irq).toBe(true);
    bench.in(port.data);
    expect(bench.irq).toBe(false);
  });

  test("with FIFOs: the trigger level, below it the timeout", () => {
    const bench = new Bench().enable(0x01);
    bench.out(port.fcr, 0x41);
    bench.type("abc");
    expect(bench.in(port.iir)).toBe(0xcc);
    bench.type("d");
    expect(bench.in(port.iir)).toBe(0xc4);
    bench.in(port.data);
    expect(bench.in(port.iir)).toBe(0xcc);
  });

  test("priority: line status, received data, transmitter, modem status", () => {
    const bench = new Bench();
    // Loopback: an overrun, a byte, an empty transmitter and a changed modem line.
    bench.out(port.mcr, 0x10);
    bench.out(port.ier, 0x0f);
    bench.out(port.data, 1);
    bench.out(port.data, 2);
    bench.out(port.mcr, 0x11);
    expect(bench.in(port.iir)).toBe(0x06);
    expect(bench.in(port.lsr) & 0x02).toBe(0x02);
    expect(bench.in(port.iir)).toBe(0x04);
    expect(bench.in(port.data)).toBe(1);
    expect(bench.in(port.iir)).toBe(0x02);
    expect(bench.in(port.iir)).toBe(0x00);
    bench.in(port.msr);
    expect(bench.in(port.iir)).toBe(0x01);
  });
});

describe("FIFOs", () => {
  test("hold 16 bytes; further input waits and is not lost", () => {
    const bench = new Bench().ready();
    bench.out(port.fcr, 0x01);
    expect(bench.type("0123456789abcdefXYZ")).toBe(true);
    expect(bench.typed).toHaveLength(3);
    expect(bench.serial.receive()).toBe(false);
    const read = Array.from({ length: 19 }, () => String.fromCharCode(bench.in(port.data)));
    expect(read.join("")).toBe("0123456789abcdefXYZ");
  });

  test("clearing the receiver drops what is in it, not what waits", () => {
    const bench = new Bench().ready();
    bench.out(port.fcr, 0x01);
    bench.type("0123456789abcdefX");
    bench.out(port.fcr, 0x03);
    expect(String.fromCharCode(bench.in(port.data))).toBe("X");
  });

  test("input waits for a guest that is not ready, and is not lost while it sets the receiver up", () => {
    const bench = new Bench();
    expect(bench.type("ab")).toBe(false);
    bench.out(port.fcr, 0x07);
    expect(bench.in(port.lsr) & 1).toBe(0);
    bench.ready();
    expect(bench.in(port.lsr) & 1).toBe(1);
    expect(bench.in(port.data)).toBe("a".charCodeAt(0));
  });
});

test("loopback: output comes back, nothing goes out, modem lines are the outputs", () => {
  const bench = new Bench();
  expect(bench.in(port.msr)).toBe(0xb0);
  bench.out(port.mcr, 0x10 | 0x02);
  bench.out(port.data, 0x41);
  expect(bench.text).toBe("");
  expect(bench.in(port.data)).toBe(0x41);
  expect(bench.in(port.msr) & 0xf0).toBe(0x10);
  // The other lines have dropped, and reading has told so once.
  expect(bench.in(port.msr)).toBe(0x10);
});
