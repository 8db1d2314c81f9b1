import type { LpState } from "./lp-state.ts";
import type { Clock } from "./ports.ts";

/** What the time-stamp counter is made of: the machine's clock, and this LP's distance from it. */
export interface TimeKeeper {
  readonly state: LpState;
  readonly clock: Clock;
}

/** The LP's own time-stamp counter, before any offset or scaling of non-root operation. */
export function readTimeStampCounter({ state, clock }: TimeKeeper): bigint {
  return BigInt.asUintN(64, BigInt(clock.now()) + state.get("tscOffset"));
}

/** A write moves IA32_TSC_ADJUST by as much as the counter. */
export function writeTimeStampCounter(keeper: TimeKeeper, value: bigint): void {
  shift(keeper, value - readTimeStampCounter(keeper));
}

/** A write of IA32_TSC_ADJUST moves the counter by as much as the register. */
export function writeTscAdjust(keeper: TimeKeeper, value: bigint): void {
  shift(keeper, value - keeper.state.get("tscAdjust"));
}

function shift({ state }: TimeKeeper, distance: bigint): void {
  state.set("tscOffset", state.get("tscOffset") + distance);
  state.set("tscAdjust", state.get("tscAdjust") + distance);
}
