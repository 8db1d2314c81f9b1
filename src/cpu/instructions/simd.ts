import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import { mxcsrMask } from "../extended-state.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { cr0Bit, cr4Bit } from "../register-bits.ts";
import { deviceNotAvailable, generalProtection, undefinedOpcode } from "../trap.ts";

/**
 * May SSE instructions be executed? The core decodes them to calls of handlers while this does not hold.
 * @throws #UD with CR0.EM set or CR4.OSFXSR clear, #NM with CR0.TS set
 */
export function requireSimd(lp: LogicalProcessor): void {
  const cr0 = lp.state.low("cr0");
  if ((cr0 & cr0Bit.EM) !== 0 || (lp.state.low("cr4") & cr4Bit.OSFXSR) === 0) {
    throw undefinedOpcode();
  }
  if ((cr0 & cr0Bit.TS) !== 0) {
    throw deviceNotAvailable();
  }
}

/** LDMXCSR—Load MXCSR Register. */
function ldmxcsr(lp: LogicalProcessor, insn: InstructionView): number {
  requireSimd(lp);
  const linear = lp.effectiveLinear(insn, 0, 4, false);
  const value = lp.linear.read32(linear, AccessClass.Current);
  if ((value & ~mxcsrMask) !== 0) {
    throw generalProtection();
  }
  lp.state.write32(lpOffset.mxcsr, value);
  return Outcome.Next;
}

/** STMXCSR—Store MXCSR Register State. */
function stmxcsr(lp: LogicalProcessor, insn: InstructionView): number {
  requireSimd(lp);
  const linear = lp.effectiveLinear(insn, 0, 4, true);
  lp.linear.write32(linear, lp.state.read32(lpOffset.mxcsr), AccessClass.Current);
  return Outcome.Next;
}

export const simdInstructions: InstructionTable = { Ldmxcsr: ldmxcsr, Stmxcsr: stmxcsr };
