/** MONITOR and MWAIT: the line that is watched, and when a wait ends. */
import { Activity } from "../execution/lp-window.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import { privateOffset } from "./lp-private.ts";

const lineBytes = 64;
/**
 * Stores of other LPs are not seen as they happen: the line is compared with what it was. A wait also ends by itself after
 * this part of a second, which the architecture allows.
 */
const waitsPerSecond = 20_000;

/** @param physical address of the operand, RAM */
export function armMonitor(lp: LogicalProcessor, physical: number): void {
  const { state } = lp;
  const line = (physical & -lineBytes) >>> 0;
  state.write32(privateOffset.monitorAddress, line);
  state.u8.copyWithin(state.base + privateOffset.monitorLine, line, line + lineBytes);
  state.write32(privateOffset.monitorArmed, 1);
}

export function disarmMonitor(lp: LogicalProcessor): void {
  lp.state.write32(privateOffset.monitorArmed, 0);
}

/** @param breaks an interrupt ends the wait even when masked */
export function waitForMonitor(lp: LogicalProcessor, breaks: boolean): void {
  const { state } = lp;
  const armed = state.read32(privateOffset.monitorArmed) !== 0;
  if (!armed || hasLineChanged(lp)) {
    return;
  }
  state.write32(privateOffset.mwaitBreaks, breaks ? 1 : 0);
  lp.mwaitUntil = lp.clock.now() + lp.clock.frequencyHz / waitsPerSecond;
  state.activity = Activity.Mwait;
}

function hasLineChanged({ state }: LogicalProcessor): boolean {
  const line = state.read32(privateOffset.monitorAddress) >>> 2;
  const then = (state.base + privateOffset.monitorLine) >>> 2;
  for (let n = 0; n < lineBytes / 4; n++) {
    if (Atomics.load(state.u32, line + n) !== state.u32[then + n]) {
      return true;
    }
  }
  return false;
}

/** The wait is over without an event having been taken. */
export function isWaitOver(lp: LogicalProcessor): boolean {
  const breaks = lp.state.read32(privateOffset.mwaitBreaks) !== 0;
  const over =
    (breaks && lp.apic.interruptPending()) || hasLineChanged(lp) || lp.clock.now() >= lp.mwaitUntil;
  if (over) {
    disarmMonitor(lp);
  }
  return over;
}
