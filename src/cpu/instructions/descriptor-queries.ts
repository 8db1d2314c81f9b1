/** LAR, LSL, VERR, VERW, ARPL: what a selector would give, told by ZF instead of a fault. */
import { Outcome } from "../../execution/core-host.ts";
import { statusFlag } from "../../execution/flags.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import {
  type Descriptor,
  dplOf,
  isCode,
  isConforming,
  isNull,
  isReadableCode,
  isSegment,
  isWritableData,
  limitOf,
  SystemType,
  tryReadDescriptor,
  typeOf,
} from "../segmentation.ts";
import { undefinedOpcode } from "../trap.ts";
import { writeRegister } from "./register-operands.ts";

function requireProtected(lp: LogicalProcessor): void {
  if (!lp.isProtected) {
    throw undefinedOpcode();
  }
}

function readSelector(lp: LogicalProcessor, insn: InstructionView, register: number): number {
  return insn.isMemory
    ? lp.linear.read16(lp.effectiveLinear(insn, 0, 2, false), AccessClass.Current)
    : lp.state.gpr32(register) & 0xffff;
}

function answer(lp: LogicalProcessor, zero: boolean): number {
  lp.changeFlags(zero ? statusFlag.ZF : 0, statusFlag.ZF);
  return Outcome.Next;
}

/** The descriptor, if the selector names one that the program's privilege reaches. */
function reachable(lp: LogicalProcessor, selector: number): Descriptor | undefined {
  if (isNull(selector)) {
    return undefined;
  }
  const d = tryReadDescriptor(lp, selector);
  if (d === undefined || isConforming(d)) {
    return d;
  }
  return dplOf(d) >= lp.state.cpl && dplOf(d) >= (selector & 3) ? d : undefined;
}

const legacyAccess: readonly number[] = [
  SystemType.tss16,
  SystemType.ldt,
  SystemType.tss16Busy,
  SystemType.callGate16,
  SystemType.taskGate,
  SystemType.tss,
  SystemType.tssBusy,
  SystemType.callGate,
];
const longAccess: readonly number[] = [
  SystemType.ldt,
  SystemType.tss,
  SystemType.tssBusy,
  SystemType.callGate,
];
/** Gates have no limit. */
const gates: readonly number[] = [SystemType.callGate16, SystemType.taskGate, SystemType.callGate];

function hasRights(lp: LogicalProcessor, d: Descriptor): boolean {
  return isSegment(d) || (lp.isLongMode ? longAccess : legacyAccess).includes(typeOf(d));
}

/** LAR—Load Access Rights Byte. */
function lar(lp: LogicalProcessor, insn: InstructionView): number {
  requireProtected(lp);
  const d = reachable(lp, readSelector(lp, insn, insn.source));
  if (d === undefined || !hasRights(lp, d)) {
    return answer(lp, false);
  }
  const mask = insn.operandSize === 2 ? 0xff00 : 0x00ff_ff00;
  writeRegister(lp.state, insn.destination, insn.operandSize, BigInt(d.high & mask));
  return answer(lp, true);
}

/** LSL—Load Segment Limit. */
function lsl(lp: LogicalProcessor, insn: InstructionView): number {
  requireProtected(lp);
  const d = reachable(lp, readSelector(lp, insn, insn.source));
  const hasLimit =
    d !== undefined && hasRights(lp, d) && (isSegment(d) || !gates.includes(typeOf(d)));
  if (!hasLimit) {
    return answer(lp, false);
  }
  writeRegister(lp.state, insn.destination, insn.operandSize, BigInt(limitOf(d)));
  return answer(lp, true);
}

/** VERR, VERW—Verify a Segment for Reading or Writing. */
const verify =
  (allows: (d: Descriptor) => boolean) =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    requireProtected(lp);
    const d = reachable(lp, readSelector(lp, insn, insn.destination));
    return answer(lp, d !== undefined && allows(d));
  };
const isReadable = (d: Descriptor): boolean => isSegment(d) && (!isCode(d) || isReadableCode(d));

/** ARPL—Adjust RPL Field of Segment Selector. */
function arpl(lp: LogicalProcessor, insn: InstructionView): number {
  requireProtected(lp);
  const { state } = lp;
  const level = state.gpr32(insn.source) & 3;
  const at = insn.isMemory ? lp.effectiveLinear(insn, 0, 2, true) : 0n;
  const selector = insn.isMemory
    ? lp.linear.read16(at, AccessClass.Current)
    : state.gpr32(insn.destination) & 0xffff;
  if ((selector & 3) >= level) {
    return answer(lp, false);
  }
  const raised = (selector & ~3) | level;
  if (insn.isMemory) {
    lp.linear.write16(at, raised, AccessClass.Current);
  } else {
    writeRegister(state, insn.destination, 2, BigInt(raised));
  }
  return answer(lp, true);
}

export const descriptorQueryInstructions: InstructionTable = {
  Lar: lar,
  Lsl: lsl,
  Verr: verify(isReadable),
  Verw: verify(isWritableData),
  Arpl: arpl,
};
