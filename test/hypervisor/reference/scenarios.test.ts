import { describe, expect, it } from "vitest";
import { millisecond } from "../../../src/hypervisor/scenario.ts";
import { builtInScenarios } from "../../../src/hypervisor/scenarios/built-in.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";
import { jobOf } from "./jobs.ts";

describe("every built-in scenario", () => {
  for (const scenario of builtInScenarios) {
    it(`${scenario.name} runs to its end, and breaks no rule of VMX`, async () => {
      const duration = Math.min(10 * millisecond, scenario.duration);
      const job = jobOf(scenario, "round-robin", { duration, overcommit: 2 });
      const record = await runSchedulingJob(job);
      expect(record.ending).toEqual({ type: "completed" });
    });
  }
});
