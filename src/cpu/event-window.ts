/**
 * What may happen between two instructions, after "Prioritization of Concurrent Events". Each function here looks for the one
 * event of highest priority; the caller asks again until there is none.
 */
import { Activity, lpOffset } from "../execution/lp-window.ts";
import { Blocking, type LogicalProcessor } from "./logical-processor.ts";
import { privateOffset } from "./lp-private.ts";
import { initialize, noSipi, startUp } from "./power-up.ts";
import { flagBit } from "./register-bits.ts";
import { debugException, Vector } from "./trap.ts";

/**
 * Takes the event of highest priority that may be taken now: delivers it, or has a VM exit taken.
 * @returns whether there was one
 */
export function takeEvent(lp: LogicalProcessor): boolean {
  if (lp.initPending) {
    takeInit(lp);
    return true;
  }
  if (lp.state.activity === Activity.WaitForSipi) {
    return takeStartup(lp);
  }
  const { nonRoot, stepping } = lp.intercepts;
  return (
    // The monitor trap flag goes before debug traps, everything else that exits behind them.
    (nonRoot && stepping && askBoundary(lp)) ||
    takeDebugTrap(lp) ||
    (nonRoot && askBoundary(lp)) ||
    takeNmi(lp) ||
    takeInterrupt(lp)
  );
}

function takeInit(lp: LogicalProcessor): void {
  lp.initPending = false;
  if (!lp.intercepts.init()) {
    initialize(lp);
  }
}

function takeStartup(lp: LogicalProcessor): boolean {
  const { state } = lp;
  const vector = state.read32(privateOffset.sipiVector);
  if (vector === noSipi) {
    return false;
  }
  state.write32(privateOffset.sipiVector, noSipi);
  if (!lp.intercepts.sipi(vector)) {
    startUp(lp, vector);
  }
  return true;
}

function askBoundary(lp: LogicalProcessor): boolean {
  return lp.intercepts.boundary(lp.apic.interruptPending(), lp.nmiPending);
}

const shadows = Blocking.sti | Blocking.movSs;

/** Breakpoints and single-step of the instruction before. A load of SS holds them back for one instruction. */
function takeDebugTrap(lp: LogicalProcessor): boolean {
  const { state } = lp;
  const bits = lp.pendingDebug;
  if (bits === 0 || (state.interruptibility & Blocking.movSs) !== 0) {
    return false;
  }
  if (state.activity === Activity.Shutdown) {
    return false;
  }
  lp.deliverFault(debugException(0));
  return true;
}

function takeNmi(lp: LogicalProcessor): boolean {
  const { state } = lp;
  if (!lp.nmiPending || state.activity === Activity.Shutdown) {
    return false;
  }
  // STI is free to hold back NMIs together with interrupts, and does.
  if ((state.interruptibility & (Blocking.nmi | shadows)) !== 0) {
    lp.eventsHeldBack = true;
    return false;
  }
  lp.unlatchNmi();
  state.interruptibility |= Blocking.nmi;
  state.activity = Activity.Active;
  lp.trace?.("nmi", { lp: lp.index, rip: state.rip });
  lp.deliver({
    vector: Vector.NMI,
    type: 2,
    errorCode: undefined,
    instructionLength: 0,
    qualification: 0n,
  });
  return true;
}

function takeInterrupt(lp: LogicalProcessor): boolean {
  const { state } = lp;
  if (!lp.apic.interruptPending() || state.activity === Activity.Shutdown) {
    return false;
  }
  const enabled = (state.read32(lpOffset.systemFlags) & flagBit.IF) !== 0;
  if (!enabled || (state.interruptibility & shadows) !== 0) {
    lp.eventsHeldBack = true;
    return false;
  }
  state.activity = Activity.Active;
  const vector = lp.apic.acknowledge();
  lp.trace?.("interrupt", { lp: lp.index, vector, rip: state.rip });
  lp.deliver({
    vector,
    type: 0,
    errorCode: undefined,
    instructionLength: 0,
    qualification: 0n,
  });
  return true;
}
