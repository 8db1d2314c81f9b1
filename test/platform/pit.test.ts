import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Pit, pitFrequencyHz } from "../../src/platform/pit.ts";

const ports = { counter0: 0x40, counter2: 0x42, control: 0x43, gate: 0x61 };

/** With a clock that ticks as the 8254 does, unless a frequency is given: clock values are then its ticks. */
class Bench {
  now = 0;
  irq = false;
  edges = 0;
  readonly pit: Pit;

  constructor(frequencyHz = pitFrequencyHz) {
    this.pit = new Pit({ frequencyHz, now: () => this.now }, (high) => {
      this.edges += high && !this.irq ? 1 : 0;
      this.irq = high;
    });
    this.pit.reset();
  }

  out(port: number, ...values: number[]): void {
    for (const value of values) {
      this.pit.writePort(port, 1, value);
    }
  }
  in(port: number): number {
    return this.pit.readPort(port);
  }
  /** Programs a counter, low byte then high byte. */
  load(counter: 0 | 2, mode: number, count: number): void {
    this.out(ports.control, (counter << 6) | 0x30 | (mode << 1));
    this.out(ports.counter0 + counter, count & 0xff, count >> 8);
  }
  count(counter: 0 | 2): number {
    this.out(ports.control, counter << 6);
    return this.in(ports.counter0 + counter) | (this.in(ports.counter0 + counter) << 8);
  }
  at(now: number): this {
    this.now = now;
    this.pit.poll(now);
    return this;
  }
}

describe("counter 0 drives the timer interrupt", () => {
  test("mode 0: low until the count is used up, then one edge", () => {
    const bench = new Bench();
    bench.load(0, 0, 1000);
    expect(bench.pit.deadline()).toBe(1000);
    expect(bench.at(999).irq).toBe(false);
    expect(bench.at(1000).irq).toBe(true);
    expect(bench.edges).toBe(1);
    expect(bench.pit.deadline()).toBeUndefined();
    expect(bench.at(99_999).edges).toBe(1);
  });

  test("mode 2: an edge every period, low for its last tick", () => {
    const bench = new Bench();
    bench.load(0, 2, 100);
    const before = bench.edges;
    expect(bench.pit.deadline()).toBe(100);
    expect(bench.at(98).irq).toBe(true);
    expect(bench.at(99).irq).toBe(false);
    expect(bench.at(100).irq).toBe(true);
    expect(bench.edges - before).toBe(1);
    expect(bench.pit.deadline()).toBe(200);
  });

  test("mode 3: a square wave, the longer half high", () => {
    const bench = new Bench();
    bench.load(0, 3, 5);
    const levels = Array.from({ length: 10 }, (_, n) => (bench.at(n).irq ? 1 : 0));
    expect(levels).toEqual([1, 1, 1, 0, 0, 1, 1, 1, 0, 0]);
  });

  test("mode 4: low for one tick at the end", () => {
    const bench = new Bench();
    bench.load(0, 4, 10);
    expect(bench.pit.deadline()).toBe(11);
    expect(bench.at(9).irq).toBe(true);
    expect(bench.at(10).irq).toBe(false);
    expect(bench.at(11).irq).toBe(true);
    expect(bench.pit.deadline()).toBeUndefined();
  });

  test("edges that nobody looked at in time merge into one, and the rhythm is kept", () => {
    const bench = new Bench();
    bench.load(0, 2, 100);
    const before = bench.edges;
    bench.at(1050);
    expect(bench.edges - before).toBe(1);
    expect(bench.pit.deadline()).toBe(1100);
  });

  test("a count of zero is 65536; as firmware leaves it, 18.2 Hz", () => {
    const bench = new Bench();
    bench.pit.initializeAsFirmware();
    expect(bench.pit.deadline()).toBe(65_536);
  });

  test("a new mode stops it until a count is written", () => {
    const bench = new Bench();
    bench.load(0, 2, 100);
    bench.out(ports.control, 0x30);
    expect(bench.pit.deadline()).toBeUndefined();
    expect(bench.irq).toBe(false);
  });

  test("property: the deadline is the first clock value at which the edge comes, at any clock rate", () => {
    const setting = fc.record({
      frequency: fc.integer({ min: 10_000_000, max: 4_000_000_000 }),
      count: fc.integer({ min: 2, max: 65_535 }),
      start: fc.integer({ min: 0, max: 2 ** 50 }),
    });
    fc.assert(
      fc.property(setting, ({ frequency, count, start }) => {
        const bench = new Bench(frequency);
        bench.at(start).load(0, 2, count);
        const before = bench.edges;
        const deadline = bench.pit.deadline() ?? 0;
        bench.at(deadline - 1);
        expect(bench.edges).toBe(before);
        bench.at(deadline);
        expect(bench.edges).toBe(before + 1);
      }),
    );
  });
});

describe("reading", () => {
  test("the count goes down; latching holds it while it goes on", () => {
    const bench = new Bench();
    bench.load(0, 2, 1000);
    bench.now = 300;
    bench.out(ports.control, 0x00);
    bench.now = 400;
    expect(bench.in(ports.counter0) | (bench.in(ports.counter0) << 8)).toBe(700);
    expect(bench.count(0)).toBe(600);
  });

  test("mode 0 goes on below zero", () => {
    const bench = new Bench();
    bench.load(0, 0, 100);
    bench.now = 101;
    expect(bench.count(0)).toBe(0xffff);
  });

  test("mode 3 counts down by two, twice per period", () => {
    const bench = new Bench();
    bench.load(0, 3, 1000);
    const counts = [0, 100, 499, 500, 600, 1000].map((now) => {
      bench.now = now;
      return bench.count(0);
    });
    expect(counts).toEqual([1000, 800, 2, 1000, 800, 1000]);
  });

  test("low-only and high-only access", () => {
    const bench = new Bench();
    bench.out(ports.control, 0x14);
    bench.out(ports.counter0, 0x80);
    expect(bench.in(ports.counter0)).toBe(0x80);
    bench.out(ports.control, 0x24);
    bench.out(ports.counter0, 0x12);
    bench.now = 1;
    expect(bench.in(ports.counter0)).toBe(0x11);
    expect(bench.in(ports.counter0)).toBe(0x11);
  });

  test("read-back gives status, then count; the null count flag goes when a count is written", () => {
    const bench = new Bench();
    bench.out(ports.control, 0x34);
    bench.out(ports.control, 0xe2);
    expect(bench.in(ports.counter0)).toBe(0x80 | 0x40 | 0x34);
    bench.out(ports.counter0, 0xe8, 0x03);
    bench.now = 10;
    bench.out(ports.control, 0xc2);
    expect(bench.in(ports.counter0)).toBe(0x80 | 0x34);
    expect(bench.in(ports.counter0) | (bench.in(ports.counter0) << 8)).toBe(990);
  });

  test("BCD", () => {
    const bench = new Bench();
    bench.out(ports.control, 0x35);
    bench.out(ports.counter0, 0x00, 0x10);
    bench.now = 1;
    bench.out(ports.control, 0x00);
    expect(bench.in(ports.counter0) | (bench.in(ports.counter0) << 8)).toBe(0x0999);
  });
});

describe("counter 2 and port 61H", () => {
  const output2 = 0x20;

  test("measures an interval: gate on, mode 0, wait for the output", () => {
    const bench = new Bench();
    bench.out(ports.gate, 0x01);
    bench.load(2, 0, 5000);
    bench.now = 4999;
    expect(bench.in(ports.gate) & output2).toBe(0);
    bench.now = 5000;
    expect(bench.in(ports.gate) & output2).toBe(output2);
  });

  test("a closed gate holds the count", () => {
    const bench = new Bench();
    bench.out(ports.gate, 0x00);
    bench.load(2, 0, 5000);
    bench.now = 9000;
    expect(bench.in(ports.gate) & output2).toBe(0);
    bench.out(ports.gate, 0x01);
    bench.now = 11_000;
    bench.out(ports.gate, 0x00);
    bench.now = 20_000;
    bench.out(ports.gate, 0x01);
    bench.now = 22_999;
    expect(bench.in(ports.gate) & output2).toBe(0);
    bench.now = 23_000;
    expect(bench.in(ports.gate) & output2).toBe(output2);
  });

  test("mode 1 starts at the gate's rising edge", () => {
    const bench = new Bench();
    bench.load(2, 1, 100);
    expect(bench.in(ports.gate) & output2).toBe(output2);
    bench.now = 50;
    bench.out(ports.gate, 0x01);
    expect(bench.in(ports.gate) & output2).toBe(0);
    bench.now = 150;
    expect(bench.in(ports.gate) & output2).toBe(output2);
  });

  test("mode 3: the gate starts the period anew, closed it holds the output high", () => {
    const bench = new Bench();
    bench.out(ports.gate, 0x01);
    bench.load(2, 3, 100);
    bench.now = 60;
    expect(bench.in(ports.gate) & output2).toBe(0);
    bench.out(ports.gate, 0x00);
    expect(bench.in(ports.gate) & output2).toBe(output2);
    bench.now = 1000;
    bench.out(ports.gate, 0x01);
    bench.now = 1049;
    expect(bench.in(ports.gate) & output2).toBe(output2);
    bench.now = 1050;
    expect(bench.in(ports.gate) & output2).toBe(0);
  });

  test("gate and speaker bits read back, the refresh bit changes with time", () => {
    const bench = new Bench();
    bench.out(ports.gate, 0xff);
    expect(bench.in(ports.gate) & 0x0f).toBe(0x03);
    const seen = new Set(
      [0, 18, 36].map((now) => {
        bench.now = now;
        return bench.in(ports.gate) & 0x10;
      }),
    );
    expect(seen.size).toBe(2);
  });
});
