import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { cr4Bit } from "../register-bits.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";
import { writeEdxEax } from "./register-operands.ts";

const Gpr = { rax: 0, rcx: 1, rdx: 2 } as const;

/** @throws #UD without CR4.PKE, #GP(0) when one of the registers that must be zero is not */
function requireKeys(lp: LogicalProcessor, ...zeros: readonly number[]): void {
  if ((lp.state.low("cr4") & cr4Bit.PKE) === 0) {
    throw undefinedOpcode();
  }
  if (zeros.some((gpr) => lp.state.gpr32(gpr) !== 0)) {
    throw generalProtection();
  }
}

/** RDPKRU—Read Protection Key Rights for User Pages. */
function rdpkru(lp: LogicalProcessor): number {
  requireKeys(lp, Gpr.rcx);
  writeEdxEax(lp.state, BigInt(lp.state.read32(lpOffset.pkru)));
  return Outcome.Next;
}

/** WRPKRU—Write Data to User Page Key Register. */
function wrpkru(lp: LogicalProcessor): number {
  requireKeys(lp, Gpr.rcx, Gpr.rdx);
  lp.addressSpace.loadKeys(lpOffset.pkru, lp.state.gpr32(Gpr.rax));
  return Outcome.Next;
}

export const protectionKeyInstructions: InstructionTable = { Rdpkru: rdpkru, Wrpkru: wrpkru };
