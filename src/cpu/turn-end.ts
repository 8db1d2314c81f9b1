import { lpOffset, Pending } from "../execution/lp-window.ts";
import type { LpState } from "./lp-state.ts";
import type { Clock } from "./ports.ts";

/** A driver looks at an LP's deadlines at least this often, in seconds of the machine's clock. */
export const turnSecondsMax = 0.001;

/**
 * A timer has been set: when it may run out before the driver would look at deadlines again, the driver gets the LP back at the
 * next boundary, so that its next turn ends in time.
 * @param deadline clock value, undefined when nothing is to come
 */
export function endTurnBefore(deadline: number | undefined, state: LpState, clock: Clock): void {
  if (deadline === undefined || clock.endsTurnBy?.(deadline) === true) {
    return;
  }
  if (deadline - clock.now() >= turnSecondsMax * clock.frequencyHz) {
    return;
  }
  Atomics.or(state.i32, (state.base + lpOffset.pending) >>> 2, Pending.Stop);
}
