import { describe, expect, it } from "vitest";
import { lpsMax, millisecond } from "../../../src/hypervisor/scenario.ts";
import { builtInScenarios } from "../../../src/hypervisor/scenarios/built-in.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";
import { jobOf, scenarioNamed } from "./jobs.ts";

describe("every built-in scenario", () => {
  for (const scenario of builtInScenarios) {
    it(`${scenario.name} runs to its end, and breaks no rule of VMX`, async () => {
      const duration = Math.min(10 * millisecond, scenario.duration);
      const job = jobOf(scenario, "round-robin", { duration, overcommit: 2 });
      const record = await runSchedulingJob(job);
      expect(record.ending).toEqual({ type: "completed" });
    });
  }

  it("runs on the most LPs there may be, beside which the devices have one of their own", async () => {
    const job = jobOf(scenarioNamed("mixed"), "eevdf", { duration: 2 * millisecond, lps: lpsMax });
    const record = await runSchedulingJob(job);
    expect(record.ending).toEqual({ type: "completed" });
    const allLps = Array.from({ length: lpsMax }, (_, lp) => lp);
    expect([...new Set(record.events.lp)]).toEqual(expect.arrayContaining(allLps));
  });
});
