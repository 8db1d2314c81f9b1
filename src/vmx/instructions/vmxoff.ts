import type { InstructionView } from "../../cpu/instruction-view.ts";
import { privateOffset } from "../../cpu/lp-private.ts";
import { Outcome } from "../../execution/core-host.ts";
import type { VmxParts } from "../vmx-parts.ts";
import { requirePrivilege, requireVmxOperation } from "./guards.ts";

/** VMXOFF—Leave VMX Operation. An INIT that was held back is let through. */
export function vmxoff({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  requireVmxOperation(unit);
  if (unit.isNonRoot) {
    intercepts.instruction("VMXOFF", insn, 0n);
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const { lp } = unit;
  unit.turnOff();
  lp.state.write32(privateOffset.monitorArmed, 0);
  if (unit.isInitHeld) {
    unit.isInitHeld = false;
    lp.state.write32(privateOffset.initPending, 1);
    lp.requestEvents();
  }
  lp.trace?.("vmxoff", { lp: lp.index });
  unit.succeed();
  return Outcome.Next;
}
