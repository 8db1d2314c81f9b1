import type { InstructionView } from "../../cpu/instruction-view.ts";
import { Outcome } from "../../execution/core-host.ts";
import { secondary } from "../controls.ts";
import { instructionError } from "../instruction-errors.ts";
import { shadowIndicator } from "../vmcs-cache.ts";
import type { VmxParts } from "../vmx-parts.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { readPointer, requirePrivilege, requireVmxOperation } from "./guards.ts";

/** VMPTRLD—Load Pointer to Virtual-Machine Control Structure. */
export function vmptrld({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  requireVmxOperation(unit);
  if (unit.isNonRoot) {
    intercepts.instruction("VMPTRLD", insn, 0n);
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const pointer = readPointer(unit, insn);
  if (pointer < 0) {
    unit.fail(instructionError.vmptrldAddress);
    return Outcome.Next;
  }
  if (pointer === unit.vmxonPointer) {
    unit.fail(instructionError.vmptrldVmxonPointer);
    return Outcome.Next;
  }
  if (!hasUsableRevision(unit, pointer)) {
    unit.fail(instructionError.vmptrldRevision);
    return Outcome.Next;
  }
  unit.vmcs.load(pointer);
  unit.publish();
  unit.lp.trace?.("vmptrld", { lp: unit.lp.index, vmcs: pointer });
  unit.succeed();
  return Outcome.Next;
}

/** The region has this processor's revision identifier, and is a shadow VMCS only where such are supported. */
function hasUsableRevision({ lp, profile }: VmxUnit, pointer: number): boolean {
  const header = lp.physical.read32(pointer);
  const supportsShadows = (profile.secondary.mayBeOne & secondary.vmcsShadowing) !== 0;
  const revision = supportsShadows ? (header & ~shadowIndicator) >>> 0 : header;
  return revision === profile.revision;
}
