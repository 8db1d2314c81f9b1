import { Outcome } from "../../execution/core-host.ts";
import { Segment } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import { isCanonicalAddress } from "../canonical.ts";
import type { InstructionView } from "../instruction-view.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import { cr4Bit } from "../register-bits.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";

/** Linear address of the memory operand without any check: the instruction makes no access. */
function uncheckedLinear(lp: LogicalProcessor, insn: InstructionView): bigint {
  const { segment } = insn;
  const offset = insn.effectiveAddress();
  if (!lp.is64Bit) {
    return BigInt.asUintN(32, lp.state.segmentBase(segment) + offset);
  }
  return segment >= Segment.FS
    ? BigInt.asUintN(64, lp.state.segmentBase(segment) + offset)
    : offset;
}

function invalidatePage(lp: LogicalProcessor, linear: bigint): void {
  lp.addressSpace.invalidatePage(Number(linear & 0xffff_ffffn), Number(linear >> 32n));
}

/** INVLPG—Invalidate TLB Entries. A non-canonical address is nothing to invalidate. */
function invlpg(lp: LogicalProcessor, insn: InstructionView): number {
  lp.requirePrivilege0();
  const linear = uncheckedLinear(lp, insn);
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("INVLPG", insn, linear)) {
    return Outcome.Jump;
  }
  if (isCanonicalAddress(linear)) {
    invalidatePage(lp, linear);
  }
  return Outcome.Next;
}

const Invpcid = { Address: 0, Context: 1, AllAndGlobals: 2, All: 3 } as const;

/** INVPCID—Invalidate Process-Context Identifier. */
function invpcid(lp: LogicalProcessor, insn: InstructionView): number {
  const { nonRoot } = lp.intercepts;
  if (nonRoot && lp.intercepts.isUndefined("INVPCID")) {
    throw undefinedOpcode();
  }
  lp.requirePrivilege0();
  if (nonRoot && lp.intercepts.instruction("INVPCID", insn, 0n)) {
    return Outcome.Jump;
  }
  const { state } = lp;
  const type = lp.is64Bit ? state.gpr(insn.destination) : BigInt(state.gpr32(insn.destination));
  const at = lp.effectiveLinear(insn, 0, 16, false);
  const first = lp.linear.read64(at, AccessClass.Current);
  const linear = lp.linear.read64(at + 8n, AccessClass.Current);
  if (type > 3n || first >> 12n !== 0n) {
    throw generalProtection();
  }
  const pcid = Number(first);
  const names = Number(type);
  const isSelective = names === Invpcid.Address || names === Invpcid.Context;
  const hasPcids = (state.low("cr4") & cr4Bit.PCIDE) !== 0;
  const isBad =
    (isSelective && pcid !== 0 && !hasPcids) ||
    (names === Invpcid.Address && !isCanonicalAddress(linear));
  if (isBad) {
    throw generalProtection();
  }
  if (names === Invpcid.Address) {
    invalidatePage(lp, linear);
  } else if (names === Invpcid.Context) {
    lp.addressSpace.invalidatePcid(pcid);
  } else {
    lp.addressSpace.invalidateVm();
  }
  return Outcome.Next;
}

/** INVD, WBINVD, WBNOINVD: there is no cache to write back or to lose. */
const cacheWide =
  (which: "INVD" | "WBINVD" | "WBNOINVD"): InstructionHandler =>
  (lp, insn) => {
    lp.requirePrivilege0();
    if (lp.intercepts.nonRoot && lp.intercepts.instruction(which, insn, 0n)) {
      return Outcome.Jump;
    }
    lp.clock.charge?.("cacheFlush");
    return Outcome.Next;
  };

/** CLFLUSH, CLFLUSHOPT, CLWB: checked as a read of one byte. */
function cacheLine(lp: LogicalProcessor, insn: InstructionView): number {
  lp.linear.checkReadable(lp.effectiveLinear(insn, 0, 1, false), 1, AccessClass.Current);
  return Outcome.Next;
}

export const cacheAndTlbInstructions: InstructionTable = {
  Invlpg: invlpg,
  Invpcid: invpcid,
  Invd: cacheWide("INVD"),
  Wbinvd: cacheWide("WBINVD"),
  Wbnoinvd: cacheWide("WBNOINVD"),
  Clflush: cacheLine,
  Clflushopt: cacheLine,
  Clwb: cacheLine,
};
