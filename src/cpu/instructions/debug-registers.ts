import { Outcome } from "../../execution/core-host.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { cr4Bit, dr6Bit, dr6Reset, dr7Bit, dr7Reset } from "../register-bits.ts";
import { debugException, generalProtection, undefinedOpcode } from "../trap.ts";
import { writeRegister } from "./register-operands.ts";

const dr6Writable =
  dr6Bit.B0 | dr6Bit.B1 | dr6Bit.B2 | dr6Bit.B3 | dr6Bit.BD | dr6Bit.BS | dr6Bit.BT;
/** Enables, LE, GE, GD, and the condition and length fields. */
const dr7Writable = (0xffff_0000 | 0xff | dr7Bit.LE | dr7Bit.GE | dr7Bit.GD) >>> 0;
const breakpointAddress = ["dr0", "dr1", "dr2", "dr3"] as const;

/**
 * What MOV to and from a debug register checks, in this order: VM exit, CPL, DR4 and DR5 that debug extensions take away,
 * general detection.
 * @returns the register without its alias, or "exit" when a VM exit was taken
 */
function admit(
  lp: LogicalProcessor,
  insn: InstructionView,
  register: number,
  gpr: number,
  isRead: boolean,
): number | "exit" {
  if (lp.intercepts.nonRoot && lp.intercepts.moveDebug(register, isRead, gpr, insn)) {
    return "exit";
  }
  lp.requirePrivilege0();
  const isAlias = register === 4 || register === 5;
  if (isAlias && (lp.state.low("cr4") & cr4Bit.DE) !== 0) {
    throw undefinedOpcode();
  }
  if (lp.breakpoints.generalDetect) {
    throw debugException(dr6Bit.BD);
  }
  return isAlias ? register + 2 : register;
}

/** MOV—Move to/from Debug Registers: to. */
function movToDebug(lp: LogicalProcessor, insn: InstructionView): number {
  const { state } = lp;
  const gpr = insn.source;
  const register = admit(lp, insn, insn.destination, gpr, false);
  if (register === "exit") {
    return Outcome.Jump;
  }
  const value = lp.is64Bit ? state.gpr(gpr) : BigInt(state.gpr32(gpr));
  const name = breakpointAddress[register];
  if (name !== undefined) {
    state.set(name, value);
  } else if (value >> 32n !== 0n) {
    throw generalProtection();
  } else if (register === 6) {
    state.setLow("dr6", (dr6Reset | (Number(value) & dr6Writable)) >>> 0);
  } else {
    state.setLow("dr7", (dr7Reset | (Number(value) & dr7Writable)) >>> 0);
  }
  lp.debugRegistersChanged();
  return Outcome.Next;
}

/** MOV—Move to/from Debug Registers: from. */
function movFromDebug(lp: LogicalProcessor, insn: InstructionView): number {
  const { state } = lp;
  const gpr = insn.destination;
  const register = admit(lp, insn, insn.source, gpr, true);
  if (register === "exit") {
    return Outcome.Jump;
  }
  const name = breakpointAddress[register] ?? (register === 6 ? "dr6" : "dr7");
  writeRegister(state, gpr, lp.is64Bit ? 8 : 4, state.get(name));
  return Outcome.Next;
}

export const debugRegisterInstructions: InstructionTable = {
  Mov_dr_r32: movToDebug,
  Mov_dr_r64: movToDebug,
  Mov_r32_dr: movFromDebug,
  Mov_r64_dr: movFromDebug,
};
