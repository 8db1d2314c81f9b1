import { Outcome } from "../../execution/core-host.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { generalProtection } from "../trap.ts";
import { readEdxEax, writeEdxEax } from "./register-operands.ts";

const timeStampCounter = 0x10;

/** RDMSR—Read From Model Specific Register. */
function rdmsr(lp: LogicalProcessor, insn: InstructionView): number {
  lp.requirePrivilege0();
  const address = lp.state.gpr32(1);
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("RDMSR", insn, BigInt(address))) {
    return Outcome.Jump;
  }
  const virtual = lp.intercepts.nonRoot ? lp.intercepts.readApicMsr(address) : undefined;
  const value = virtual ?? lp.msrs.read(address);
  if (value === undefined) {
    throw generalProtection();
  }
  const isGuestTime = address === timeStampCounter && lp.intercepts.nonRoot;
  writeEdxEax(lp.state, isGuestTime ? lp.intercepts.guestTsc(value) : value);
  return Outcome.Next;
}

/** WRMSR—Write to Model Specific Register. */
function wrmsr(lp: LogicalProcessor, insn: InstructionView): number {
  lp.requirePrivilege0();
  const address = lp.state.gpr32(1);
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("WRMSR", insn, BigInt(address))) {
    return Outcome.Jump;
  }
  const value = readEdxEax(lp.state);
  if (lp.intercepts.nonRoot && lp.intercepts.writeApicMsr(address, value)) {
    return Outcome.Next;
  }
  if (!lp.msrs.write(address, value)) {
    throw generalProtection();
  }
  return Outcome.Next;
}

export const msrInstructions: InstructionTable = { Rdmsr: rdmsr, Wrmsr: wrmsr };
