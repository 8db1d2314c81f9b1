import { describe, expect, it } from "vitest";
import { noLp, noVcpu, RunRecorder } from "../../src/hypervisor/run-record.ts";
import { observe, stays, VcpuState } from "../../src/machine/scheduling/metrics/timeline.ts";
import { ProtobufWriter } from "../../src/trace/perfetto/protobuf-writer.ts";
import { schedulingTrace } from "../../src/trace/perfetto/scheduling-trace.ts";
import { header, sampleRecord, us } from "../machine/scheduling/sample-record.ts";
import { decodeTrace, type FtraceEvent, type TracePacket } from "./perfetto-schema.ts";

const packets = decodeTrace(schedulingTrace(sampleRecord()));

/** Events in the order of the trace, each with its time. */
const timed = (all: readonly TracePacket[]): readonly number[] =>
  all.flatMap(({ timestamp, ftraceEvents, trackEvent }) => {
    if (ftraceEvents !== undefined) return ftraceEvents.event.map((event) => event.timestamp);
    return trackEvent === undefined ? [] : [timestamp ?? 0];
  });

const ftrace = (all: readonly TracePacket[]): readonly (FtraceEvent & { cpu: number })[] =>
  all.flatMap(({ ftraceEvents }) =>
    (ftraceEvents?.event ?? []).map((event) => ({ ...event, cpu: ftraceEvents?.cpu ?? 0 })),
  );

const slicesOf = (all: readonly TracePacket[], threadName: string): readonly string[] => {
  const track = all.find(
    ({ trackDescriptor }) => trackDescriptor?.thread?.threadName === threadName,
  )?.trackDescriptor?.uuid;
  return all.flatMap(({ timestamp, trackEvent }) => {
    if (trackEvent?.trackUuid !== track || track === undefined) return [];
    const sign = ["", "+", "-", "!"][trackEvent?.type ?? 0];
    return [`${(timestamp ?? 0) / us} ${sign}${trackEvent?.name ?? ""}`];
  });
};

describe("the Perfetto trace of a run", () => {
  it("has VMs as processes and vCPUs as their threads", () => {
    const described = packets.flatMap(({ trackDescriptor }) => trackDescriptor ?? []);
    expect(described.flatMap(({ process }) => process ?? [])).toEqual([
      { pid: 10_000, processName: "left" },
      { pid: 10_001, processName: "right" },
    ]);
    expect(described.flatMap(({ thread }) => thread ?? [])).toEqual([
      { pid: 10_000, tid: 1, threadName: "left/0" },
      { pid: 10_000, tid: 2, threadName: "left/1" },
      { pid: 10_001, tid: 3, threadName: "right/0" },
    ]);
  });

  it("describes every track before its first use, and once", () => {
    const known = new Set<number>();
    for (const { trackDescriptor, trackEvent } of packets) {
      if (trackDescriptor !== undefined) {
        expect(known.has(trackDescriptor.uuid)).toBe(false);
        if (trackDescriptor.parentUuid !== undefined) {
          expect(known.has(trackDescriptor.parentUuid)).toBe(true);
        }
        known.add(trackDescriptor.uuid);
      }
      if (trackEvent !== undefined) expect(known.has(trackEvent.trackUuid)).toBe(true);
    }
  });

  it("is in the order of time", () => {
    const times = timed(packets);
    expect(times.length).toBeGreaterThan(30);
    expect([...times].sort((a, b) => a - b)).toEqual(times);
  });

  it("has on each CPU who ran on that LP, switch by switch", () => {
    const running = new Map<number, { pid: number; since: number }>();
    const ran: unknown[] = [];
    const leave = (cpu: number, to: number): void => {
      const { pid, since } = running.get(cpu) ?? { pid: 0, since: 0 };
      if (pid !== 0) ran.push({ cpu, vcpu: pid - 1, from: since, to });
    };
    for (const { cpu, timestamp, pid, schedSwitch } of ftrace(packets)) {
      if (schedSwitch === undefined) continue;
      expect(schedSwitch.prevPid).toBe(running.get(cpu)?.pid ?? 0);
      expect(pid).toBe(schedSwitch.prevPid);
      leave(cpu, timestamp);
      running.set(cpu, { pid: schedSwitch.nextPid, since: timestamp });
    }
    for (const cpu of running.keys()) leave(cpu, 1000 * us);
    const expected = stays(observe(sampleRecord()))
      .filter(({ state }) => state === VcpuState.Running)
      .map(({ lp, vcpu, from, to }) => ({ cpu: lp, vcpu, from, to }));
    const byTime = (all: unknown[]) => all.map((one) => JSON.stringify(one)).sort();
    expect(byTime(ran)).toEqual(byTime(expected));
  });

  it("says in which state a vCPU was left", () => {
    const switches = ftrace(packets).flatMap(({ schedSwitch }) => schedSwitch ?? []);
    expect(switches.map((s) => `${s.prevComm} ${s.prevState} ${s.nextComm}`)).toEqual([
      "swapper 0 left/0",
      "swapper 0 left/1",
      "left/0 0 right/0",
      "left/1 0 swapper",
      "swapper 0 left/0",
      "right/0 2 left/1",
    ]);
  });

  it("tells of wake-ups", () => {
    const wakes = ftrace(packets).filter(({ schedWaking }) => schedWaking !== undefined);
    expect(
      wakes.map(({ timestamp, cpu, schedWaking }) => [timestamp, cpu, schedWaking?.comm]),
    ).toEqual([
      [0, 0, "left/0"],
      [0, 1, "left/1"],
      [300 * us, 0, "right/0"],
    ]);
  });

  it("nests exits, polls, waits and critical sections", () => {
    expect(slicesOf(packets, "left/1")).toEqual([
      "200 +wait for lock 7",
      "250 !IPI to left/0",
      "597 +PAUSE",
      "600 -",
      "804 -",
      "804 +lock 7",
      "1000 -",
    ]);
    expect(slicesOf(packets, "right/0").slice(1)).toEqual([
      "745 +HLT",
      "750 +halt polling",
      "800 -",
      "800 -",
    ]);
  });

  it("closes every slice on its own track", () => {
    const depth = new Map<number, number>();
    for (const { trackEvent } of packets) {
      if (trackEvent === undefined || trackEvent.type > 2) continue;
      const now = (depth.get(trackEvent.trackUuid) ?? 0) + (trackEvent.type === 1 ? 1 : -1);
      expect(now).toBeGreaterThanOrEqual(0);
      depth.set(trackEvent.trackUuid, now);
    }
    expect([...depth.values()].every((open) => open === 0)).toBe(true);
  });

  it("makes IPIs, posts and handed-over locks flows with an id of their own", () => {
    const events = packets.flatMap(({ trackEvent }) => trackEvent ?? []);
    const starts = events.flatMap(({ name, flowIds = [] }) => flowIds.map((flow) => [flow, name]));
    const ends = events.flatMap(({ name, terminatingFlowIds = [] }) =>
      terminatingFlowIds.map((flow) => [flow, name]),
    );
    const flows = starts.map(([flow, name]) => [name, ends.find(([end]) => end === flow)?.[1]]);
    expect(flows).toEqual([
      ["IPI to left/0", "IPI from left/1"],
      ["post vector 64", "vector 64"],
      ["lock 7 to left/1", "lock 7"],
    ]);
    expect(new Set(starts.map(([flow]) => flow)).size).toBe(3);
  });

  it("has the counters, negative and fractional ones too", () => {
    const r = new RunRecorder(header());
    r.counter(1, noLp, 0, 0, -25_000);
    r.counter(2, 1, 0, 0, 0.5);
    r.counter(3, 1, noVcpu, 0, 7);
    r.counter(4, 0, noVcpu, 0, 2 ** 52);
    const counted = decodeTrace(schedulingTrace(r.finish(9, { type: "completed" })));
    const names = new Map(
      counted.flatMap(({ trackDescriptor: d }) => (d?.counter ? [[d.uuid, d.name]] : [])),
    );
    const values = counted.flatMap(({ trackEvent: e }) =>
      e === undefined || e === null
        ? []
        : [[names.get(e.trackUuid), e.counterValue ?? e.doubleCounterValue]],
    );
    expect(values).toEqual([
      ["left/0 credits", -25_000],
      ["left/0 credits", 0.5],
      ["LP 1 credits", 7],
      ["LP 0 credits", 2 ** 52],
    ]);
  });

  it("keeps slices nested when locks are not released in the reverse order", () => {
    const r = new RunRecorder(header());
    r.lockAcquire(10, 0, 0, 1);
    r.lockAcquire(20, 0, 0, 2);
    r.lockRelease(30, 0, 0, 1);
    r.lockRelease(40, 0, 0, 2);
    r.lockRelease(50, 0, 0, 3);
    const trace = decodeTrace(schedulingTrace(r.finish(60, { type: "completed" })));
    expect(slicesOf(trace, "left/0").map((text) => text.replace(/^0\.0/, ""))).toEqual([
      ...["1 +lock 1", "2 +lock 2", "3 -", "3 -", "3 +lock 2", "4 -"],
    ]);
  });

  it("is the same, byte for byte, for equal records", () => {
    expect(schedulingTrace(sampleRecord())).toEqual(schedulingTrace(sampleRecord()));
  });
});

describe("numbers of Protocol Buffers", () => {
  const hex = (writer: ProtobufWriter): string => Buffer.from(writer.bytes).toString("hex");

  it("are encoded as the format says", () => {
    // The example of the encoding's own documentation: field 1, value 150.
    expect(hex(new ProtobufWriter().integer(1, 150))).toBe("089601");
    expect(hex(new ProtobufWriter().integer(1, -1))).toBe("08ffffffffffffffffff01");
    expect(hex(new ProtobufWriter().string(2, "testing"))).toBe("120774657374696e67");
    expect(hex(new ProtobufWriter().fixed64(3, 2 ** 40 + 5))).toBe("190500000000010000");
    expect(hex(new ProtobufWriter().integer(60, 2 ** 53 - 1))).toBe("e003ffffffffffffff0f");
  });

  it("survive growth", () => {
    const writer = new ProtobufWriter().raw(1, new Uint8Array(5000).fill(7)).double(2, 0.5);
    expect(writer.bytes.slice(-8)).toEqual(new Uint8Array(new Float64Array([0.5]).buffer));
    expect(writer.bytes.subarray(3, 5003).every((byte) => byte === 7)).toBe(true);
  });
});
