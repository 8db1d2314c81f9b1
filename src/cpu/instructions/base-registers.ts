import { Outcome } from "../../execution/core-host.ts";
import { lpOffset, Segment, segmentOffset, segmentStride } from "../../execution/lp-window.ts";
import { isCanonicalAddress } from "../canonical.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { cr4Bit } from "../register-bits.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";
import { writeRegister } from "./register-operands.ts";

const baseOffset = (segment: number): number =>
  lpOffset.segment + segment * segmentStride + segmentOffset.base;

function requireFsGsBase(lp: LogicalProcessor): void {
  if (!lp.is64Bit || (lp.state.read32(lpOffset.cr4) & cr4Bit.FSGSBASE) === 0) {
    throw undefinedOpcode();
  }
}

/** RDFSBASE, RDGSBASE—Read FS/GS Segment Base. */
const readBase =
  (segment: number) =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    requireFsGsBase(lp);
    const base = lp.state.segmentBase(segment);
    writeRegister(lp.state, insn.destination, insn.operandSize, base);
    return Outcome.Next;
  };

/** WRFSBASE, WRGSBASE—Write FS/GS Segment Base. */
const writeBase =
  (segment: number) =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    requireFsGsBase(lp);
    const { state } = lp;
    const base =
      insn.operandSize === 8 ? state.gpr(insn.destination) : BigInt(state.gpr32(insn.destination));
    if (!isCanonicalAddress(base)) {
      throw generalProtection();
    }
    state.write64(baseOffset(segment), base);
    return Outcome.Next;
  };

/** SWAPGS—Swap GS Base Register. */
function swapgs(lp: LogicalProcessor): number {
  if (!lp.is64Bit) {
    throw undefinedOpcode();
  }
  lp.requirePrivilege0();
  const { state } = lp;
  const base = state.segmentBase(Segment.GS);
  state.write64(baseOffset(Segment.GS), state.get("kernelGsBase"));
  state.set("kernelGsBase", base);
  return Outcome.Next;
}

export const baseRegisterInstructions: InstructionTable = {
  Rdfsbase: readBase(Segment.FS),
  Rdgsbase: readBase(Segment.GS),
  Wrfsbase: writeBase(Segment.FS),
  Wrgsbase: writeBase(Segment.GS),
  Swapgs: swapgs,
};
