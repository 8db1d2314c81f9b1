import { AccessClass } from "../../cpu/address-space.ts";
import type { InstructionView } from "../../cpu/instruction-view.ts";
import { undefinedOpcode } from "../../cpu/trap.ts";
import { Outcome } from "../../execution/core-host.ts";
import { secondary } from "../controls.ts";
import { eptTag, isValidEptPointer } from "../ept.ts";
import { highHalf, lowHalf } from "../halves.ts";
import { instructionError } from "../instruction-errors.ts";
import { eptCapability } from "../reported-msrs.ts";
import type { VmxParts } from "../vmx-parts.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { readRegister, requirePrivilege, requireVmxOperation } from "./guards.ts";

const InveptType = { Single: 1n, All: 2n } as const;
const accessedDirty = 0x40;

/** INVEPT—Invalidate Translations Derived from EPT. The type is looked at before the descriptor is read. */
export function invept(parts: VmxParts, insn: InstructionView): number {
  const { unit, intercepts } = parts;
  if (!isSupported(unit)) {
    throw undefinedOpcode();
  }
  requireVmxOperation(unit);
  if (unit.isNonRoot) {
    intercepts.instruction("INVEPT", insn, 0n);
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const type = readRegister(unit, insn.destination);
  if (!hasType(unit, type)) {
    unit.fail(instructionError.invalidInvalidation);
    return Outcome.Next;
  }
  const { lp } = unit;
  const linear = lp.effectiveLinear(insn, 0, 16, false);
  const pointer = lp.linear.read64(linear, AccessClass.Current);
  lp.linear.read64(linear + 8n, AccessClass.Current);
  if (type === InveptType.All) {
    parts.ept.invalidateAll();
    lp.addressSpace.invalidateAll();
  } else if (!invalidateSingle(parts, lowHalf(pointer), highHalf(pointer))) {
    unit.fail(instructionError.invalidInvalidation);
    return Outcome.Next;
  }
  unit.succeed();
  return Outcome.Next;
}

function isSupported({ profile }: VmxUnit): boolean {
  return (
    (profile.secondary.mayBeOne & secondary.enableEpt) !== 0 &&
    (profile.eptCapabilities & eptCapability.invept) !== 0
  );
}

function hasType({ profile }: VmxUnit, type: bigint): boolean {
  const capability =
    type === InveptType.Single
      ? eptCapability.inveptSingle
      : type === InveptType.All
        ? eptCapability.inveptAll
        : 0;
  return (profile.eptCapabilities & capability) !== 0;
}

/** Everything under one EP4TA, with and without accessed and dirty flags. */
function invalidateSingle({ unit, ept }: VmxParts, low: number, high: number): boolean {
  if (!isValidEptPointer(unit.profile, low, high)) {
    return false;
  }
  for (const flags of [0, accessedDirty]) {
    const tag = eptTag((low & ~accessedDirty) | flags, high);
    ept.invalidate(tag);
    unit.lp.addressSpace.invalidateEp4ta(tag);
  }
  return true;
}
