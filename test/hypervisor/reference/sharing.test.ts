import { describe, expect, it } from "vitest";
import { EventKind } from "../../../src/hypervisor/run-record.ts";
import { settled } from "../../../src/hypervisor/settled-events.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";
import { jobOf, scenarioOf } from "./jobs.ts";

const hog = { type: "hog", unit: 100_000 } as const;

describe("two hogs to each LP", () => {
  it("get half of it each", async () => {
    const scenario = scenarioOf([
      { name: "a", workloads: [hog], affinity: "pinned" },
      { name: "b", workloads: [hog], affinity: "pinned" },
    ]);
    const record = await runSchedulingJob(jobOf(scenario));
    expect(record.ending).toEqual({ type: "completed" });
    const events = settled(record.events);
    const running = new Float64Array(4);
    for (const [n, kind] of events.kind.entries()) {
      const vcpu = events.vcpu[n] ?? 0;
      const time = events.time[n] ?? 0;
      if (kind === EventKind.Dispatch) running[vcpu] = (running[vcpu] ?? 0) - time;
      if (kind === EventKind.Deschedule) running[vcpu] = (running[vcpu] ?? 0) + time;
    }
    const shares = [...running].map((ns) => (ns < 0 ? ns + record.duration : ns) / record.duration);
    for (const share of shares) expect(share).toBeCloseTo(0.5, 1);
  });
});
