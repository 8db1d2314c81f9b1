import type { InstructionView } from "../../cpu/instruction-view.ts";
import { Outcome } from "../../execution/core-host.ts";
import { instructionError } from "../instruction-errors.ts";
import type { VmxParts } from "../vmx-parts.ts";
import { readPointer, requirePrivilege, requireVmxOperation } from "./guards.ts";

/** VMCLEAR—Clear Virtual-Machine Control Structure. The revision identifier does not matter. */
export function vmclear({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  requireVmxOperation(unit);
  if (unit.isNonRoot) {
    intercepts.instruction("VMCLEAR", insn, 0n);
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const pointer = readPointer(unit, insn);
  if (pointer < 0) {
    unit.fail(instructionError.vmclearAddress);
    return Outcome.Next;
  }
  if (pointer === unit.vmxonPointer) {
    unit.fail(instructionError.vmclearVmxonPointer);
    return Outcome.Next;
  }
  unit.vmcs.clear(pointer);
  unit.publish();
  unit.lp.trace?.("vmclear", { lp: unit.lp.index, vmcs: pointer });
  unit.succeed();
  return Outcome.Next;
}
