/** MMX: the moves of whole registers, MASKMOVQ, EMMS, and what every instruction on MMX registers goes through. */
import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import { cr0Bit } from "../register-bits.ts";
import { deviceNotAvailable, undefinedOpcode } from "../trap.ts";
import { enterMmx, readMmx, writeMmx } from "../x87/register-stack.ts";
import { readMemoryOperand } from "./memory-operands.ts";
import { writeRegister } from "./register-operands.ts";
import { requireSimd } from "./simd.ts";
import { requireNoPendingException } from "./x87.ts";

/** @throws #UD with CR0.EM, #NM with CR0.TS, #MF when an x87 exception is pending */
function requireMmx(lp: LogicalProcessor): void {
  const cr0 = lp.state.low("cr0");
  if ((cr0 & cr0Bit.EM) !== 0) {
    throw undefinedOpcode();
  }
  if ((cr0 & cr0Bit.TS) !== 0) {
    throw deviceNotAvailable();
  }
  requireNoPendingException(lp);
}

/** The MMX registers, as an operation sees them once nothing can fault any more. */
export interface MmxRegisters {
  read(register: number): bigint;
  write(register: number, value: bigint): void;
}

/**
 * An instruction on MMX registers: it reads its operands, which may fault, and then what it writes puts the FPU into MMX state.
 * @param also "vector" when it works on XMM registers too, which CR4.OSFXSR must allow
 */
export function mmxOperation(
  operation: (registers: MmxRegisters, lp: LogicalProcessor, insn: InstructionView) => void,
  also?: "vector",
): InstructionHandler {
  return (lp, insn) => {
    const { state } = lp;
    if (also === "vector") {
      requireSimd(lp);
    }
    requireMmx(lp);
    const registers: MmxRegisters = {
      read: (register) => readMmx(state, register),
      write: (register, value) => writeMmx(state, register, value),
    };
    operation(registers, lp, insn);
    enterMmx(state);
    return Outcome.Next;
  };
}

/** The source operand: an MMX register, or `size` bytes of memory. */
export function readMmxSource(
  lp: LogicalProcessor,
  insn: InstructionView,
  size: 2 | 4 | 8,
): bigint {
  if (!insn.isMemory) {
    return readMmx(lp.state, insn.source);
  }
  return readMemoryOperand(lp, insn, size);
}

/** MOVD and MOVQ into an MMX register. */
const load =
  (size: 4 | 8, from: "general" | "mmx"): InstructionHandler =>
  (lp, insn) => {
    requireMmx(lp);
    const value = readSource(lp, insn, size, from);
    enterMmx(lp.state);
    writeMmx(lp.state, insn.destination, value);
    return Outcome.Next;
  };

function readSource(
  lp: LogicalProcessor,
  insn: InstructionView,
  size: 4 | 8,
  from: "general" | "mmx",
): bigint {
  if (insn.isMemory) {
    const linear = lp.effectiveLinear(insn, 0, size, false);
    return size === 8
      ? lp.linear.read64(linear, AccessClass.Current)
      : BigInt(lp.linear.read32(linear, AccessClass.Current));
  }
  if (from === "mmx") {
    return readMmx(lp.state, insn.source);
  }
  return size === 8 ? lp.state.gpr(insn.source) : BigInt(lp.state.gpr32(insn.source));
}

/** MOVD and MOVQ out of an MMX register. */
const store =
  (size: 4 | 8, to: "general" | "mmx"): InstructionHandler =>
  (lp, insn) => {
    requireMmx(lp);
    const value = readMmx(lp.state, insn.source);
    if (insn.isMemory) {
      const linear = lp.effectiveLinear(insn, 0, size, true);
      if (size === 8) {
        lp.linear.write64(linear, value, AccessClass.Current);
      } else {
        lp.linear.write32(linear, Number(value & 0xffff_ffffn), AccessClass.Current);
      }
    }
    enterMmx(lp.state);
    if (!insn.isMemory && to === "mmx") {
      writeMmx(lp.state, insn.destination, value);
    } else if (!insn.isMemory) {
      writeRegister(lp.state, insn.destination, size, value);
    }
    return Outcome.Next;
  };

/** MASKMOVQ—Store Selected Bytes of Quadword, at DS:rDI or where a prefix says. */
const maskmovq = mmxOperation((registers, lp, insn) => {
  const { addressSize } = insn;
  const offset = BigInt.asUintN(addressSize * 8, lp.state.gpr(7));
  const [value, mask] = [registers.read(insn.source), registers.read(insn.third)];
  for (let n = 0; n < 8; n++) {
    if (((mask >> BigInt(n * 8 + 7)) & 1n) !== 0n) {
      const at = BigInt.asUintN(addressSize * 8, offset + BigInt(n));
      const linear = lp.segmentLinear(insn.segment, at, 1, true);
      lp.linear.write8(linear, Number((value >> BigInt(n * 8)) & 0xffn), AccessClass.Current);
    }
  }
});

/** EMMS—Empty MMX Technology State. */
function emms(lp: LogicalProcessor): number {
  requireMmx(lp);
  lp.state.write16(lpOffset.ftw, 0xffff);
  return Outcome.Next;
}

export const mmxInstructions: InstructionTable = {
  Movd_mm_rm32: load(4, "general"),
  Movq_mm_rm64: load(8, "general"),
  Movq_mm_mmm64: load(8, "mmx"),
  Movd_rm32_mm: store(4, "general"),
  Movq_rm64_mm: store(8, "general"),
  Movq_mmm64_mm: store(8, "mmx"),
  Movntq_m64_mm: store(8, "mmx"),
  Maskmovq_rDI_mm_mm: maskmovq,
  Emms: emms,
};
