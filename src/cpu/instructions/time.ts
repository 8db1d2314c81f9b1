import { Outcome } from "../../execution/core-host.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { cr4Bit } from "../register-bits.ts";
import { readTimeStampCounter } from "../time-stamp-counter.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";
import { writeEdxEax, writeRegister } from "./register-operands.ts";

/** CR4.TSD keeps the time-stamp counter from programs. */
function requireTimeAccess(lp: LogicalProcessor): void {
  if ((lp.state.low("cr4") & cr4Bit.TSD) !== 0 && lp.state.cpl !== 0) {
    throw generalProtection();
  }
}

function loadTime(lp: LogicalProcessor): void {
  const time = readTimeStampCounter(lp);
  writeEdxEax(lp.state, lp.intercepts.nonRoot ? lp.intercepts.guestTsc(time) : time);
}

/** RDTSC—Read Time-Stamp Counter. */
function rdtsc(lp: LogicalProcessor, insn: InstructionView): number {
  requireTimeAccess(lp);
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("RDTSC", insn, 0n)) {
    return Outcome.Jump;
  }
  loadTime(lp);
  return Outcome.Next;
}

/** RDTSCP—Read Time-Stamp Counter and Processor ID. */
function rdtscp(lp: LogicalProcessor, insn: InstructionView): number {
  const { nonRoot } = lp.intercepts;
  if (nonRoot && lp.intercepts.isUndefined("RDTSCP")) {
    throw undefinedOpcode();
  }
  requireTimeAccess(lp);
  if (nonRoot && lp.intercepts.instruction("RDTSCP", insn, 0n)) {
    return Outcome.Jump;
  }
  loadTime(lp);
  lp.state.setGpr32(1, Number(lp.state.get("tscAux")));
  return Outcome.Next;
}

/** RDPID—Read Processor ID. */
function rdpid(lp: LogicalProcessor, insn: InstructionView): number {
  if (lp.intercepts.nonRoot && lp.intercepts.isUndefined("RDTSCP")) {
    throw undefinedOpcode();
  }
  writeRegister(lp.state, insn.destination, lp.is64Bit ? 8 : 4, lp.state.get("tscAux"));
  return Outcome.Next;
}

/** RDPMC—Read Performance-Monitoring Counters: the models have none, so every counter number is bad. */
function rdpmc(lp: LogicalProcessor, insn: InstructionView): number {
  if ((lp.state.low("cr4") & cr4Bit.PCE) === 0 && lp.state.cpl !== 0) {
    throw generalProtection();
  }
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("RDPMC", insn, 0n)) {
    return Outcome.Jump;
  }
  throw generalProtection();
}

export const timeInstructions: InstructionTable = {
  Rdtsc: rdtsc,
  Rdtscp: rdtscp,
  Rdpid: rdpid,
  Rdpmc: rdpmc,
};
