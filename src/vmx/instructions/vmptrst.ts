import { AccessClass } from "../../cpu/address-space.ts";
import type { InstructionView } from "../../cpu/instruction-view.ts";
import { Outcome } from "../../execution/core-host.ts";
import type { VmxParts } from "../vmx-parts.ts";
import { requirePrivilege, requireVmxOperation } from "./guards.ts";

/** VMPTRST—Store Pointer to Virtual-Machine Control Structure: all ones when there is none. */
export function vmptrst({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  requireVmxOperation(unit);
  if (unit.isNonRoot) {
    intercepts.instruction("VMPTRST", insn, 0n);
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const { lp, vmcs } = unit;
  const linear = lp.effectiveLinear(insn, 0, 8, true);
  lp.linear.write64(linear, BigInt.asUintN(64, BigInt(vmcs.currentPointer)), AccessClass.Current);
  unit.succeed();
  return Outcome.Next;
}
