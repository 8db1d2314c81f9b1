import { describe, expect, test } from "vitest";
import { Serial, serialInputMax } from "../../src/platform/serial.ts";

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
const out2 = 0x08;

class Bench {
  irq = false;
  text = "";
  readonly serial = new Serial({
    firstPort: 0x3f8,
    interrupt: (high) => {
      this.irq = high;
    },
    output: (byte) => {
      this.text += String.fromCharCode(byte);
    },
  });

  out(where: number, value: number): void {
    this.serial.writePort(where, 1, value);
  }
  in(where: number): number {
    return this.serial.readPort(where);
  }
  type(text: string): number {
    return this.serial.input([...text].map((character) => character.charCodeAt(0)));
  }
  /** Interrupts of these kinds reach the line. */
  enable(kinds: number): this {
    this.out(port.mcr, out2);
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
  const bench = new Bench();
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
    bench.out(port.ier, 0x01);
    bench.type("a");
    expect(bench.irq).toBe(false);
    bench.out(port.mcr, out2);
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
    const bench = new Bench();
    bench.out(port.fcr, 0x01);
    expect(bench.type("0123456789abcdefXYZ")).toBe(19);
    const read = Array.from({ length: 19 }, () => String.fromCharCode(bench.in(port.data)));
    expect(read.join("")).toBe("0123456789abcdefXYZ");
  });

  test("clearing the receiver drops what is in it, not what waits", () => {
    const bench = new Bench();
    bench.out(port.fcr, 0x01);
    bench.type("0123456789abcdefX");
    bench.out(port.fcr, 0x03);
    expect(String.fromCharCode(bench.in(port.data))).toBe("X");
  });

  test("input that nobody reads is refused in the end", () => {
    const bench = new Bench();
    // One byte more than the limit: the receiver has taken one out of the queue.
    const offered = "x".repeat(serialInputMax + 10);
    expect(bench.type(offered) + bench.type(offered)).toBe(serialInputMax + 1);
    expect(bench.type("y")).toBe(0);
    bench.in(port.data);
    expect(bench.type("yz")).toBe(1);
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
