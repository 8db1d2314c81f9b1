import { beforeEach, describe, expect, it } from "vitest";
import {
  describeViolation,
  InvariantViolated,
  type Violation,
} from "../../../src/vmx/checker/invariants.ts";
import { watchedMax } from "../../../src/vmx/checker/residency-board.ts";
import { VmcsChecker } from "../../../src/vmx/checker/vmcs-checker.ts";
import { vmxOffset } from "../../../src/vmx/vmx-unit.ts";

const vmcs = 0x5000;
const windowBytes = vmxOffset.residency + 0x1000;

/** Two LPs that pass VMCSs to each other, told as the events of their traces. */
class TwoLps {
  readonly checkers: readonly VmcsChecker[];

  constructor(stops = false) {
    const words = new Int32Array(new SharedArrayBuffer(2 * windowBytes));
    const windows = [0, windowBytes];
    const clock = { frequencyHz: 1e9, now: () => 1234 };
    this.checkers = windows.map(
      (_, index) => new VmcsChecker({ words, windows, index, clock, stops }),
    );
  }
  #tell(
    lp: number,
    kind: string,
    detail: Record<string, number | bigint | boolean | string>,
  ): this {
    this.checkers[lp]?.hear(kind, { lp, ...detail });
    return this;
  }
  load(lp: number, pointer = vmcs): this {
    return this.#tell(lp, "vmptrld", { vmcs: pointer });
  }
  clear(lp: number, pointer = vmcs): this {
    return this.#tell(lp, "vmclear", { vmcs: pointer });
  }
  enter(lp: number, launch: boolean, pointer = vmcs): this {
    this.#tell(lp, "vm-entry", { vmcs: pointer, launch, from: 0x1000n, rip: 0x2000n });
    return this.#tell(lp, "vm-exit", { vmcs: pointer, reason: 10 });
  }
  refuse(lp: number, launch: boolean, rule: string): this {
    return this.#tell(lp, "vm-entry-refused", { vmcs, launch, rule });
  }
  off(lp: number): this {
    return this.#tell(lp, "vmxoff", {});
  }
  readWithout(lp: number): this {
    return this.#tell(lp, "no-current-vmcs", { instruction: "VMREAD" });
  }
  get violations(): readonly Violation[] {
    return this.checkers.flatMap((checker) => checker.violations);
  }
  get numbers(): readonly number[] {
    return this.violations.map(({ invariant }) => invariant);
  }
}

let lps: TwoLps;
beforeEach(() => {
  lps = new TwoLps();
});

describe("what is right", () => {
  it("a VMCS that migrates by VMCLEAR and VMPTRLD, over and over", () => {
    lps.clear(0);
    for (const lp of [0, 1, 0, 0, 1]) {
      lps.load(lp).enter(lp, true).enter(lp, false).enter(lp, false).clear(lp);
    }
    expect(lps.off(0).off(1).violations).toEqual([]);
  });

  it("several VMCSs active on an LP, one of them current", () => {
    lps.load(0).load(0, 0x6000).enter(0, true, 0x6000).load(0).enter(0, true);
    lps.load(0, 0x6000).enter(0, false, 0x6000);
    lps.load(1, 0x7000).enter(1, true, 0x7000);
    expect(lps.violations).toEqual([]);
  });
});

describe("invariant 1", () => {
  it("is broken by VMPTRLD on two LPs", () => {
    lps.load(0).load(1);
    expect(lps.numbers).toEqual([1]);
    expect(lps.violations[0]).toMatchObject({
      lp: 1,
      vmcs,
      instruction: "VMPTRLD",
      time: 1234,
      event: 1,
      times: 1,
    });
  });

  it("is broken again by each that then enters; the same is found once and counted", () => {
    lps.load(0).load(1).enter(0, true).enter(0, false).enter(0, false);
    expect(lps.violations.map(({ lp, invariant, times }) => [lp, invariant, times])).toEqual([
      [0, 1, 3],
      [1, 1, 1],
    ]);
  });
});

describe("invariant 2", () => {
  it("is broken by an entry into a VMCS that is not current", () => {
    lps.load(0).load(0, 0x6000).enter(0, true);
    expect(lps.numbers).toEqual([2]);
  });
  it("is broken by an entry without a VMCS", () => {
    expect(lps.refuse(0, true, "PRE-04").numbers).toEqual([2]);
  });
});

describe("invariant 3", () => {
  it("is broken by VMLAUNCH of a launched VMCS that came without VMCLEAR", () => {
    lps.load(0).enter(0, true).load(1).enter(1, true);
    expect(lps.violations.map(({ lp, invariant }) => [lp, invariant])).toContainEqual([1, 3]);
    const [launch] = lps.violations.filter(({ invariant }) => invariant === 3);
    expect(launch).toMatchObject({ instruction: "VMLAUNCH", rip: 0x1000n });
  });
  it("is broken by VMRESUME of a VMCS that was cleared elsewhere", () => {
    lps.load(0).enter(0, true).clear(1);
    expect(lps.numbers).toEqual([7]);
    lps.clear(0).load(0).enter(0, false);
    expect(lps.numbers).toEqual([3, 7]);
  });
  it("is broken by what the processor refuses", () => {
    lps.load(0).refuse(0, true, "PRE-07").refuse(0, false, "PRE-08").refuse(0, false, "PRE-06");
    expect(lps.numbers).toEqual([3, 3]);
  });
});

describe("invariants 4 to 7", () => {
  it("4: VMREAD without a current VMCS", () => {
    expect(lps.readWithout(1).numbers).toEqual([4]);
    expect(lps.violations[0]).toMatchObject({ instruction: "VMREAD", vmcs: -1 });
  });
  it("5 and 6: VMXOFF with an active VMCS that another LP then loads", () => {
    lps.load(0).off(0);
    expect(lps.numbers).toEqual([6]);
    lps.load(1);
    expect(lps.numbers).toEqual([6, 5]);
  });
  it("6 does not hold the same VMCS against VMXOFF twice", () => {
    expect(lps.load(0).off(0).off(0).violations[0]?.times).toBe(1);
  });
  it("7: VMCLEAR on another LP than the one the VMCS is active on", () => {
    expect(lps.load(0).clear(1).numbers).toEqual([7]);
  });
});

describe("a finding", () => {
  it("names invariant, LP, VMCS, instruction and place on one line", () => {
    lps.load(0).load(1);
    const [violation] = lps.violations;
    expect(violation && describeViolation(violation)).toBe(
      "invariant 1 (a VMCS is active on at most one LP): it is active on LP 0 too, where VMCLEAR was not executed; " +
        "LP 1, VMCS 0x5000, VMPTRLD at rip 0x0, cycle 1234, event 1 of LP 1",
    );
  });
  it("stops the machine when asked to", () => {
    const strict = new TwoLps(true).load(0);
    expect(() => strict.load(1)).toThrow(InvariantViolated);
    expect(() => new TwoLps(true).load(0).enter(0, true).clear(0).off(0)).not.toThrow();
  });
  it("of more VMCSs than are watched is left out, not made up", () => {
    for (let n = 0; n < watchedMax + 5; n++) lps.load(0, 0x10_0000 + n * 0x1000);
    expect(lps.violations).toEqual([]);
  });
});
