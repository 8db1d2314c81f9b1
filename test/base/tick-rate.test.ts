import fc from "fast-check";
import { expect, test } from "vitest";
import { TickRate } from "../../src/base/tick-rate.ts";

const frequency = fc.integer({ min: 1, max: 5_000_000_000 });

test("property: conversions agree with exact arithmetic", () => {
  fc.assert(
    fc.property(
      frequency,
      fc.integer({ min: 1, max: 1_500_000 }),
      fc.integer({ min: 0, max: 2 ** 52 }),
      (cycles, ticks, cycle) => {
        const rate = new TickRate(cycles, ticks);
        const exact = (BigInt(cycle) * BigInt(ticks)) / BigInt(cycles);
        fc.pre(exact < 2n ** 53n);
        expect(BigInt(rate.tickAt(cycle))).toBe(exact);
      },
    ),
  );
});

test("property: a tick begins at the first cycle that shows it", () => {
  fc.assert(
    fc.property(
      frequency,
      fc.integer({ min: 1, max: 1_500_000 }),
      fc.integer({ min: 1, max: 2 ** 40 }),
      (cycles, ticks, tick) => {
        const rate = new TickRate(cycles, ticks);
        const cycle = rate.cycleAt(tick);
        fc.pre(cycle < 2 ** 52);
        expect(rate.tickAt(cycle)).toBeGreaterThanOrEqual(tick);
        expect(rate.tickAt(cycle - 1)).toBeLessThan(tick);
      },
    ),
  );
});
