import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { LogicalProcessor } from "../logical-processor.ts";

/** The bits of the instruction's operand in memory, of 2, 4 or 8 bytes. @throws #GP(0), #SS(0), #PF */
export function readMemoryOperand(
  lp: LogicalProcessor,
  insn: InstructionView,
  size: number,
): bigint {
  const linear = lp.effectiveLinear(insn, 0, size, false);
  switch (size) {
    case 2:
      return BigInt(lp.linear.read16(linear, AccessClass.Current));
    case 4:
      return BigInt(lp.linear.read32(linear, AccessClass.Current));
    default:
      return lp.linear.read64(linear, AccessClass.Current);
  }
}
