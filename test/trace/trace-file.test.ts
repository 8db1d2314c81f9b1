import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { platformSource } from "../../src/machine/trace-target.ts";
import { UserError } from "../../src/machine/user-error.ts";
import { EventLog } from "../../src/trace/event-log.ts";
import { TraceFile } from "../../src/trace/trace-file.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vmxon-trace-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const stoppedAt = (time: number) => ({ frequencyHz: 1, now: () => time });

describe("a trace file", () => {
  it("holds one JSON object per event, 64-bit values as hexadecimal strings", () => {
    const path = join(folder, "trace");
    const trace = new TraceFile(path);
    trace.sink(2, stoppedAt(17))("vm-exit", {
      reason: 12,
      qualification: 0xffff_ffff_ffff_fff0n,
      name: "HLT",
    });
    trace.sink(platformSource, stoppedAt(18))("irq", { line: 4, high: true });
    trace.finish();
    expect(readFileSync(path, "utf8")).toBe(
      '{"time":17,"lp":2,"event":"vm-exit","reason":12,"qualification":"0xfffffffffffffff0","name":"HLT"}\n' +
        '{"time":18,"event":"irq","line":4,"high":true}\n',
    );
  });

  it("merges the parts of other threads by time and removes them", () => {
    const path = join(folder, "trace");
    const trace = new TraceFile(path);
    const times = [[1, 5, 5, 9], [2, 5, 8, 10], [3]];
    const parts = times.map((list, source) => {
      const part = trace.partFile(source);
      const log = new EventLog(part);
      for (const time of list) log.add(time, source, "e", {});
      log.close();
      return part;
    });
    trace.partFile(3); // never written
    trace.finish();
    const lines = readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ time, lp }) => [time, lp])).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
      [5, 0],
      [5, 0],
      [5, 1],
      [8, 1],
      [9, 0],
      [10, 1],
    ]);
    expect(parts.some((part) => existsSync(part))).toBe(false);
  });

  it("merges parts larger than any buffer", () => {
    const path = join(folder, "trace");
    const trace = new TraceFile(path);
    const count = 3000;
    for (const source of [0, 1]) {
      const log = new EventLog(trace.partFile(source));
      for (let n = 0; n < count; n++)
        log.add(n * 2 + source, source, "event", { text: "ä".repeat(50) });
      log.close();
    }
    trace.finish();
    const times = readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).time);
    expect(times).toEqual([...Array(2 * count).keys()]);
  });

  it("that cannot be written is the user's to mend", () => {
    expect(() => new TraceFile(join(folder, "no", "where"))).toThrow(UserError);
    expect(() => new TraceFile(folder)).toThrow(/cannot write the trace: is a folder/);
  });
});
