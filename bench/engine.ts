import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import type { Line } from "./phases.ts";

export interface EngineRun {
  readonly image: string;
  readonly cpus: number;
}

/** A machine that can boot the benchmark guests. */
export interface Engine {
  readonly name: string;
  /** Why it cannot be used here, or undefined when it can. */
  readonly missing: () => string | undefined;
  readonly run: (run: EngineRun) => Promise<readonly Line[]>;
}

/** An engine that has not ended by itself after so long is stopped. */
const runSecondsMax = 600;

/** Ticks of /proc's times per second: what Linux shows on every architecture. */
const ticksPerSecond = 100;

/** Processor time of a process so far, in milliseconds; undefined where there is no /proc. */
function processorTime(pid: number | undefined): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond;
  } catch {
    return undefined;
  }
}

/** Splits a stream into lines, each with the time at which its end arrived. @param pid of the program that prints */
export function collectLines(stream: Readable, lines: Line[], pid: () => number | undefined): void {
  let rest = "";
  stream.on("data", (chunk: Buffer) => {
    const at = performance.now();
    const pieces = (rest + chunk.toString("latin1")).split("\n");
    rest = pieces.pop() ?? "";
    const used = processorTime(pid());
    for (const piece of pieces) lines.push({ text: piece.replace(/\r$/, ""), at, used });
  });
}

/** Runs a program to its end. @returns its standard output, line by line */
export function runProgram(
  command: string,
  args: readonly string[],
  onStart: (pid: number) => void = () => undefined,
): Promise<readonly Line[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), runSecondsMax * 1000);
    const lines: Line[] = [];
    collectLines(child.stdout, lines, () => child.pid);
    child.on("error", reject);
    if (child.pid !== undefined) onStart(child.pid);
    child.on("close", () => {
      clearTimeout(timer);
      resolve(lines);
    });
  });
}
