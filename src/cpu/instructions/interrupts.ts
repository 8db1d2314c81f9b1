import { Outcome } from "../../execution/core-host.ts";
import { statusFlag } from "../../execution/flags.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import { interruptReturn } from "../interrupt-return.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { Fault, undefinedOpcode, Vector } from "../trap.ts";

/** INT n, INT3 and INTO: no single-step trap in the handler, whose TF is clear. */
function deliverSoftware(
  lp: LogicalProcessor,
  insn: InstructionView,
  vector: number,
  type: 4 | 6,
): number {
  lp.stepAfter = false;
  const instructionLength = insn.length;
  lp.deliver({ vector, type, errorCode: undefined, instructionLength, qualification: 0n });
  return Outcome.Jump;
}

/** INT n—Call to Interrupt Procedure. */
function int(lp: LogicalProcessor, insn: InstructionView): number {
  return deliverSoftware(lp, insn, Number(insn.immediate & 0xffn), 4);
}
function int3(lp: LogicalProcessor, insn: InstructionView): number {
  return deliverSoftware(lp, insn, Vector.BP, 6);
}
function into(lp: LogicalProcessor, insn: InstructionView): number {
  return (lp.readFlags() & statusFlag.OF) !== 0
    ? deliverSoftware(lp, insn, Vector.OF, 6)
    : Outcome.Next;
}
/** INT1: a debug exception that no gate's DPL guards. */
function int1(lp: LogicalProcessor, insn: InstructionView): number {
  lp.stepAfter = false;
  lp.deliverDebug(0, 5, insn.length);
  return Outcome.Jump;
}

/** BOUND—Check Array Index Against Bounds. */
function bound(lp: LogicalProcessor, insn: InstructionView): number {
  const size = insn.operandSize;
  const at = lp.effectiveLinear(insn, 0, size * 2, false);
  const index = signed(lp.state.gpr32(insn.destination), size);
  const read = (linear: bigint): number =>
    size === 4
      ? lp.linear.read32(linear, AccessClass.Current)
      : lp.linear.read16(linear, AccessClass.Current);
  const lower = signed(read(at), size);
  const upper = signed(read(at + BigInt(size)), size);
  if (index < lower || index > upper) {
    throw new Fault(Vector.BR, undefined);
  }
  return Outcome.Next;
}
const signed = (value: number, size: number): number =>
  size === 4 ? value | 0 : (value << 16) >> 16;

/** IRET—Interrupt Return. */
function iret(lp: LogicalProcessor, insn: InstructionView): number {
  interruptReturn(lp, insn.operandSize, insn);
  return Outcome.Jump;
}

/** UD—Undefined Instruction. */
function ud(): number {
  throw undefinedOpcode();
}

export const interruptInstructions: InstructionTable = {
  Int: int,
  Int3: int3,
  Into: into,
  Int1: int1,
  Bound: bound,
  Iret: iret,
  Iretd: iret,
  Iretq: iret,
  Ud0: ud,
  Ud1: ud,
  Ud2: ud,
};
