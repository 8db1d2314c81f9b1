import type { InstructionTable } from "../../cpu/logical-processor.ts";
import type { VmxParts } from "../vmx-parts.ts";
import { invept } from "./invept.ts";
import { invvpid } from "./invvpid.ts";
import { vmcall } from "./vmcall.ts";
import { vmclear } from "./vmclear.ts";
import { vmfunc } from "./vmfunc.ts";
import { vmptrld } from "./vmptrld.ts";
import { vmptrst } from "./vmptrst.ts";
import { vmread } from "./vmread.ts";
import { vmwrite } from "./vmwrite.ts";
import { vmxoff } from "./vmxoff.ts";
import { vmxon } from "./vmxon.ts";

/** The VMX instructions of one LP, by iced's names. */
export function vmxInstructions(parts: VmxParts): InstructionTable {
  return {
    Vmcall: (_lp, insn) => vmcall(parts, insn),
    Vmclear: (_lp, insn) => vmclear(parts, insn),
    Vmfunc: (_lp, insn) => vmfunc(parts, insn),
    Vmlaunch: (_lp, insn) => parts.entries.enter(insn, true),
    Vmptrld: (_lp, insn) => vmptrld(parts, insn),
    Vmptrst: (_lp, insn) => vmptrst(parts, insn),
    Vmread: (_lp, insn) => vmread(parts, insn),
    Vmresume: (_lp, insn) => parts.entries.enter(insn, false),
    Vmwrite: (_lp, insn) => vmwrite(parts, insn),
    Vmxoff: (_lp, insn) => vmxoff(parts, insn),
    Vmxon: (_lp, insn) => vmxon(parts, insn),
    Invept: (_lp, insn) => invept(parts, insn),
    Invvpid: (_lp, insn) => invvpid(parts, insn),
  };
}
