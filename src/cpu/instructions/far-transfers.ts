import { Outcome } from "../../execution/core-host.ts";
import { AccessClass } from "../address-space.ts";
import { farCall, farJump, farReturn } from "../far-transfer.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";

interface FarPointer {
  readonly selector: number;
  readonly offset: bigint;
}

/** The operand of a far JMP or CALL: ptr16:16/32 in the instruction, or m16:16/32/64. */
export function readFarPointer(lp: LogicalProcessor, insn: InstructionView): FarPointer {
  const size = insn.operandSize;
  if (!insn.isMemory) {
    const { immediate } = insn;
    return { selector: Number(immediate >> 32n) & 0xffff, offset: immediate & 0xffff_ffffn };
  }
  const at = lp.effectiveLinear(insn, 0, size + 2, false);
  const { linear } = lp;
  const as = AccessClass.Current;
  const selector = linear.read16(at + BigInt(size), as);
  if (size === 8) {
    return { selector, offset: linear.read64(at, as) };
  }
  return { selector, offset: BigInt(size === 4 ? linear.read32(at, as) : linear.read16(at, as)) };
}

/** JMP—Jump, far. */
function jmpFar(lp: LogicalProcessor, insn: InstructionView): number {
  const { selector, offset } = readFarPointer(lp, insn);
  farJump(lp, selector, offset, insn.operandSize, insn);
  return Outcome.Jump;
}

/** CALL—Call Procedure, far. */
function callFar(lp: LogicalProcessor, insn: InstructionView): number {
  const { selector, offset } = readFarPointer(lp, insn);
  farCall(lp, selector, offset, insn.operandSize, insn);
  return Outcome.Jump;
}

/** RET—Return From Procedure, far. */
function retf(lp: LogicalProcessor, insn: InstructionView): number {
  farReturn(lp, insn.operandSize, Number(insn.immediate & 0xffffn));
  return Outcome.Jump;
}

export const farTransferInstructions: InstructionTable = {
  Jmp: jmpFar,
  Call: callFar,
  Retf: retf,
};
