import { expect, it } from "vitest";
import { defaultProfile } from "../../../src/hypervisor/costs/built-in-profiles.ts";
import { EventKind, noVcpu } from "../../../src/hypervisor/run-record.ts";
import { builtInScenarios } from "../../../src/hypervisor/scenarios/built-in.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";

const hogs = builtInScenarios.find(({ name }) => name === "hogs");

const run = (keepRecord: boolean) => {
  if (hogs === undefined) throw new Error("no hogs");
  return runSchedulingJob({
    ...{
      policy: { type: "built-in", name: "credit" },
      parameters: { slice: 5_000_000 },
      scenario: hogs,
    },
    ...{ overcommit: 2, lps: 1, duration: 100_000_000, seed: 1, costs: defaultProfile },
    ...{ check: false, keepRecord },
  });
};

it("a record that is kept has the policy's gauges and how many vCPUs wait; else nothing is spent on it", async () => {
  const { events, counters, ...kept } = await run(true);
  const samples = (name: string, vcpu: number): number[] =>
    [...events.a].filter(
      (_, n) =>
        events.kind[n] === EventKind.Counter &&
        counters[events.b[n] ?? -1] === name &&
        events.vcpu[n] === vcpu,
    );
  expect(counters).toContain("credit");
  // The credit of a hog that has run is less than before; both are charged in their turns.
  for (const vcpu of [0, 1]) expect(new Set(samples("credit", vcpu)).size).toBeGreaterThan(1);
  // Two hogs on one LP: from the first decision on one of them waits.
  const ready = samples("ready vCPUs", noVcpu);
  expect(Math.max(...ready)).toBeLessThanOrEqual(2);
  expect(ready.at(-1)).toBe(1);

  const plain = await run(false);
  expect(plain.counters).toEqual([]);
  const others = [...events.kind].filter((kind) => kind !== EventKind.Counter);
  expect([...plain.events.kind]).toEqual(others);
  expect(plain.duration).toBe(kept.duration);
});
