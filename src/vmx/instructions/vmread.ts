import { AccessClass } from "../../cpu/address-space.ts";
import { joinHalves } from "../../cpu/halves.ts";
import type { InstructionView } from "../../cpu/instruction-view.ts";
import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import type { VmxParts } from "../vmx-parts.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { fieldOperand, isHighAccess } from "./field-operand.ts";
import { requirePrivilege, requireVmxOperation } from "./guards.ts";
import { accessedVmcs, closeVmcs, openVmcs } from "./shadow-vmcs.ts";

/** VMREAD—Read Field from Virtual-Machine Control Structure. */
export function vmread({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  const is64Bit = requireVmxOperation(unit);
  if (unit.isNonRoot && intercepts.fieldAccess(insn, false)) {
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const { vmcs } = unit;
  const pointer = accessedVmcs(unit);
  if (pointer < 0) {
    unit.lp.trace?.("no-current-vmcs", { lp: unit.lp.index, instruction: "VMREAD" });
    unit.failInvalid();
    return Outcome.Next;
  }
  const register = insn.source;
  const position = fieldOperand(unit, register, is64Bit);
  if (position < 0) {
    return Outcome.Next;
  }
  const isHigh = isHighAccess(unit, register);
  const current = openVmcs(unit, pointer);
  const low = isHigh ? vmcs.high(position) : vmcs.low(position);
  const high = isHigh ? 0 : vmcs.high(position);
  closeVmcs(unit, current);
  if (insn.isMemory) {
    storeInMemory(unit, insn, low, high, is64Bit);
  } else {
    const at = (lpOffset.gpr >>> 2) + insn.destination * 2;
    vmcs.u32[at] = low;
    vmcs.u32[at + 1] = is64Bit ? high : 0;
  }
  unit.succeed();
  return Outcome.Next;
}

/** 64 bits in 64-bit mode, else the low 32. */
function storeInMemory(
  { lp }: VmxUnit,
  insn: InstructionView,
  low: number,
  high: number,
  is64Bit: boolean,
): void {
  const linear = lp.effectiveLinear(insn, 0, is64Bit ? 8 : 4, true);
  if (is64Bit) {
    lp.linear.write64(linear, joinHalves(low, high), AccessClass.Current);
  } else {
    lp.linear.write32(linear, low, AccessClass.Current);
  }
}
