/** HLT, PAUSE, MONITOR, MWAIT. */
import { Outcome } from "../../execution/core-host.ts";
import { Activity, Segment } from "../../execution/lp-window.ts";
import { codeNumber } from "../../isa/instruction-names.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { armMonitor, disarmMonitor, waitForMonitor } from "../monitor.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";

/** HLT—Halt. */
function hlt(lp: LogicalProcessor, insn: InstructionView): number {
  lp.requirePrivilege0();
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("HLT", insn, 0n)) {
    return Outcome.Jump;
  }
  lp.state.activity = Activity.Halted;
  lp.requestEvents();
  return Outcome.NextAndLeave;
}

/** PAUSE—Spin Loop Hint. */
function pause(lp: LogicalProcessor, insn: InstructionView): number {
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("PAUSE", insn, 0n)) {
    return Outcome.Jump;
  }
  lp.clock.charge?.("pause");
  lp.clock.relax?.();
  return Outcome.Next;
}

const rax = 0;
const rcx = 1;
const addressBits = new Map([
  [codeNumber("Monitorw"), 16],
  [codeNumber("Monitord"), 32],
  [codeNumber("Monitorq"), 64],
]);

function requireMonitor(lp: LogicalProcessor): void {
  if (lp.state.cpl !== 0) {
    throw undefinedOpcode();
  }
}

/** MONITOR—Set Up Monitor Address. */
function monitor(lp: LogicalProcessor, insn: InstructionView): number {
  requireMonitor(lp);
  const { state } = lp;
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("MONITOR", insn, 0n)) {
    return Outcome.Jump;
  }
  if (state.gpr32(rcx) !== 0) {
    throw generalProtection();
  }
  const offset = BigInt.asUintN(addressBits.get(insn.code) ?? 64, state.gpr(rax));
  const linear = lp.segmentLinear(Segment.DS, offset, 1, false);
  const physical = lp.linear.translate(linear, false, AccessClass.Current);
  if (lp.physical.isPlain(physical)) {
    armMonitor(lp, physical);
  } else {
    disarmMonitor(lp);
  }
  return Outcome.Next;
}

/** MWAIT—Monitor Wait. Bit 0 of ECX: masked interrupts end the wait too. */
function mwait(lp: LogicalProcessor, insn: InstructionView): number {
  requireMonitor(lp);
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("MWAIT", insn, 0n)) {
    return Outcome.Jump;
  }
  const extensions = lp.state.gpr32(rcx);
  if (extensions > 1) {
    throw generalProtection();
  }
  waitForMonitor(lp, extensions === 1);
  lp.requestEvents();
  return Outcome.NextAndLeave;
}

export const waitingInstructions: InstructionTable = {
  Hlt: hlt,
  Pause: pause,
  Monitor: monitor,
  Mwait: mwait,
};
