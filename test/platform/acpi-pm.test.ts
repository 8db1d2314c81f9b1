import { describe, expect, test } from "vitest";
import { AcpiPm, pmTimerFrequencyHz } from "../../src/platform/acpi-pm.ts";
import type { ExitRequest } from "../../src/platform/exit-request.ts";

class Bench {
  now = 0;
  sci = false;
  readonly exits: ExitRequest[] = [];
  readonly pm: AcpiPm;

  /** A clock as fast as the timer unless told otherwise. */
  constructor(frequencyHz = pmTimerFrequencyHz) {
    this.pm = new AcpiPm(
      { frequencyHz, now: () => this.now },
      (high) => {
        this.sci = high;
      },
      (request) => this.exits.push(request),
    );
  }
}

describe("the PM timer", () => {
  test("runs at 3.579545 MHz, 32 bits", () => {
    const bench = new Bench(1e9);
    bench.now = 1e9;
    expect(bench.pm.readPort(0x608, 4)).toBe(3_579_545);
    const wrapped = new Bench();
    wrapped.now = 2 ** 32 + 5;
    expect(wrapped.pm.readPort(0x608, 4)).toBe(5);
    expect(wrapped.pm.readPort(0x609, 1) & 0xff).toBe(0);
  });

  test("sets its status when the top bit changes, and interrupts when enabled", () => {
    const bench = new Bench();
    expect(bench.pm.deadline()).toBeUndefined();
    bench.pm.writePort(0x602, 2, 1);
    expect(bench.pm.deadline()).toBe(2 ** 31);
    bench.pm.poll(2 ** 31 - 1);
    expect(bench.sci).toBe(false);
    bench.now = 2 ** 31;
    bench.pm.poll(bench.now);
    expect(bench.sci).toBe(true);
    expect(bench.pm.readPort(0x600, 2)).toBe(1);
    bench.pm.writePort(0x600, 2, 1);
    expect(bench.sci).toBe(false);
    expect(bench.pm.deadline()).toBe(2 ** 32);
  });
});

describe("the control register", () => {
  test("always says that ACPI mode is on", () => {
    expect(new Bench().pm.readPort(0x604, 2)).toBe(1);
  });

  test("sleep enable with the soft-off type ends the run", () => {
    const bench = new Bench();
    bench.pm.writePort(0x604, 2, 0x2000);
    expect(bench.exits).toEqual([{ type: "power-off" }]);
  });

  test("so does the older chipset's port; a byte write of the high half does too", () => {
    const bench = new Bench();
    bench.pm.writePort(0xb004, 2, 0x2000);
    bench.pm.writePort(0x605, 1, 0x20);
    expect(bench.exits).toHaveLength(2);
  });

  test("the sleep type alone, or another type, does nothing", () => {
    const bench = new Bench();
    bench.pm.writePort(0x604, 2, 0x0400);
    bench.pm.writePort(0x604, 2, 0x2400);
    expect(bench.exits).toEqual([]);
    expect(bench.pm.readPort(0x604, 2)).toBe(0x0401);
  });
});
