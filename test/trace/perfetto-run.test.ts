import { beforeAll, describe, expect, it } from "vitest";
import { millisecond } from "../../src/hypervisor/scenario.ts";
import { runSchedulingJob } from "../../src/machine/scheduling/run-scheduling-job.ts";
import { schedulingTrace } from "../../src/trace/perfetto/scheduling-trace.ts";
import { jobOf, scenarioNamed } from "../hypervisor/reference/jobs.ts";
import { decodeTrace, type TracePacket } from "./perfetto-schema.ts";

/** Locks that are handed over, IPIs, posts of a device, vCPUs that move: all in one run. */
const workloads = ["spinlock-ticket", "shootdown", "io-posted"];
const lps = 3;

let packets: readonly TracePacket[];
beforeAll(async () => {
  const [scenario] = workloads.map(scenarioNamed);
  if (scenario === undefined) throw new Error("there are no scenarios");
  const vms = workloads.flatMap((name) => scenarioNamed(name).vms);
  const job = jobOf({ ...scenario, vms }, "eevdf", {
    lps,
    duration: 8 * millisecond,
    check: false,
  });
  packets = decodeTrace(schedulingTrace(await runSchedulingJob(job)));
}, 60_000);

/** Times of a packet's events. */
const timesOf = ({ ftraceEvents, trackEvent, timestamp }: TracePacket): readonly number[] => {
  if (ftraceEvents !== undefined) return ftraceEvents.event.map((event) => event.timestamp);
  return trackEvent === undefined ? [] : [timestamp ?? 0];
};

describe("the Perfetto trace of a real run", () => {
  it("is in the order of time", () => {
    const times = packets.flatMap(timesOf);
    expect(times.length).toBeGreaterThan(1000);
    for (const [n, time] of times.entries()) {
      if (n > 0 && time < (times[n - 1] ?? 0)) expect.fail(`${time} after ${times[n - 1]}`);
    }
  });

  it("has slices that nest, and are all closed, on tracks that were described before", () => {
    const depths = new Map<number, number>();
    let deepest = 0;
    for (const { trackDescriptor, trackEvent } of packets) {
      if (trackDescriptor) depths.set(trackDescriptor.uuid, 0);
      if (!trackEvent) continue;
      const { trackUuid, type } = trackEvent;
      const depth = (depths.get(trackUuid) ?? Number.NaN) + ({ 1: 1, 2: -1 }[type] ?? 0);
      // Not a number: the track is not described.
      if (!(depth >= 0)) expect.fail(`track ${trackUuid}: ${depth} slices are open`);
      depths.set(trackUuid, depth);
      deepest = Math.max(deepest, depth);
    }
    expect(deepest).toBeGreaterThan(1);
    expect([...depths.values()].every((depth) => depth === 0)).toBe(true);
  });

  it("has on every CPU switches that follow from each other, and a thread on one CPU at a time", () => {
    const running = new Map<number, number>();
    const switches = packets.flatMap(({ ftraceEvents }) =>
      (ftraceEvents?.event ?? []).flatMap(({ schedSwitch }) =>
        schedSwitch ? [{ cpu: ftraceEvents?.cpu ?? 0, ...schedSwitch }] : [],
      ),
    );
    for (const { cpu, prevPid, nextPid } of switches) {
      if (prevPid !== (running.get(cpu) ?? 0)) expect.fail(`CPU ${cpu} did not run ${prevPid}`);
      running.set(cpu, 0);
      const others = [...running.values()];
      if (nextPid !== 0 && others.includes(nextPid)) expect.fail(`${nextPid} runs twice`);
      running.set(cpu, nextPid);
    }
    expect(switches.length).toBeGreaterThan(100);
    expect([...running.keys()].sort()).toEqual(Array.from({ length: lps }, (_, lp) => lp));
  });

  it("has flows of IPIs, posts and handed-over locks, each from one begin to one later end", () => {
    const ends = new Map<number, number>();
    const begins: { flow: number; name: string; at: number }[] = [];
    for (const { trackEvent, timestamp: at = 0 } of packets) {
      const { name = "", flowIds = [], terminatingFlowIds = [] } = trackEvent ?? {};
      begins.push(...flowIds.map((flow) => ({ flow, name, at })));
      for (const flow of terminatingFlowIds) {
        expect(ends.has(flow)).toBe(false);
        ends.set(flow, at);
      }
    }
    const known = new Map(begins.map((begin) => [begin.flow, begin]));
    expect(known.size).toBe(begins.length);
    const kinds = [...ends].map(([flow, at]) => {
      const begin = known.get(flow);
      expect(begin?.at).toBeLessThanOrEqual(at);
      return /^(IPI|post|lock)/.exec(begin?.name ?? "")?.[1];
    });
    for (const kind of ["IPI", "post", "lock"]) {
      expect(kinds.filter((one) => one === kind).length, kind).toBeGreaterThan(10);
    }
    expect(new Set(kinds).size).toBe(3);
  });
});
