import type { InstructionView } from "../../cpu/instruction-view.ts";
import { privateOffset } from "../../cpu/lp-private.ts";
import { featureControlBit } from "../../cpu/msr-table.ts";
import { cr4Bit } from "../../cpu/register-bits.ts";
import { generalProtection, undefinedOpcode } from "../../cpu/trap.ts";
import { Outcome } from "../../execution/core-host.ts";
import { instructionError } from "../instruction-errors.ts";
import type { VmxParts } from "../vmx-parts.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { isProperMode, readPointer, requirePrivilege } from "./guards.ts";

const enabled = featureControlBit.lock | featureControlBit.vmxOutsideSmx;

/** VMXON—Enter VMX Operation. */
export function vmxon({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  const { lp } = unit;
  if ((lp.state.low("cr4") & cr4Bit.VMXE) === 0 || !isProperMode(lp)) {
    throw undefinedOpcode();
  }
  if (unit.isNonRoot) {
    intercepts.instruction("VMXON", insn, 0n);
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  if (unit.isOn) {
    unit.fail(instructionError.vmxonInRoot);
    return Outcome.Next;
  }
  requireSupportedMode(unit);
  const pointer = readPointer(unit, insn);
  // A region with the shadow indicator set has the wrong identifier too.
  if (pointer < 0 || lp.physical.read32(pointer) !== unit.profile.revision) {
    unit.failInvalid();
    return Outcome.Next;
  }
  unit.turnOn(pointer);
  lp.state.write32(privateOffset.monitorArmed, 0);
  lp.trace?.("vmxon", { lp: lp.index, region: pointer });
  unit.succeed();
  return Outcome.Next;
}

/** @throws #GP(0) when CR0 or CR4 has a value that VMX does not support, or IA32_FEATURE_CONTROL does not allow it */
function requireSupportedMode({ lp, profile }: VmxUnit): void {
  const cr0 = lp.state.low("cr0");
  const cr4 = lp.state.low("cr4");
  const isUnsupported =
    (~cr0 & profile.cr0Fixed0) !== 0 ||
    (cr0 & ~profile.cr0Fixed1) !== 0 ||
    (~cr4 & profile.cr4Fixed0) !== 0 ||
    (cr4 & ~profile.cr4Fixed1) !== 0;
  const isEnabled = (lp.state.get("featureControl") & enabled) === enabled;
  if (isUnsupported || !isEnabled) {
    throw generalProtection();
  }
}
