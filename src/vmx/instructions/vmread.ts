import { AccessClass } from "../../cpu/address-space.ts";
import { joinHalves } from "../../cpu/halves.ts";
import type { InstructionView } from "../../cpu/instruction-view.ts";
import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import type { VmxParts } from "../vmx-parts.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { fieldOperand, isHighAccess } from "./field-operand.ts";
import { requirePrivilege, requireVmxOperation } from "./guards.ts";

/** VMREAD—Read Field from Virtual-Machine Control Structure. */
export function vmread({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  requireVmxOperation(unit);
  if (unit.isNonRoot) {
    intercepts.fieldAccess(insn, false);
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const { vmcs } = unit;
  if (!vmcs.hasCurrent) {
    unit.lp.trace?.("no-current-vmcs", { lp: unit.lp.index, instruction: "VMREAD" });
    unit.failInvalid();
    return Outcome.Next;
  }
  const register = insn.source;
  const position = fieldOperand(unit, register);
  if (position < 0) {
    return Outcome.Next;
  }
  const isHigh = isHighAccess(unit, register);
  store(
    unit,
    insn,
    isHigh ? vmcs.high(position) : vmcs.low(position),
    isHigh ? 0 : vmcs.high(position),
  );
  unit.succeed();
  return Outcome.Next;
}

/** Writes the destination: 64 bits in 64-bit mode, else the low 32. */
function store({ lp, vmcs }: VmxUnit, insn: InstructionView, low: number, high: number): void {
  const { is64Bit } = lp;
  if (!insn.isMemory) {
    const at = (lpOffset.gpr >>> 2) + insn.destination * 2;
    vmcs.u32[at] = low;
    vmcs.u32[at + 1] = is64Bit ? high : 0;
    return;
  }
  const linear = lp.effectiveLinear(insn, 0, is64Bit ? 8 : 4, true);
  if (is64Bit) {
    lp.linear.write64(linear, joinHalves(low, high), AccessClass.Current);
  } else {
    lp.linear.write32(linear, low, AccessClass.Current);
  }
}
