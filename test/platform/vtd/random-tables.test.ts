import fc from "fast-check";
import { expect, test } from "vitest";
import { GlobalBit, VtdRegister } from "../../../src/platform/vtd/registers.ts";
import { referenceTranslation, type Translation } from "./reference-translation.ts";
import { place, ramBytes, VtdBench } from "./vtd-bench.ts";

/** Pages that tables are made of; any may stand at any level, so that entries lead anywhere, back up too. */
const tablePages = 6;
const tableAt = (page: number): bigint => BigInt(place.tables + page * 4096);
/** Few indices are used, so that walks get far. */
const indices = [0, 1, 511];
const requesters = [0x0000, 0x0008, 0x01ff];

/** What entries point at: mostly tables, some pages, some nowhere. */
const target = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: tablePages - 1 }).map(tableAt) },
  { weight: 2, arbitrary: fc.constantFrom(0n, 0x4000_0000n, 0x20_0000n, BigInt(place.data)) },
  { weight: 1, arbitrary: fc.constantFrom(BigInt(ramBytes), 1n << 40n, 1n << 46n, 1n << 51n) },
);
const rarely = <T>(value: fc.Arbitrary<T>, otherwise: T): fc.Arbitrary<T> =>
  fc.oneof({ weight: 1, arbitrary: value }, { weight: 12, arbitrary: fc.constant(otherwise) });
const oneBit = (low: number, high: number): fc.Arbitrary<bigint> =>
  fc.integer({ min: low, max: high }).map((bit) => 1n << BigInt(bit));

const pageEntry = fc
  .tuple(
    target,
    fc.constantFrom(3n, 3n, 3n, 3n, 3n, 1n, 2n, 0n),
    fc.constantFrom(0n, 0n, 0n, 0x80n),
    rarely(oneBit(2, 63), 0n),
  )
  .map((parts) => parts.reduce((entry, part) => entry | part, 0n));
const contextEntry = fc
  .tuple(
    target,
    rarely(fc.constantFrom(0n, 2n), 1n),
    fc.constantFrom(0n, 0n, 0n, 2n, 3n),
    rarely(oneBit(4, 63), 0n),
  )
  .map(([table, present, type, extra]) => table | present | (type << 2n) | extra);
const contextUpper = fc
  .tuple(fc.constantFrom(1n, 2n, 3n, 3n, 0n, 7n), fc.nat(0xffff), rarely(oneBit(3, 63), 0n))
  .map(([width, domain, extra]) => width | (BigInt(domain) << 8n) | extra);
const rootEntry = fc
  .tuple(
    rarely(fc.constantFrom(BigInt(ramBytes), 1n << 46n), BigInt(place.context)),
    rarely(oneBit(0, 11), 1n),
  )
  .map(([table, flags]) => table | flags);

const address = fc
  .tuple(
    fc.array(fc.constantFrom(...indices), { minLength: 5, maxLength: 5 }),
    fc.nat(4095),
    rarely(oneBit(57, 63), 0n),
    fc.integer({ min: 1, max: 5 }),
  )
  .map(([parts, offset, extra, levels]) => {
    const page = parts.slice(0, levels).reduce((sum, index) => sum * 512n + BigInt(index), 0n);
    return page * 4096n + BigInt(offset) + extra;
  });

const scenario = fc.record({
  roots: fc.tuple(rootEntry, rootEntry),
  rootUpper: rarely(oneBit(0, 63), 0n),
  contexts: fc.array(fc.tuple(contextEntry, contextUpper), { minLength: 3, maxLength: 3 }),
  entries: fc.array(pageEntry, {
    minLength: tablePages * indices.length,
    maxLength: tablePages * indices.length,
  }),
  requests: fc.array(fc.tuple(fc.constantFrom(...requesters), address, fc.boolean()), {
    minLength: 1,
    maxLength: 12,
  }),
});

test("random tables translate as the plain description of them says", () => {
  let translated = 0;
  const reasons = new Set<number>();
  fc.assert(
    fc.property(scenario, ({ requests, ...tables }) => {
      const bench = new VtdBench({ faultRegisters: 16 });
      fill(bench, tables);
      bench.enableTranslation();
      const machine = {
        load: (at: bigint) => (at + 8n <= ramBytes ? bench.load(Number(at)) : undefined),
        rootTable: BigInt(place.root),
        hostAddressBits: 46n,
      };
      for (const [requester, iova, isWrite] of requests) {
        // Twice: by the tables, then by what is cached of them.
        for (let time = 0; time < 2; time++) {
          const expected = referenceTranslation(machine, requester, iova, isWrite);
          expect(outcome(bench, requester, iova, isWrite)).toEqual(
            "reason" in expected ? visible(bench, requester, expected) : expected,
          );
          if ("reason" in expected) reasons.add(expected.reason);
          else translated++;
        }
        bench.command(GlobalBit.RootTable);
        bench.writeWide(VtdRegister.ContextCommand, 0xa000_0000_0000_0000n);
        bench.writeWide(VtdRegister.IotlbInvalidate, 0x9000_0000_0000_0000n);
      }
    }),
    { numRuns: 1500 },
  );
  // The scenarios reach what they are meant to reach.
  expect(translated).toBeGreaterThan(500);
  expect([...reasons].sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]);
});

interface Tables {
  readonly roots: readonly bigint[];
  readonly rootUpper: bigint;
  readonly contexts: readonly (readonly [low: bigint, high: bigint])[];
  readonly entries: readonly bigint[];
}

function fill(bench: VtdBench, { roots, rootUpper, contexts, entries }: Tables): void {
  for (const [bus, entry] of roots.entries()) bench.store(place.root + bus * 16, entry);
  bench.store(place.root + 24, rootUpper);
  for (const [n, [low, high]] of contexts.entries()) {
    const at = place.context + ((requesters[n] ?? 0) & 0xff) * 16;
    bench.store(at, low);
    bench.store(at + 8, high);
  }
  for (const [n, entry] of entries.entries()) {
    const index = indices[n % indices.length] ?? 0;
    bench.store(Number(tableAt(Math.floor(n / indices.length))) + index * 8, entry);
  }
}

/** A fault of a function whose context entry keeps it quiet is not seen. */
function visible(bench: VtdBench, requester: number, expected: Translation): Translation {
  const quietable = [2, 3, 4, 5, 6, 7, 11, 12];
  const entry = bench.load(place.context + (requester & 0xff) * 16);
  const isQuiet =
    "reason" in expected && quietable.includes(expected.reason) && (entry & 2n) !== 0n;
  return isQuiet ? { reason: 0 } : expected;
}

/** What the unit does with a request, by the address that memory is asked for. */
function outcome(bench: VtdBench, requester: number, iova: bigint, isWrite: boolean): Translation {
  const frame = bench.unit.translate(requester, iova, isWrite);
  if (frame !== undefined) return { address: frame };
  const faults = bench.takeFaults();
  expect(faults.length).toBeLessThanOrEqual(1);
  const [fault] = faults;
  if (fault !== undefined) {
    expect(fault).toMatchObject({ requester, isRead: !isWrite });
    expect(fault.information).toBe(iova & ~0xfffn);
  }
  return { reason: fault?.reason ?? 0 };
}
