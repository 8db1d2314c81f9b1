import type { InstructionView } from "../../cpu/instruction-view.ts";
import { undefinedOpcode } from "../../cpu/trap.ts";
import { Outcome } from "../../execution/core-host.ts";
import { instructionError } from "../instruction-errors.ts";
import type { VmxParts } from "../vmx-parts.ts";
import { isProperMode, requirePrivilege } from "./guards.ts";

/** VMCALL—Call to VM Monitor. Non-root operation exits in every mode; there is no monitor of SMM to call. */
export function vmcall({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  if (!unit.isOn) {
    throw undefinedOpcode();
  }
  if (unit.isNonRoot) {
    intercepts.instruction("VMCALL", insn, 0n);
    return Outcome.Jump;
  }
  if (!isProperMode(unit.lp)) {
    throw undefinedOpcode();
  }
  requirePrivilege(unit);
  unit.fail(instructionError.vmcallInRoot);
  return Outcome.Next;
}
