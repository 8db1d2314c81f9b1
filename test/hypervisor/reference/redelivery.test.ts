import { expect, it } from "vitest";
import { defaultProfile } from "../../../src/hypervisor/costs/built-in-profiles.ts";
import { EventKind } from "../../../src/hypervisor/run-record.ts";
import {
  defaultFeatures,
  defaultVm,
  millisecond,
  type Scenario,
} from "../../../src/hypervisor/scenario.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";

it.each([true, false])(
  "an interrupt whose delivery runs into absent memory is delivered when the memory is there, posting %s",
  async (posting) => {
    // The first timer interrupt is the first to use the guest's stack.
    const scenario: Scenario = {
      name: "sleeper",
      description: "",
      topology: { sockets: 1, coresPerSocket: 1, threadsPerCore: 1 },
      duration: 10 * millisecond,
      warmup: 0,
      features: { ...defaultFeatures, posting },
      vms: [
        {
          ...defaultVm,
          name: "sleeper",
          workloads: [{ type: "bursts", run: millisecond / 2, sleep: millisecond / 2 }],
        },
      ],
    };
    const { events, ending } = await runSchedulingJob({
      policy: { type: "built-in", name: "round-robin" },
      parameters: {},
      scenario,
      ...{ overcommit: 1, lps: 1, duration: scenario.duration, seed: 1, costs: defaultProfile },
      ...{ check: true, keepRecord: true },
    });
    expect(ending).toEqual({ type: "completed" });
    const bursts = events.kind.filter((kind) => kind === EventKind.Work).length;
    expect(bursts).toBeGreaterThanOrEqual(9);
    expect(bursts).toBeLessThanOrEqual(10);
  },
);
