import { Outcome } from "../../execution/core-host.ts";
import { Segment } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import { Blocking, type InstructionTable, type LogicalProcessor } from "../logical-processor.ts";
import { loadSegment } from "../segmentation.ts";
import { currentStack } from "../stack.ts";
import { undefinedOpcode } from "../trap.ts";
import { readFarPointer } from "./far-transfers.ts";
import { writeRegister } from "./register-operands.ts";

/** MOV—Move, from a segment register: memory gets 16 bits, a register is zero-extended to the operand size. */
function movFromSegment(lp: LogicalProcessor, insn: InstructionView): number {
  const value = lp.state.selector(requireSegment(insn.source));
  if (insn.isMemory) {
    lp.linear.write16(lp.effectiveLinear(insn, 0, 2, true), value, AccessClass.Current);
  } else {
    writeRegister(lp.state, insn.destination, insn.operandSize, BigInt(value));
  }
  return Outcome.Next;
}

/** MOV—Move, to a segment register. */
function movToSegment(lp: LogicalProcessor, insn: InstructionView): number {
  const segment = requireSegment(insn.destination);
  if (segment === Segment.CS) {
    throw undefinedOpcode();
  }
  const selector = insn.isMemory
    ? lp.linear.read16(lp.effectiveLinear(insn, 0, 2, false), AccessClass.Current)
    : lp.state.gpr32(insn.source) & 0xffff;
  loadSegment(lp, segment, selector);
  blockAfterStackSegment(lp, segment);
  return Outcome.Next;
}

function requireSegment(number: number): number {
  if (number > Segment.GS) {
    throw undefinedOpcode();
  }
  return number;
}

/** MOV SS and POP SS hold events back, so that the stack pointer can be loaded next. */
function blockAfterStackSegment(lp: LogicalProcessor, segment: number): void {
  if (segment === Segment.SS) {
    lp.blockNextBoundary(Blocking.movSs);
  }
}

/** PUSH of a segment register: the slot is as wide as the operand size, 16 bits of it are written. */
function pushSegment(lp: LogicalProcessor, insn: InstructionView): number {
  const stack = currentStack(lp);
  const value = lp.state.selector(insn.destination);
  const size = insn.operandSize;
  if (size === 8) {
    stack.pushNumber(value, size);
  } else {
    // With 32 bits, the upper half of the slot stays as it was.
    stack.skip(2 - size);
    stack.pushNumber(value, 2);
  }
  stack.commit();
  return Outcome.Next;
}

/** POP into a segment register. */
function popSegment(lp: LogicalProcessor, insn: InstructionView): number {
  const stack = currentStack(lp);
  const selector = Number(stack.peek(0, 2));
  stack.skip(insn.operandSize);
  const segment = insn.destination;
  loadSegment(lp, segment, selector);
  // A load of SS may change the size of the stack; the pointer moved is the old stack's.
  stack.commit();
  blockAfterStackSegment(lp, segment);
  return Outcome.Next;
}

/** LDS, LES, LFS, LGS, LSS—Load Far Pointer. */
const loadFar =
  (segment: number) =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    const { selector, offset } = readFarPointer(lp, insn);
    loadSegment(lp, segment, selector);
    writeRegister(lp.state, insn.destination, insn.operandSize, offset);
    return Outcome.Next;
  };

export const segmentRegisterInstructions: InstructionTable = {
  Mov_rm16_Sreg: movFromSegment,
  Mov_r32m16_Sreg: movFromSegment,
  Mov_r64m16_Sreg: movFromSegment,
  Mov_Sreg_rm16: movToSegment,
  Mov_Sreg_r32m16: movToSegment,
  Mov_Sreg_r64m16: movToSegment,
  Push: pushSegment,
  Pop: popSegment,
  Lds: loadFar(Segment.DS),
  Les: loadFar(Segment.ES),
  Lfs: loadFar(Segment.FS),
  Lgs: loadFar(Segment.GS),
  Lss: loadFar(Segment.SS),
};
