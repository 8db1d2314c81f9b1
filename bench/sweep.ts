/**
 * What a second processor brings to a sweep: `vmxon sched bench` with six seeds and otherwise as it is by default, held to one
 * processor and to two. One thread that may use two would not do for a comparison, since the engine compiles and collects garbage
 * beside it.
 */
import { readFileSync } from "node:fs";
import { runProgram } from "./engine.ts";
import { cliFile } from "./engines/vmxon.ts";

export interface SweepTimes {
  /** Elapsed seconds on one processor, and on two. */
  readonly one: number;
  readonly two: number;
}

/** @returns undefined where processes cannot be held to processors (no `taskset`), or there is one only */
export async function measureSweep(): Promise<SweepTimes | undefined> {
  const [first, second] = allowedProcessors();
  if (first === undefined || second === undefined) return undefined;
  try {
    return { one: await secondsOn([first]), two: await secondsOn([first, second]) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function secondsOn(processors: readonly number[]): Promise<number> {
  const threads = String(processors.length);
  const sweep = [cliFile, "sched", "bench", "--seeds", "6", "--threads", threads];
  const before = performance.now();
  const table = await runProgram("taskset", [
    ...["-c", processors.join(",")],
    ...[process.execPath, ...sweep],
  ]);
  if (table.length === 0) throw new Error("the sweep has printed nothing");
  return (performance.now() - before) / 1000;
}

/** Numbers of the processors that this process may use, as Linux lists them: "0-3,8". */
function allowedProcessors(): number[] {
  const status = readStatus();
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "";
  return list.split(",").flatMap((range) => {
    const [from = Number.NaN, to = from] = range.split("-").map(Number);
    return Number.isNaN(from) ? [] : Array.from({ length: to - from + 1 }, (_, n) => from + n);
  });
}
function readStatus(): string {
  try {
    return readFileSync("/proc/self/status", "utf8");
  } catch {
    return "";
  }
}
