import { recordOffset } from "../execution/instruction-record.ts";
import { lpOffset } from "../execution/lp-window.ts";
import type { VmxUnit } from "./vmx-unit.ts";

/**
 * For a VM exit in the middle of an instruction, or of the delivery of an event: makes RIP that of the instruction in progress.
 * @returns its length, 0 when it is being fetched
 */
export function interruptInstruction(unit: VmxUnit): number {
  const { lp } = unit;
  const record = lp.state.read32(lpOffset.current);
  const length = record === 0 ? 0 : (lp.state.u8[record + recordOffset.length] ?? 0);
  if (unit.isInjecting) {
    // The instruction in progress is the host's VM entry, which is done.
    return 0;
  }
  const { rip } = lp.state;
  lp.core.trapped();
  if (lp.delivering !== undefined) {
    lp.state.rip = rip;
  }
  return length;
}
