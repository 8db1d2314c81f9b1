import type { InstructionView } from "../../cpu/instruction-view.ts";
import { undefinedOpcode } from "../../cpu/trap.ts";
import { Outcome } from "../../execution/core-host.ts";
import { secondary } from "../controls.ts";
import { isValidEptPointer } from "../ept.ts";
import { slot } from "../vmcs-fields.ts";
import type { VmxParts } from "../vmx-parts.ts";

const functionCount = 64;
const listEntries = 512;
const eax = 0;
const ecx = 1;

/** VMFUNC—Invoke VM function. There is one: EPTP switching. Any CPL and any mode may invoke it. */
export function vmfunc(parts: VmxParts, insn: InstructionView): number {
  const { unit, intercepts } = parts;
  const { lp, vmcs, controls } = unit;
  const number = lp.state.gpr32(eax);
  const exists = unit.isNonRoot && (controls.secondary & secondary.enableVmFunctions) !== 0;
  if (!exists || number >= functionCount) {
    throw undefinedOpcode();
  }
  const word = number < 32 ? vmcs.low(slot.vmFunctionControls) : vmcs.high(slot.vmFunctionControls);
  const isEnabled = ((word >>> (number & 31)) & 1) !== 0;
  if (!isEnabled || !switchEptPointer(parts, lp.state.gpr32(ecx))) {
    intercepts.instruction("VMFUNC", insn, 0n);
    return Outcome.Jump;
  }
  return Outcome.NextAndLeave;
}

/** "EPTP Switching". Nothing is invalidated. @returns false when the list has no valid pointer there */
function switchEptPointer({ unit, ept }: VmxParts, index: number): boolean {
  const { lp, vmcs, controls, profile } = unit;
  if (index >= listEntries) {
    return false;
  }
  const at = vmcs.address(slot.eptpListAddress) + index * 8;
  const low = lp.physical.read32(at);
  const high = lp.physical.read32(at + 4);
  if (!isValidEptPointer(profile, low, high)) {
    return false;
  }
  vmcs.write(slot.eptPointer, low, high);
  if ((controls.secondary & secondary.eptViolationVe) !== 0) {
    vmcs.write32(slot.eptpIndex, index);
  }
  ept.begin();
  const usesVpid = (controls.secondary & secondary.enableVpid) !== 0;
  lp.addressSpace.enter(usesVpid ? vmcs.low(slot.vpid) : 0, ept.tag, false);
  lp.switchedVm();
  return true;
}
