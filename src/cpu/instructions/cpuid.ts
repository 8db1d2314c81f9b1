import { Outcome } from "../../execution/core-host.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { miscFeaturesEnables } from "../msr-table.ts";
import { generalProtection } from "../trap.ts";

/** CPUID—CPU Identification. Faults above privilege level 0 when CPUID faulting is enabled. */
function cpuid(lp: LogicalProcessor, insn: InstructionView): number {
  const { state } = lp;
  const isFaulting = state.cpl !== 0 && lp.msrs.read(miscFeaturesEnables) === 1n;
  if (isFaulting) {
    throw generalProtection();
  }
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("CPUID", insn, 0n)) {
    return Outcome.Jump;
  }
  const { eax, ebx, ecx, edx } = lp.cpuid.query(state.gpr32(0), state.gpr32(1));
  state.setGpr32(0, eax);
  state.setGpr32(3, ebx);
  state.setGpr32(1, ecx);
  state.setGpr32(2, edx);
  return Outcome.Next;
}

export const cpuidInstructions: InstructionTable = { Cpuid: cpuid };
