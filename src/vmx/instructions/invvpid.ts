import { AccessClass } from "../../cpu/address-space.ts";
import type { InstructionView } from "../../cpu/instruction-view.ts";
import { undefinedOpcode } from "../../cpu/trap.ts";
import { Outcome } from "../../execution/core-host.ts";
import { secondary } from "../controls.ts";
import { isCanonicalHigh } from "../entry-rules/entry-context.ts";
import { highHalf, lowHalf } from "../halves.ts";
import { instructionError } from "../instruction-errors.ts";
import { vpidCapability } from "../reported-msrs.ts";
import type { VmxParts } from "../vmx-parts.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { readRegister, requirePrivilege, requireVmxOperation } from "./guards.ts";

const InvvpidType = { Address: 0, Single: 1, All: 2, SingleButGlobals: 3 } as const;
const capabilities = [
  vpidCapability.individualAddress,
  vpidCapability.singleContext,
  vpidCapability.allContexts,
  vpidCapability.retainingGlobals,
] as const;

/** INVVPID—Invalidate Translations Based on VPID. The type is looked at before the descriptor is read. */
export function invvpid({ unit, intercepts }: VmxParts, insn: InstructionView): number {
  if (!isSupported(unit)) {
    throw undefinedOpcode();
  }
  requireVmxOperation(unit);
  if (unit.isNonRoot) {
    intercepts.instruction("INVVPID", insn, 0n);
    return Outcome.Jump;
  }
  requirePrivilege(unit);
  const type = Number(readRegister(unit, insn.destination));
  if ((unit.profile.vpidCapabilities & (capabilities[type] ?? 0)) === 0) {
    unit.fail(instructionError.invalidInvalidation);
    return Outcome.Next;
  }
  const { lp } = unit;
  const at = lp.effectiveLinear(insn, 0, 16, false);
  const context = lp.linear.read64(at, AccessClass.Current);
  const linear = lp.linear.read64(at + 8n, AccessClass.Current);
  if (!invalidate(unit, type, context, linear)) {
    unit.fail(instructionError.invalidInvalidation);
    return Outcome.Next;
  }
  unit.succeed();
  return Outcome.Next;
}

function isSupported({ profile }: VmxUnit): boolean {
  return (
    (profile.secondary.mayBeOne & secondary.enableVpid) !== 0 &&
    (profile.vpidCapabilities & vpidCapability.invvpid) !== 0
  );
}

/** @returns false when the descriptor is malformed */
function invalidate(
  { lp, profile }: VmxUnit,
  type: number,
  context: bigint,
  linear: bigint,
): boolean {
  const vpid = Number(context & 0xffffn);
  const isReservedClear = context >> 16n === 0n;
  if (!isReservedClear || (vpid === 0 && type !== InvvpidType.All)) {
    return false;
  }
  switch (type) {
    case InvvpidType.All:
      lp.addressSpace.invalidateVpids(false);
      return true;
    case InvvpidType.Address:
      if (!isCanonicalHigh(highHalf(linear), profile.canonicalShift)) {
        return false;
      }
      lp.addressSpace.invalidatePage(lowHalf(linear), highHalf(linear));
      return true;
    // Global translations may go with the others.
    default:
      lp.addressSpace.invalidateVpid(vpid);
      return true;
  }
}
