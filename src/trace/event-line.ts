import { platformSource } from "../machine/trace-target.ts";

export type EventDetail = Readonly<Record<string, number | bigint | string | boolean>>;

/**
 * One event as one line of JSON, newline included. `time` is in TSC cycles since reset; numbers are decimal, 64-bit values
 * (addresses, qualifications) hexadecimal strings, since JSON readers lose bits of larger numbers.
 */
export function eventLine(time: number, source: number, kind: string, detail: EventDetail): string {
  const event: Record<string, number | string | boolean> = { time };
  if (source !== platformSource) event["lp"] = source;
  event["event"] = kind;
  for (const [key, value] of Object.entries(detail)) {
    event[key] = typeof value === "bigint" ? `0x${value.toString(16)}` : value;
  }
  return `${JSON.stringify(event)}\n`;
}

/** The time of a line that `eventLine` made. */
export function lineTime(line: string): number {
  return Number.parseInt(line.slice('{"time":'.length), 10);
}
