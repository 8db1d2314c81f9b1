import { describe, expect, it } from "vitest";
import { UnitOracle } from "../../../src/machine/stress/unit-oracle.ts";

const firstBlocked = 250;
const status = 0x1000n;
const notPresent = 0x22;

class Bench {
  time = 0;
  readonly found: number[] = [];
  readonly oracle = new UnitOracle(
    {
      now: () => this.time,
      violated: (invariant) => this.found.push(invariant),
      step: () => undefined,
    },
    firstBlocked,
  );
  /** Software submits a wait. */
  wait(data: bigint, address = status): void {
    this.oracle.submitting({ address, data });
  }
  /** The unit does a descriptor, and writes the status of a wait. */
  does(data?: bigint, address = status): void {
    this.oracle.hear("invalidation", { type: data === undefined ? 4 : 5 });
    if (data === undefined) return;
    this.oracle.hear("invalidation-status", { address: Number(address), data: Number(data) });
  }
  faults(index: number, recorded = true, reason = notPresent): void {
    const page = index * 2 ** 36;
    this.oracle.hear("remapping-fault", { requester: 0x20, reason, page, recorded });
  }
  reads(index: number): void {
    this.oracle.faultRead({ requester: 0x20, index, reason: notPresent });
  }
}

describe("30: the status of a wait", () => {
  it("comes once, behind what was submitted before", () => {
    const bench = new Bench();
    bench.oracle.submitting();
    bench.wait(1n);
    bench.does();
    bench.does(1n);
    bench.oracle.waited();
    expect(bench.found).toEqual([]);
    bench.does(1n);
    expect(bench.found).toEqual([30]);
  });
  it("does not overtake an invalidation", () => {
    const bench = new Bench();
    bench.oracle.submitting();
    bench.wait(1n);
    bench.does(1n);
    expect(bench.found).toEqual([30]);
  });
  it("goes where it was to go", () => {
    const bench = new Bench();
    bench.wait(1n);
    bench.does(1n, 0x2000n);
    expect(bench.found).toEqual([30]);
    bench.does(2n);
    expect(bench.found).toEqual([30, 30]);
  });
  it("is not written into memory that somebody else has by now", () => {
    const bench = new Bench();
    bench.wait(1n);
    bench.oracle.waited();
    expect(bench.found).toEqual([30]);
    bench.does(1n);
    expect(bench.found).toEqual([30, 30]);
  });
});

describe("31: the queue", () => {
  it("holds one descriptor less than it has places", () => {
    const bench = new Bench();
    for (let n = 0; n < 255; n++) bench.oracle.submitting();
    expect(bench.found).toEqual([]);
    bench.oracle.submitting();
    expect(bench.found).toEqual([31]);
  });
  it("lets nobody wait for ever", () => {
    const bench = new Bench();
    bench.wait(1n);
    bench.time = 50_000;
    bench.oracle.waiting();
    expect(bench.found).toEqual([]);
    bench.time = 70_000;
    bench.oracle.waiting();
    bench.oracle.waiting();
    expect(bench.found).toEqual([31]);
  });
});

describe("32: what the unit blocks", () => {
  it("is what is meant to be blocked", () => {
    const bench = new Bench();
    bench.faults(firstBlocked + 1);
    expect(bench.found).toEqual([]);
    bench.faults(3);
    bench.faults(firstBlocked, true, 0x26);
    expect(bench.found).toEqual([32, 32]);
  });
});

describe("34: faults", () => {
  it("are read in the order in which they came", () => {
    const bench = new Bench();
    for (const index of [251, 252, 250]) bench.faults(index);
    bench.reads(251);
    bench.reads(252);
    bench.reads(250);
    bench.oracle.faultsRead(false);
    expect(bench.found).toEqual([]);
    bench.faults(251);
    bench.faults(252);
    bench.reads(252);
    expect(bench.found).toEqual([34]);
  });
  it("are read once", () => {
    const bench = new Bench();
    bench.faults(251);
    bench.reads(251);
    bench.reads(251);
    expect(bench.found).toEqual([34]);
  });
  it("do not go missing", () => {
    const bench = new Bench();
    bench.faults(251);
    bench.oracle.faultsRead(false);
    expect(bench.found).toEqual([]);
    bench.time = 100_000;
    bench.oracle.faultsRead(false);
    expect(bench.found).toEqual([34]);
  });
  it("that find no room are told of as an overflow, and nothing else is", () => {
    const bench = new Bench();
    bench.faults(251, false);
    bench.oracle.faultsRead(true);
    bench.oracle.faultsRead(false);
    expect(bench.found).toEqual([]);
    bench.oracle.faultsRead(true);
    bench.faults(251, false);
    bench.oracle.faultsRead(false);
    expect(bench.found).toEqual([34, 34]);
  });
});
