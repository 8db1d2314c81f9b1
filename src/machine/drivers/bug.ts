import type { Ending } from "../run-result.ts";
import { UserError } from "../user-error.ts";

/**
 * What an exception that nobody expected means for the run. A trouble of the user's (a disk that is full) is passed on.
 * @param source the LP it came from, -1 for the platform
 */
export function bugEnding(error: unknown, source: number | undefined): Ending {
  // One that comes from another thread has lost its class, not its name.
  if (error instanceof Error && error.name === "UserError") throw new UserError(error.message);
  if (error instanceof Error && error.name === "InvariantViolated") {
    return { type: "violation", lp: source ?? 0, message: error.message };
  }
  const message =
    error instanceof Error ? `${error.name}: ${error.message}${place(error)}` : String(error);
  return { type: "bug", message: message.replaceAll(/\s*\n\s*/g, " "), source };
}

/** Where it was thrown: the first place of the stack, on the same line. */
function place(error: Error): string {
  const frame = error.stack?.split("\n").find((line) => line.trim().startsWith("at "));
  return frame === undefined ? "" : ` (${frame.trim()})`;
}
