import type { ControlRegion } from "../control-region.ts";
import { machineGone } from "./remote-bus.ts";

const lookMs = 1;

/**
 * On another thread than an LP's, when its mailbox is full: waits a while for room. The LP takes its mail at its next block of
 * instructions, or while it waits for a device.
 */
export function awaitRoom(control: ControlRegion, lp: number): void {
  if (control.isStopping) throw machineGone;
  control.requestSlot(lp).stir();
  const { words } = control;
  const pending = control.pendingWord(lp);
  Atomics.wait(words, pending, Atomics.load(words, pending), lookMs);
}
