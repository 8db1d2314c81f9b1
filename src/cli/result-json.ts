import { type RunResult, statusOf } from "../machine/run-result.ts";

/**
 * A run's result as JSON for programs: registers as hexadecimal strings, everything else as in `RunResult`.
 * @param processSeconds from the start of the process to the call for the run
 */
export function resultJson(result: RunResult, processSeconds: number): string {
  const hexadecimal = (_key: string, value: unknown): unknown =>
    typeof value === "bigint" ? `0x${value.toString(16)}` : value;
  return `${JSON.stringify({ status: statusOf(result.ending), processSeconds, ...result }, hexadecimal, 2)}\n`;
}
