/**
 * What the benchmark guests print, and what it means: `BEGIN name`, then `END name iters=N tsc=0x… extra=0x…`. The time of a
 * phase is the wall-clock time between the arrival of the two lines.
 */
export interface Line {
  readonly text: string;
  /** Milliseconds at which the line was complete. */
  readonly at: number;
  /** Milliseconds of processor time the program had used by then, all threads together; undefined where it cannot be known. */
  readonly used: number | undefined;
}

export interface Phase {
  readonly name: string;
  /** Wall-clock time. */
  readonly seconds: number;
  /** Processor time of each processor that took part: what the wall clock would have shown on an idle host. */
  readonly busySeconds: number | undefined;
  readonly iterations: number;
  readonly extra: number;
  /** Processors that took part. */
  readonly cpus: number;
}

/** Instructions of one iteration; `extra` of them more in all where the third figure is 1 (see guests/README.md). */
const instructionCounts: Readonly<Record<string, readonly [perIteration: number, extra: 0 | 1]>> = {
  alu: [9, 1],
  mem64: [7, 0],
  mem4160: [7, 0],
  call: [14, 0],
  "smp-alu": [9, 1],
  "smp-lock": [3, 0],
  "ept-mem4160": [7, 0],
  "ept-mem64": [7, 0],
};

const endLine = /^END (\S+) iters=(\d+) tsc=0x[0-9a-f]+ extra=0x([0-9a-f]+)/i;

/** The phases whose begin and end were both seen. */
export function readPhases(lines: readonly Line[]): readonly Phase[] {
  const phases: Phase[] = [];
  let begun: (Omit<Line, "text"> & { readonly name: string }) | undefined;
  let processors = 1;
  for (const { text, at, used } of lines) {
    if (text.startsWith("BEGIN ")) begun = { name: text.slice(6).trim(), at, used };
    const cpus = /^CPUS 0x([0-9a-f]+)/i.exec(text);
    if (cpus?.[1] !== undefined) processors = Number.parseInt(cpus[1], 16);
    const end = endLine.exec(text);
    if (end !== null && begun !== undefined && end[1] === begun.name) {
      const { name } = begun;
      const cpus = name.startsWith("smp-") ? processors : 1;
      phases.push({
        name,
        seconds: (at - begun.at) / 1000,
        busySeconds: difference(used, begun.used, 1000 * cpus),
        iterations: Number(end[2]),
        extra: Number.parseInt(end[3] ?? "0", 16),
        cpus,
      });
    }
  }
  return phases;
}

function difference(
  end: number | undefined,
  begin: number | undefined,
  unit: number,
): number | undefined {
  return end === undefined || begin === undefined ? undefined : (end - begin) / unit;
}

/** Which time rates are taken by. */
export type TimeBase = "wall" | "cpu";

const secondsOf = (phase: Phase, base: TimeBase): number =>
  base === "cpu" ? (phase.busySeconds ?? Number.NaN) : phase.seconds;

/** Millions of instructions per second of all processors together, or undefined for a phase that counts round trips. */
export function mips(phase: Phase, base: TimeBase): number | undefined {
  const { name, iterations, extra, cpus } = phase;
  const count = instructionCounts[name];
  if (count === undefined) return undefined;
  return (cpus * (count[0] * iterations + count[1] * extra)) / secondsOf(phase, base) / 1e6;
}

/** MIPS, or thousands of round trips per second, of all processors together. */
export function rate(phase: Phase, base: TimeBase): number {
  const { iterations, cpus } = phase;
  return mips(phase, base) ?? (cpus * iterations) / secondsOf(phase, base) / 1000;
}

export const isRoundTrip = (name: string): boolean => instructionCounts[name] === undefined;
