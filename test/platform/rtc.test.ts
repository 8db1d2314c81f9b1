import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Rtc } from "../../src/platform/rtc.ts";

const second = 1e9;
/** 2024-02-28 23:59:58 UTC, a Wednesday. */
const epochSeconds = Date.UTC(2024, 1, 28, 23, 59, 58) / 1000;
const registerC = { interrupt: 0x80, periodic: 0x40, alarm: 0x20, updateEnded: 0x10 };

class Bench {
  now = 0;
  irq = false;
  readonly rtc: Rtc;

  constructor(ramBytes = 128 * 1024 ** 2, lpCount = 4) {
    this.rtc = new Rtc({
      clock: { frequencyHz: second, now: () => this.now },
      epochSeconds,
      ramBytes,
      lpCount,
      interrupt: (high) => {
        this.irq = high;
      },
    });
  }

  read(register: number): number {
    this.rtc.writePort(0x70, 1, register);
    return this.rtc.readPort(0x71);
  }
  write(register: number, value: number): void {
    this.rtc.writePort(0x70, 1, register);
    this.rtc.writePort(0x71, 1, value);
  }
  at(now: number): this {
    this.now = now;
    this.rtc.poll(now);
    return this;
  }
  get date(): number[] {
    return [0x32, 9, 8, 7, 6, 4, 2, 0].map((register) => this.read(register));
  }
}

describe("time", () => {
  test("is the epoch plus the clock, in BCD and 24 hours", () => {
    const bench = new Bench();
    expect(bench.date).toEqual([0x20, 0x24, 0x02, 0x28, 4, 0x23, 0x59, 0x58]);
    bench.now = 3 * second;
    expect(bench.date).toEqual([0x20, 0x24, 0x02, 0x29, 5, 0x00, 0x00, 0x01]);
  });

  test("in binary, and in 12 hours", () => {
    const bench = new Bench();
    bench.write(0x0b, 0x06);
    expect(bench.date).toEqual([20, 24, 2, 28, 4, 23, 59, 58]);
    bench.write(0x0b, 0x04);
    expect(bench.read(4)).toBe(0x80 | 11);
    bench.now = 2 * second;
    expect(bench.read(4)).toBe(12);
  });

  test("can be set, held while it is set, and goes on from there", () => {
    const bench = new Bench();
    bench.write(0x0b, 0x82);
    for (const [register, value] of [
      [9, 0x99],
      [0x32, 0x19],
      [8, 0x12],
      [7, 0x31],
      [4, 0x23],
      [2, 0x59],
      [0, 0x59],
    ] as const) {
      bench.write(register, value);
    }
    bench.now = 5 * second;
    expect(bench.date).toEqual([0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59]);
    bench.write(0x0b, 0x02);
    bench.now = 6 * second;
    expect(bench.date).toEqual([0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00]);
  });

  test("property: agrees with the calendar at any moment", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 300_000_000 }), (seconds) => {
        const bench = new Bench();
        bench.write(0x0b, 0x06);
        bench.now = seconds * second;
        const date = new Date((epochSeconds + seconds) * 1000);
        expect(bench.read(0)).toBe(date.getUTCSeconds());
        expect(bench.read(4)).toBe(date.getUTCHours());
        expect(bench.read(7)).toBe(date.getUTCDate());
        expect(bench.read(8)).toBe(date.getUTCMonth() + 1);
        expect(bench.read(0x32) * 100 + bench.read(9)).toBe(date.getUTCFullYear());
      }),
      { numRuns: 50 },
    );
  });

  test("says that an update is near during the last 244 microseconds of a second", () => {
    const bench = new Bench();
    expect(bench.read(0x0a)).toBe(0x26);
    bench.now = second - 200_000;
    expect(bench.read(0x0a) & 0x80).toBe(0x80);
    bench.now = second;
    expect(bench.read(0x0a) & 0x80).toBe(0);
  });
});

describe("interrupts", () => {
  test("none is due while none is enabled", () => {
    expect(new Bench().rtc.deadline()).toBeUndefined();
  });

  test("update ended: every second; reading C dismisses it", () => {
    const bench = new Bench();
    bench.write(0x0b, 0x12);
    expect(bench.rtc.deadline()).toBe(second);
    expect(bench.at(second - 1).irq).toBe(false);
    expect(bench.at(second).irq).toBe(true);
    // The periodic flag is up too: it follows the rate, not its enable.
    expect(bench.read(0x0c)).toBe(registerC.interrupt | registerC.updateEnded | registerC.periodic);
    expect(bench.irq).toBe(false);
    expect(bench.read(0x0c)).toBe(0);
    expect(bench.rtc.deadline()).toBe(2 * second);
  });

  test("setting the time turns the update interrupt off", () => {
    const bench = new Bench();
    bench.write(0x0b, 0x12);
    bench.write(0x0b, 0x92);
    expect(bench.read(0x0b)).toBe(0x82);
  });

  test("flags are set without interrupts too", () => {
    const bench = new Bench();
    bench.at(second);
    expect(bench.irq).toBe(false);
    expect(bench.read(0x0c) & registerC.updateEnded).toBe(registerC.updateEnded);
  });

  test("periodic: at the rate that register A selects", () => {
    const bench = new Bench();
    bench.write(0x0b, 0x42);
    // Rate 6 is 1024 Hz.
    expect(bench.rtc.deadline()).toBe(976_563);
    expect(bench.at(976_563).irq).toBe(true);
    bench.read(0x0c);
    bench.write(0x0a, 0x2f);
    expect(bench.rtc.deadline()).toBe(second / 2);
    bench.write(0x0a, 0x20);
    expect(bench.rtc.deadline()).toBeUndefined();
  });

  test("alarm: when hour, minute and second match, or do not care", () => {
    const bench = new Bench();
    for (const [register, value] of [
      [1, 0x01],
      [3, 0x00],
      [5, 0xff],
    ] as const) {
      bench.write(register, value);
    }
    bench.write(0x0b, 0x22);
    expect(bench.at(2 * second).irq).toBe(false);
    expect(bench.at(3 * second).irq).toBe(true);
    expect(bench.read(0x0c) & registerC.alarm).toBe(registerC.alarm);
    expect(bench.at(60 * second).irq).toBe(false);
    expect(bench.at(100_000 * second).irq).toBe(true);
  });
});

describe("memory", () => {
  test("tells the machine's size", () => {
    const bench = new Bench(128 * 1024 ** 2, 4);
    const word = (register: number): number =>
      bench.read(register) | (bench.read(register + 1) << 8);
    expect(word(0x15)).toBe(640);
    expect(word(0x17)).toBe(0xffff);
    expect(word(0x30)).toBe(0xffff);
    expect(word(0x34)).toBe((128 - 16) * 16);
    expect([0x5b, 0x5c, 0x5d].map((register) => bench.read(register))).toEqual([0, 0, 0]);
    expect(bench.read(0x5f)).toBe(3);
    const small = new Bench(2 * 1024 ** 2);
    expect(small.read(0x17) | (small.read(0x18) << 8)).toBe(1024);
    expect(small.read(0x34)).toBe(0);
  });

  test("keeps what software writes, also through a reset; D says that the battery is good", () => {
    const bench = new Bench();
    bench.write(0x0f, 0x0a);
    bench.rtc.reset();
    expect(bench.read(0x0f)).toBe(0x0a);
    bench.write(0x0d, 0);
    expect(bench.read(0x0d)).toBe(0x80);
  });

  test("bit 7 of the index is not part of it", () => {
    const bench = new Bench();
    expect(bench.read(0x80 | 0x5f)).toBe(3);
  });
});
