import { expect, it } from "vitest";
import { isRoundTrip, mips, rate, readPhases } from "../../bench/phases.ts";

const at = (time: number, text: string, used = time / 2) => ({ at: time, text, used });

it("reads phases, their times and the processors that took part", () => {
  const phases = readPhases([
    at(0, "BEGIN alu"),
    at(2000, "END alu iters=100000000 tsc=0x36639c0d extra=0x0000000000beb2f8"),
    at(2100, "CPUS 0x0000000000000004"),
    at(3000, "BEGIN smp-alu"),
    at(5000, "END smp-alu iters=100000000 tsc=0x1 extra=0x10"),
    at(5000, "BEGIN vmcall"),
    at(7500, "END vmcall iters=1000000 tsc=0x1 extra=0x0"),
    at(7600, "BEGIN cut off"),
  ]);
  expect(phases.map(({ name, seconds, cpus }) => [name, seconds, cpus])).toEqual([
    ["alu", 2, 1],
    ["smp-alu", 2, 4],
    ["vmcall", 2.5, 1],
  ]);
  const [alu, smp, vmcall] = phases;
  if (alu === undefined || smp === undefined || vmcall === undefined)
    throw new Error("three phases");
  expect(mips(alu, "wall")).toBeCloseTo((900_000_000 + 0xbeb2f8) / 2 / 1e6);
  expect(mips(alu, "cpu")).toBeCloseTo((900_000_000 + 0xbeb2f8) / 1 / 1e6);
  expect(mips(smp, "wall")).toBeCloseTo((4 * (900_000_000 + 16)) / 2 / 1e6);
  // A second of processor time among four processors.
  expect(mips(smp, "cpu")).toBeCloseTo((4 * (900_000_000 + 16)) / 0.25 / 1e6);
  expect(mips(vmcall, "wall")).toBeUndefined();
  expect(rate(vmcall, "wall")).toBe(400);
  expect(isRoundTrip("vmcall")).toBe(true);
});

it("does not take the end of one phase for that of another", () => {
  expect(readPhases([at(0, "BEGIN a"), at(1, "END b iters=1 tsc=0x0 extra=0x0")])).toEqual([]);
});
