import { type RunResult, statusOf } from "../machine/run-result.ts";

/** A run's result as JSON for programs: registers as hexadecimal strings, everything else as in `RunResult`. */
export function resultJson(result: RunResult): string {
  const hexadecimal = (_key: string, value: unknown): unknown =>
    typeof value === "bigint" ? `0x${value.toString(16)}` : value;
  return `${JSON.stringify({ status: statusOf(result.ending), ...result }, hexadecimal, 2)}\n`;
}
