import { spawn } from "node:child_process";
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

/** Splits a stream into lines, each with the time at which its end arrived. */
export function collectLines(stream: Readable, lines: Line[]): void {
  let rest = "";
  stream.on("data", (chunk: Buffer) => {
    const at = performance.now();
    const pieces = (rest + chunk.toString("latin1")).split("\n");
    rest = pieces.pop() ?? "";
    for (const piece of pieces) lines.push({ text: piece.replace(/\r$/, ""), at });
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
    collectLines(child.stdout, lines);
    child.on("error", reject);
    if (child.pid !== undefined) onStart(child.pid);
    child.on("close", () => {
      clearTimeout(timer);
      resolve(lines);
    });
  });
}
