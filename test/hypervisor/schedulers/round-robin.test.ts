import { describe, expect, it } from "vitest";
import { nullPolicy } from "../../../src/hypervisor/schedulers/null.ts";
import { roundRobin } from "../../../src/hypervisor/schedulers/round-robin.ts";
import { Bench, hog, ms, us } from "./bench.ts";

const hogs = (count: number) => Array.from({ length: count }, () => ({ behaviour: hog }));

describe("round robin", () => {
  it("gives everybody in turn the same slice", () => {
    const bench = new Bench(roundRobin, {
      vms: [{ vcpus: hogs(3) }],
      parameters: { slice: 5 * ms },
    });
    for (let round = 1; round <= 20; round++) {
      bench.run(15 * round * ms);
      for (const vcpu of bench.vcpus) expect(vcpu.spent.running).toBe(5 * round * ms);
    }
  });

  it("ends a turn when its vCPU yields", () => {
    const bench = new Bench(roundRobin, {
      vms: [{ vcpus: [{ behaviour: () => ({ run: 10 * us, end: "yield" }) }, ...hogs(1)] }],
    }).run(1001 * ms);
    expect(bench.vcpu(0, 0).share).toBeLessThan(0.01);
  });
});

describe("null", () => {
  it("gives each LP to one vCPU for good", () => {
    const bench = new Bench(nullPolicy, { lps: 2, vms: [{ vcpus: hogs(3) }] }).run(100 * ms);
    expect(bench.vcpus.map(({ share, migrations }) => [share, migrations])).toEqual([
      [1, 0],
      [1, 0],
      [0, 0],
    ]);
  });

  it("obeys affinity", () => {
    const bench = new Bench(nullPolicy, {
      lps: 2,
      vms: [{ vcpus: [{ behaviour: hog, lps: [1] }, { behaviour: hog, lps: [1] }, ...hogs(1)] }],
    }).run(100 * ms);
    expect(bench.vcpus.map(({ share }) => share)).toEqual([1, 0, 1]);
  });
});
