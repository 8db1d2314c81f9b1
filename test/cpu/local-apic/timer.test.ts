import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TickRate } from "../../../src/base/tick-rate.ts";
import { divisor } from "../../../src/cpu/local-apic/apic-timer.ts";
import { ApicRegister } from "../../../src/cpu/local-apic/registers.ts";
import { ApicHarness } from "./apic-harness.ts";

const vector = 0xee;
const periodic = 1 << 17;
const tscDeadline = 2 << 17;
const masked = 1 << 16;
const divideBy1 = 0xb;

/** Timer in a mode, divider 1, at clock value 1000. */
function timerIn(mode: number, rate = new TickRate(1, 1)): ApicHarness {
  const harness = new ApicHarness({ timerRate: rate }).enable();
  harness.now = 1000;
  harness.write(ApicRegister.DivideConfiguration, divideBy1);
  harness.write(ApicRegister.LvtTimer, vector | mode);
  return harness;
}

/** How often the vector has been requested and taken since the last time (0 or 1). */
function fired(harness: ApicHarness): boolean {
  harness.apic.poll(harness.now);
  if (!harness.apic.interruptPending()) {
    return false;
  }
  expect(harness.apic.acknowledge()).toBe(vector);
  harness.write(ApicRegister.EndOfInterrupt, 0);
  return true;
}

test("divide configuration", () => {
  const codes = [0b0000, 0b0001, 0b0010, 0b0011, 0b1000, 0b1001, 0b1010, 0b1011];
  expect(codes.map(divisor)).toEqual([2, 4, 8, 16, 32, 64, 128, 1]);
});

describe("one-shot", () => {
  test("fires once, when the count is used up and not before", () => {
    const harness = timerIn(0);
    harness.write(ApicRegister.InitialCount, 500);
    expect(harness.apic.deadline()).toBe(1500);
    harness.now = 1499;
    expect(fired(harness)).toBe(false);
    expect(harness.read(ApicRegister.CurrentCount)).toBe(1);
    harness.now = 1500;
    expect(fired(harness)).toBe(true);
    expect(harness.read(ApicRegister.CurrentCount)).toBe(0);
    expect(harness.apic.deadline()).toBeUndefined();
    harness.now = 9000;
    expect(fired(harness)).toBe(false);
  });

  test("a new count starts it again, zero stops it", () => {
    const harness = timerIn(0);
    harness.write(ApicRegister.InitialCount, 500);
    harness.now = 1400;
    harness.write(ApicRegister.InitialCount, 500);
    expect(harness.apic.deadline()).toBe(1900);
    harness.write(ApicRegister.InitialCount, 0);
    expect(harness.apic.deadline()).toBeUndefined();
  });

  test("masked it counts, and wakes nobody; what expired while masked is lost", () => {
    const harness = timerIn(masked);
    harness.write(ApicRegister.InitialCount, 500);
    expect(harness.apic.deadline()).toBeUndefined();
    harness.now = 1200;
    expect(harness.read(ApicRegister.CurrentCount)).toBe(300);
    harness.now = 2000;
    harness.write(ApicRegister.LvtTimer, vector);
    expect(fired(harness)).toBe(false);
  });

  test("a change of the divider leaves the count where it is", () => {
    const harness = timerIn(0);
    harness.write(ApicRegister.InitialCount, 500);
    harness.now = 1100;
    harness.write(ApicRegister.DivideConfiguration, 0);
    expect(harness.read(ApicRegister.CurrentCount)).toBe(400);
    expect(harness.apic.deadline()).toBe(1900);
  });
});

describe("periodic", () => {
  test("fires every period, without drift however late it is looked at", () => {
    const harness = timerIn(periodic);
    harness.write(ApicRegister.InitialCount, 100);
    const seen: number[] = [];
    for (harness.now = 1000; harness.now <= 1500; harness.now += 7) {
      if (fired(harness)) {
        seen.push(harness.now);
      }
    }
    expect(seen.map((now) => Math.floor(now / 100))).toEqual([11, 12, 13, 14]);
    harness.now = 1950;
    expect(fired(harness)).toBe(true);
    expect(fired(harness)).toBe(false);
    expect(harness.apic.deadline()).toBe(2000);
    expect(harness.read(ApicRegister.CurrentCount)).toBe(50);
  });

  test("changing the mode while it counts does not reload the count", () => {
    const harness = timerIn(0);
    harness.write(ApicRegister.InitialCount, 100);
    harness.now = 1060;
    harness.write(ApicRegister.LvtTimer, vector | periodic);
    expect(harness.read(ApicRegister.CurrentCount)).toBe(40);
    harness.now = 1110;
    expect(fired(harness)).toBe(true);
    expect(harness.read(ApicRegister.CurrentCount)).toBe(90);
    harness.write(ApicRegister.LvtTimer, vector);
    harness.now = 1200;
    expect(fired(harness)).toBe(true);
    harness.write(ApicRegister.LvtTimer, vector | periodic);
    expect(harness.read(ApicRegister.CurrentCount)).toBe(0);
    expect(harness.read(ApicRegister.InitialCount)).toBe(100);
    expect(harness.apic.deadline()).toBeUndefined();
  });
});

describe("TSC-deadline", () => {
  test("fires when the TSC reaches the deadline, which then reads zero", () => {
    const harness = timerIn(tscDeadline);
    harness.state.set("tscOffset", 5000n);
    harness.apic.deadlineRegister = 6500n;
    expect(harness.apic.deadlineRegister).toBe(6500n);
    expect(harness.apic.deadline()).toBe(1500);
    harness.now = 1500;
    expect(harness.apic.deadlineRegister).toBe(0n);
    expect(fired(harness)).toBe(true);
  });

  test("a deadline already past fires at once", () => {
    const harness = timerIn(tscDeadline);
    harness.apic.deadlineRegister = 1n;
    expect(harness.apic.interruptPending()).toBe(true);
    expect(harness.apic.deadlineRegister).toBe(0n);
  });

  test("follows a TSC that software moves, also back beyond zero", () => {
    const harness = timerIn(tscDeadline);
    harness.apic.deadlineRegister = 2000n;
    harness.state.set("tscOffset", -500n);
    expect(harness.apic.deadline()).toBe(2500);
  });

  test("zero disarms; a deadline that never comes is no deadline to worry about", () => {
    const harness = timerIn(tscDeadline);
    harness.apic.deadlineRegister = 2000n;
    harness.apic.deadlineRegister = 0n;
    expect(harness.apic.deadline()).toBeUndefined();
    harness.apic.deadlineRegister = 2n ** 64n - 1n;
    expect(harness.apic.deadline()).toBe(Number.MAX_SAFE_INTEGER);
  });

  test("the register is dead in the other modes, and the counter in this one", () => {
    const harness = timerIn(0);
    harness.apic.deadlineRegister = 2000n;
    expect(harness.apic.deadlineRegister).toBe(0n);
    const deadline = timerIn(tscDeadline);
    deadline.write(ApicRegister.InitialCount, 100);
    expect(deadline.read(ApicRegister.InitialCount)).toBe(0);
    expect(deadline.apic.deadline()).toBeUndefined();
  });

  test("leaving or entering the mode disarms the timer", () => {
    const harness = timerIn(tscDeadline);
    harness.apic.deadlineRegister = 2000n;
    harness.write(ApicRegister.LvtTimer, vector);
    expect(harness.apic.deadline()).toBeUndefined();
    harness.write(ApicRegister.InitialCount, 100);
    harness.write(ApicRegister.LvtTimer, vector | tscDeadline);
    expect(harness.apic.deadline()).toBeUndefined();
    expect(harness.apic.deadlineRegister).toBe(0n);
  });
});

test("property: the deadline is the first clock value at which the timer fires, whatever its rate", () => {
  // The timer is never faster than the clock.
  const setting = fc.record({
    cycles: fc.integer({ min: 7, max: 300 }),
    ticks: fc.integer({ min: 1, max: 7 }),
    start: fc.integer({ min: 0, max: 2 ** 50 }),
    count: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    divide: fc.constantFrom(0, 1, 2, 3, 8, 9, 10, 11),
    mode: fc.constantFrom(0, periodic),
  });
  fc.assert(
    fc.property(setting, ({ cycles, ticks, start, count, divide, mode }) => {
      const harness = timerIn(mode, new TickRate(cycles, ticks));
      harness.now = start;
      harness.write(ApicRegister.DivideConfiguration, divide);
      harness.write(ApicRegister.InitialCount, count);
      expect(harness.read(ApicRegister.CurrentCount)).toBe(count);
      const deadline = harness.apic.deadline() ?? 0;
      harness.now = deadline - 1;
      expect(fired(harness)).toBe(false);
      expect(harness.read(ApicRegister.CurrentCount)).toBe(1);
      harness.now = deadline;
      expect(fired(harness)).toBe(true);
      expect(harness.read(ApicRegister.CurrentCount)).toBe(mode === periodic ? count : 0);
    }),
    { numRuns: 200 },
  );
});
