import { describe, expect, test } from "vitest";
import { PicPair } from "../../src/platform/pic.ts";

const master = { command: 0x20, data: 0x21 };
const slave = { command: 0xa0, data: 0xa1 };

/** A pair initialized with vectors 20H and 28H, all inputs open. */
class Bench {
  intr = false;
  readonly pair = new PicPair((high) => {
    this.intr = high;
  });

  constructor(icw4 = 0x01, icw1 = 0x11) {
    for (const [chip, vectors, wiring] of [
      [master, 0x20, 4],
      [slave, 0x28, 2],
    ] as const) {
      this.out(chip.command, icw1);
      this.out(chip.data, vectors);
      this.out(chip.data, wiring);
      this.out(chip.data, icw4);
      this.out(chip.data, 0);
    }
  }

  out(port: number, value: number): void {
    this.pair.writePort(port, 1, value);
  }
  in(port: number): number {
    return this.pair.readPort(port);
  }
  pulse(input: number): void {
    this.pair.setLine(input, true);
    this.pair.setLine(input, false);
  }
  inService(chip: { command: number }): number {
    this.out(chip.command, 0x0b);
    return this.in(chip.command);
  }
  requests(chip: { command: number }): number {
    this.out(chip.command, 0x0a);
    return this.in(chip.command);
  }
}

describe("requests", () => {
  test("an edge is held until it is acknowledged", () => {
    const bench = new Bench();
    bench.pulse(3);
    expect(bench.intr).toBe(true);
    expect(bench.requests(master)).toBe(1 << 3);
    expect(bench.pair.acknowledge()).toBe(0x23);
    expect(bench.requests(master)).toBe(0);
    expect(bench.inService(master)).toBe(1 << 3);
    expect(bench.intr).toBe(false);
  });

  test("a masked input waits for its mask to be cleared", () => {
    const bench = new Bench();
    bench.out(master.data, 0xff);
    bench.pulse(3);
    expect(bench.intr).toBe(false);
    bench.out(master.data, 0xf7);
    expect(bench.intr).toBe(true);
    expect(bench.in(master.data)).toBe(0xf7);
  });

  test("the slave's inputs come through the master's input 2", () => {
    const bench = new Bench();
    bench.pulse(11);
    expect(bench.requests(master)).toBe(1 << 2);
    expect(bench.pair.acknowledge()).toBe(0x2b);
    expect([bench.inService(master), bench.inService(slave)]).toEqual([1 << 2, 1 << 3]);
  });

  test("a second slave input of higher priority waits for the master's EOI, unless fully nested", () => {
    const nested = new Bench(0x11);
    const plain = new Bench();
    for (const bench of [nested, plain]) {
      bench.pulse(11);
      bench.pair.acknowledge();
      bench.pulse(8);
    }
    expect(plain.intr).toBe(false);
    plain.out(master.command, 0x20);
    expect(plain.intr).toBe(true);
    expect(nested.intr).toBe(true);
  });

  test("nothing to acknowledge: spurious, input 7, nothing in service", () => {
    const bench = new Bench();
    expect(bench.pair.acknowledge()).toBe(0x27);
    expect(bench.inService(master)).toBe(0);
  });

  test("a level-triggered input asks as long as it is high", () => {
    const bench = new Bench();
    bench.out(0x4d0, 0xff);
    bench.out(0x4d1, 0xff);
    expect([bench.in(0x4d0), bench.in(0x4d1)]).toEqual([0xf8, 0xde]);
    bench.pair.setLine(5, true);
    bench.pair.acknowledge();
    bench.out(master.command, 0x20);
    expect(bench.intr).toBe(true);
    bench.pair.setLine(5, false);
    expect(bench.intr).toBe(false);
  });
});

describe("priorities and dismissal", () => {
  test("a lower input number goes first and interrupts a higher one", () => {
    const bench = new Bench();
    bench.pulse(4);
    bench.pulse(1);
    expect(bench.pair.acknowledge()).toBe(0x21);
    expect(bench.intr).toBe(false);
    bench.pulse(0);
    expect(bench.pair.acknowledge()).toBe(0x20);
  });

  test("a non-specific EOI ends the highest, a specific one the one it names", () => {
    const bench = new Bench();
    bench.pulse(4);
    bench.pair.acknowledge();
    bench.pulse(1);
    bench.pair.acknowledge();
    bench.out(master.command, 0x64);
    expect(bench.inService(master)).toBe(1 << 1);
    bench.out(master.command, 0x20);
    expect(bench.inService(master)).toBe(0);
  });

  test("automatic EOI leaves nothing in service", () => {
    const bench = new Bench(0x03);
    bench.pulse(4);
    bench.pair.acknowledge();
    expect(bench.inService(master)).toBe(0);
  });

  test("rotation: the input served gets the lowest priority", () => {
    const bench = new Bench();
    bench.pulse(3);
    bench.pair.acknowledge();
    bench.out(master.command, 0xa0);
    bench.pulse(3);
    bench.pulse(4);
    expect(bench.pair.acknowledge()).toBe(0x24);
    // Set priority: input 5 lowest, so 6 is highest.
    bench.out(master.command, 0x20);
    bench.out(master.command, 0xc5);
    bench.pulse(6);
    expect(bench.pair.acknowledge()).toBe(0x26);
  });

  test("rotation in automatic EOI mode", () => {
    const bench = new Bench(0x03);
    bench.out(master.command, 0x80);
    bench.pulse(3);
    bench.pair.acknowledge();
    bench.pulse(3);
    bench.pulse(4);
    expect(bench.pair.acknowledge()).toBe(0x24);
  });

  test("special mask mode: a masked input in service holds nobody back", () => {
    const bench = new Bench();
    bench.pulse(1);
    bench.pair.acknowledge();
    bench.pulse(4);
    bench.out(master.data, 0x02);
    expect(bench.intr).toBe(false);
    bench.out(master.command, 0x68);
    expect(bench.intr).toBe(true);
    bench.out(master.command, 0x48);
    expect(bench.intr).toBe(false);
  });

  test("poll: a read acknowledges and names the input", () => {
    const bench = new Bench();
    bench.pulse(4);
    bench.out(master.command, 0x0c);
    expect(bench.in(master.command)).toBe(0x84);
    expect(bench.inService(master)).toBe(1 << 4);
    bench.out(master.command, 0x0c);
    expect(bench.in(master.command)).toBe(0);
  });
});

test("initialization forgets masks, requests and service", () => {
  const bench = new Bench();
  bench.pulse(1);
  bench.pair.acknowledge();
  bench.pulse(4);
  bench.out(master.data, 0xff);
  bench.out(master.command, 0x11);
  expect([bench.in(master.data), bench.requests(master), bench.inService(master)]).toEqual([
    0, 0, 0,
  ]);
  expect(bench.intr).toBe(false);
});

test("a single chip without ICW4 needs two words", () => {
  const bench = new Bench();
  bench.out(master.command, 0x12);
  bench.out(master.data, 0x40);
  bench.out(master.data, 0xaa);
  expect(bench.in(master.data)).toBe(0xaa);
  bench.pulse(0);
  expect(bench.pair.acknowledge()).toBe(0x40);
});
