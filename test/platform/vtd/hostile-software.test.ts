import fc from "fast-check";
import { expect, test } from "vitest";
import { FaultReason } from "../../../src/platform/vtd/fault-reasons.ts";
import { GlobalBit, VtdRegister } from "../../../src/platform/vtd/registers.ts";
import { function4, place, ramBytes, VtdBench } from "./vtd-bench.ts";

/** Addresses where tables, queue and descriptors are looked for, and some that are nowhere. */
const somewhere = fc.oneof(
  fc.constantFrom(...Object.values(place)),
  fc.constantFrom(0, ramBytes - 4096, ramBytes, 0xfed9_0000, 0xfee0_0000, 0xffff_f000),
);
const word = fc.oneof(
  fc.nat(0xffff_ffff),
  fc.constantFrom(0, 1, 3, 0xffff_ffff),
  fc.tuple(somewhere, fc.nat(0xfff)).map(([at, low]) => at + low),
);
const register = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...Object.values(VtdRegister)) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0x3ff }).map((n) => n * 4) },
);
const requester = fc.constantFrom(0, function4, 0xffff);
const address = fc.oneof(fc.nat(0xffff_ffff), fc.bigInt(0n, 2n ** 64n - 1n), somewhere);

type Step = (bench: VtdBench) => void;
const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(register, word).map(
    ([offset, value]): Step =>
      (b) =>
        b.write(offset & ~3, value),
  ),
  fc.tuple(register, word).map(
    ([offset, value]): Step =>
      (b) =>
        b.write((offset & ~3) + 4, value),
  ),
  fc.constantFrom(...Object.values(GlobalBit)).chain((bit) =>
    fc.boolean().map(
      (set): Step =>
        (b) =>
          b.command(bit, set),
    ),
  ),
  fc.tuple(somewhere, fc.nat(0x1ff), word, word).map(
    ([at, n, low, high]): Step =>
      (b) => {
        const target = (at % ramBytes) + n * 8;
        b.view.setUint32(target, low, true);
        b.view.setUint32(target + 4, high, true);
      },
  ),
  fc.tuple(fc.integer({ min: 0, max: 9 }), word, word, word).map(
    ([type, ...rest]): Step =>
      (b) => {
        const [low, high, upper] = rest.map(BigInt);
        b.submit([BigInt(type) | ((low ?? 0n) << 4n), (high ?? 0n) | ((upper ?? 0n) << 32n)]);
      },
  ),
  fc.tuple(requester, address, fc.nat(9000), fc.boolean()).map(
    ([id, at, length, isWrite]): Step =>
      (b) => {
        const bytes = new Uint8Array(length);
        const port = b.unit.port(id);
        if (isWrite) port.write(at, bytes);
        else port.read(at, bytes);
      },
  ),
  fc.tuple(requester, fc.nat(0xf_ffff), word).map(
    ([id, low, data]): Step =>
      (b) =>
        b.unit.port(id).message(0xfee0_0000 + low, data),
  ),
  fc.tuple(word, word).map(
    ([low, high]): Step =>
      (b) =>
        void b.unit.ioapicMessage(function4, low, high),
  ),
);

test("whatever software writes and devices ask, the unit answers, and works as ever after a reset", () => {
  fc.assert(
    fc.property(fc.array(steps, { minLength: 1, maxLength: 60 }), (all) => {
      const bench = new VtdBench();
      for (const step of all) step(bench);
      bench.unit.reset();
      bench.memory.fill(0);
      bench.sent.length = 0;
      const table = bench.newTable();
      bench.setContext(function4, { table });
      bench.map(table, 3, 5n, BigInt(place.data) | 3n);
      bench.enableTranslation();
      expect(bench.dmaWrite(0x5000, 0x77)).toBe(true);
      expect(bench.memory[place.data]).toBe(0x77);
      expect(bench.dmaRead(0x6000)).toBeUndefined();
      expect(bench.takeReason()).toBe(FaultReason.ReadNotPermitted);
    }),
    { numRuns: 150 },
  );
});
