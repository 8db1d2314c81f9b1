import { Outcome } from "../../execution/core-host.ts";
import { lpOffset, Segment } from "../../execution/lp-window.ts";
import { codeNumber } from "../../isa/instruction-names.ts";
import { AccessClass } from "../address-space.ts";
import { isCanonicalAddress } from "../canonical.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import type { InterceptedInstruction } from "../ports.ts";
import { cr4Bit } from "../register-bits.ts";
import { loadLdtr, loadTr } from "../segmentation.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";
import { writeRegister } from "./register-operands.ts";

const exits = (
  lp: LogicalProcessor,
  which: InterceptedInstruction,
  insn: InstructionView,
): boolean => lp.intercepts.nonRoot && lp.intercepts.instruction(which, insn, 0n);

/** User-mode instruction prevention: the places of the tables are not for programs to see. */
function checkUmip(lp: LogicalProcessor): void {
  if (lp.state.cpl > 0 && (lp.state.read32(lpOffset.cr4) & cr4Bit.UMIP) !== 0) {
    throw generalProtection();
  }
}

/** 16-bit operand size of LGDT and LIDT: the base has 24 bits. */
const shortForms = new Set([codeNumber("Lgdt_m1632_16"), codeNumber("Lidt_m1632_16")]);

interface Table {
  readonly base: "gdtrBase" | "idtrBase";
  readonly limit: number;
}
const gdtr: Table = { base: "gdtrBase", limit: lpOffset.gdtrLimit };
const idtr: Table = { base: "idtrBase", limit: lpOffset.idtrLimit };

/** LGDT, LIDT—Load Global/Interrupt Descriptor Table Register. */
const load =
  (table: Table, which: "LGDT" | "LIDT") =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    lp.requirePrivilege0();
    if (exits(lp, which, insn)) {
      return Outcome.Jump;
    }
    const wide = lp.is64Bit;
    const at = lp.effectiveLinear(insn, 0, wide ? 10 : 6, false);
    const limit = lp.linear.read16(at, AccessClass.Current);
    let base: bigint;
    if (wide) {
      base = lp.linear.read64(at + 2n, AccessClass.Current);
      if (!isCanonicalAddress(base)) {
        throw generalProtection();
      }
    } else {
      const mask = shortForms.has(insn.code) ? 0xff_ffff : 0xffff_ffff;
      base = BigInt((lp.linear.read32(at + 2n, AccessClass.Current) & mask) >>> 0);
    }
    lp.state.set(table.base, base);
    lp.state.write32(table.limit, limit);
    return Outcome.Next;
  };

/** SGDT, SIDT—Store Global/Interrupt Descriptor Table Register. */
const store =
  (table: Table, which: "SGDT" | "SIDT") =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    checkUmip(lp);
    if (exits(lp, which, insn)) {
      return Outcome.Jump;
    }
    const wide = lp.is64Bit;
    const bytes = wide ? 10 : 6;
    const at = lp.effectiveLinear(insn, 0, bytes, true);
    const image = new DataView(new ArrayBuffer(10));
    image.setUint16(0, lp.state.read32(table.limit), true);
    image.setBigUint64(2, lp.state.get(table.base), true);
    lp.linear.writeBytes(at, new Uint8Array(image.buffer, 0, bytes), AccessClass.Current);
    return Outcome.Next;
  };

/** LLDT, LTR and their stores exist in protected mode only. */
function requireProtected(lp: LogicalProcessor): void {
  if (!lp.isProtected) {
    throw undefinedOpcode();
  }
}

function readSelector(lp: LogicalProcessor, insn: InstructionView): number {
  return insn.isMemory
    ? lp.linear.read16(lp.effectiveLinear(insn, 0, 2, false), AccessClass.Current)
    : lp.state.gpr32(insn.destination) & 0xffff;
}

/** LLDT—Load Local Descriptor Table Register; LTR—Load Task Register. */
const loadSystemSegment =
  (which: "LLDT" | "LTR") =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    requireProtected(lp);
    lp.requirePrivilege0();
    if (exits(lp, which, insn)) {
      return Outcome.Jump;
    }
    const selector = readSelector(lp, insn);
    if (which === "LLDT") {
      loadLdtr(lp, selector);
    } else {
      loadTr(lp, selector);
    }
    return Outcome.Next;
  };

/** SLDT—Store Local Descriptor Table Register; STR—Store Task Register. */
const storeSystemSegment =
  (which: "SLDT" | "STR", segment: number) =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    requireProtected(lp);
    checkUmip(lp);
    if (exits(lp, which, insn)) {
      return Outcome.Jump;
    }
    const selector = lp.state.selector(segment);
    if (insn.isMemory) {
      lp.linear.write16(lp.effectiveLinear(insn, 0, 2, true), selector, AccessClass.Current);
    } else {
      writeRegister(lp.state, insn.destination, insn.operandSize, BigInt(selector));
    }
    return Outcome.Next;
  };

export const descriptorTableInstructions: InstructionTable = {
  Lgdt: load(gdtr, "LGDT"),
  Lidt: load(idtr, "LIDT"),
  Sgdt: store(gdtr, "SGDT"),
  Sidt: store(idtr, "SIDT"),
  Lldt: loadSystemSegment("LLDT"),
  Ltr: loadSystemSegment("LTR"),
  Sldt: storeSystemSegment("SLDT", Segment.LDTR),
  Str: storeSystemSegment("STR", Segment.TR),
};
