import { describe, expect, it } from "vitest";
import { Prng } from "../../../src/base/prng.ts";
import { perturbed } from "../../../src/hypervisor/posting/perturb.ts";
import {
  hlt,
  load,
  type Operation,
  OperationKind,
  type Script,
  sti,
} from "../../../src/isa/operations.ts";

/** Runs a script that loads and sleeps in turns, with pauses. Every load answers with its number. */
function run(part: number, rounds: number) {
  const told: bigint[] = [];
  function* original(): Script {
    for (let n = 0; n < rounds; n++) {
      told.push(yield load(BigInt(n)));
      yield sti();
      yield hlt();
    }
  }
  const script = perturbed(original(), new Prng(7), { part, cyclesMax: 50 });
  const operations: Operation[] = [];
  let result = 0n;
  for (;;) {
    const step = script.next(result);
    if (step.done === true) return { told, operations };
    operations.push(step.value);
    // What a pause answers must reach nobody.
    result = step.value.kind === OperationKind.Load ? step.value.address : 99n;
  }
}

describe("pauses", () => {
  it("come about as often as asked for, and change neither operations nor what they answer", () => {
    const { told, operations } = run(0.2, 2000);
    expect(told).toEqual(Array.from({ length: 2000 }, (_, n) => BigInt(n)));
    const kinds = operations
      .map(({ kind }) => kind)
      .filter((kind) => kind !== OperationKind.Compute);
    expect(kinds.length).toBe(6000);
    const pauses = operations.length - kinds.length;
    expect(pauses).toBeGreaterThan(6000 * 0.15);
    expect(pauses).toBeLessThan(6000 * 0.25);
    for (const { kind, cycles } of operations) {
      if (kind !== OperationKind.Compute) continue;
      expect(cycles).toBeGreaterThan(0);
      expect(cycles).toBeLessThanOrEqual(50);
    }
  });
  it("do not come between STI and what follows it", () => {
    const { operations } = run(0.5, 500);
    for (const [n, { kind }] of operations.entries()) {
      if (kind !== OperationKind.SetInterruptFlag) continue;
      expect(operations[n + 1]?.kind).toBe(OperationKind.Halt);
    }
  });
});
