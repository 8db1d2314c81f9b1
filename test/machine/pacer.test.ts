import { expect, it } from "vitest";
import { Pacer } from "../../src/machine/drivers/pacer.ts";

const frequency = 1e9;
const millisecond = 1e6;

it("comes to runs of about a millisecond at the speed it sees", () => {
  const pacer = new Pacer(frequency);
  let now = 0;
  let cycles = 0;
  for (let n = 0; n < 50; n++) {
    const budget = pacer.budget(now, undefined);
    cycles = budget / 0.3; // 300 instructions per microsecond
    now += cycles;
    pacer.observe(budget, cycles);
  }
  expect(cycles).toBeGreaterThan(0.9 * millisecond);
  expect(cycles).toBeLessThan(1.1 * millisecond);
});

it("gets slower at once", () => {
  const pacer = new Pacer(frequency);
  pacer.observe(1_000_000, 1e6);
  const before = pacer.budget(0, undefined);
  pacer.observe(before, before * 1000);
  expect(pacer.budget(0, undefined) * 1000).toBeLessThan(1.1 * millisecond);
});

it("does not run past a deadline, but never less than a little", () => {
  const pacer = new Pacer(frequency);
  for (let n = 0; n < 50; n++) pacer.observe(1e6, 1e6);
  expect(pacer.budget(1000, 51_000)).toBeCloseTo(50_000, -3);
  expect(pacer.budget(1000, 500)).toBe(200);
});

it("takes no advice from runs that were interrupted", () => {
  const pacer = new Pacer(frequency);
  const before = pacer.budget(0, undefined);
  pacer.observe(3, 10 * millisecond);
  pacer.observe(1000, 0);
  expect(pacer.budget(0, undefined)).toBe(before);
});
