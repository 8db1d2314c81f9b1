import type { InterceptedInstruction } from "../cpu/ports.ts";
import { primary, secondary } from "./controls.ts";
import { exitReason } from "./exit-reasons.ts";

/** When an instruction exits, and what its exit tells. */
export interface InterceptRow {
  readonly reason: number;
  /** Controls any of which makes it exit; none at all: it always does. */
  readonly primary?: number;
  readonly secondary?: number;
  /** Exit qualification: 0, the operand that the instruction passes, or the displacement of its memory operand. */
  readonly qualification?: "operand" | "displacement";
  readonly information?: "memory" | "memory-and-register" | "table" | "selector" | "register";
}

const descriptorTables = {
  secondary: secondary.descriptorTableExiting,
  qualification: "displacement",
} as const;
const tableAccess = {
  ...descriptorTables,
  reason: exitReason.gdtrOrIdtrAccess,
  information: "table",
} as const;
const selectorAccess = {
  ...descriptorTables,
  reason: exitReason.ldtrOrTrAccess,
  information: "selector",
} as const;
const memoryOperand = { qualification: "displacement", information: "memory" } as const;
const typedOperand = {
  qualification: "displacement",
  information: "memory-and-register",
} as const;

/**
 * "Instructions That Cause VM Exits": those whose exit a control decides, or nothing. The others (MSRs, MWAIT, XSAVES,
 * VMREAD…) are handled where they are asked about.
 */
export const interceptTable: Partial<Record<InterceptedInstruction, InterceptRow>> = {
  CPUID: { reason: exitReason.cpuid },
  GETSEC: { reason: exitReason.getsec },
  INVD: { reason: exitReason.invd },
  XSETBV: { reason: exitReason.xsetbv },
  RSM: { reason: exitReason.rsm },
  HLT: { reason: exitReason.hlt, primary: primary.hltExiting },
  INVLPG: {
    reason: exitReason.invlpg,
    primary: primary.invlpgExiting,
    qualification: "operand",
  },
  INVPCID: { reason: exitReason.invpcid, primary: primary.invlpgExiting, ...typedOperand },
  RDPMC: { reason: exitReason.rdpmc, primary: primary.rdpmcExiting },
  RDTSC: { reason: exitReason.rdtsc, primary: primary.rdtscExiting },
  RDTSCP: { reason: exitReason.rdtscp, primary: primary.rdtscExiting },
  MONITOR: { reason: exitReason.monitor, primary: primary.monitorExiting },
  WBINVD: { reason: exitReason.wbinvd, secondary: secondary.wbinvdExiting },
  WBNOINVD: { reason: exitReason.wbinvd, secondary: secondary.wbinvdExiting },
  RDRAND: {
    reason: exitReason.rdrand,
    secondary: secondary.rdrandExiting,
    information: "register",
  },
  RDSEED: {
    reason: exitReason.rdseed,
    secondary: secondary.rdseedExiting,
    information: "register",
  },
  SGDT: tableAccess,
  SIDT: tableAccess,
  LGDT: tableAccess,
  LIDT: tableAccess,
  SLDT: selectorAccess,
  STR: selectorAccess,
  LLDT: selectorAccess,
  LTR: selectorAccess,
  VMCALL: { reason: exitReason.vmcall },
  VMLAUNCH: { reason: exitReason.vmlaunch },
  VMRESUME: { reason: exitReason.vmresume },
  VMXOFF: { reason: exitReason.vmxoff },
  VMCLEAR: { reason: exitReason.vmclear, ...memoryOperand },
  VMPTRLD: { reason: exitReason.vmptrld, ...memoryOperand },
  VMPTRST: { reason: exitReason.vmptrst, ...memoryOperand },
  VMFUNC: { reason: exitReason.vmfunc },
  VMXON: { reason: exitReason.vmxon, ...memoryOperand },
  INVEPT: { reason: exitReason.invept, ...typedOperand },
  INVVPID: { reason: exitReason.invvpid, ...typedOperand },
};
