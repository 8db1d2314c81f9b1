import { OpKind, Register } from "iced-x86";
import { MEMORY_BYTES } from "../../test/vectors/input-state.ts";
import { placeMemoryOperand } from "./addressing.ts";
import type { CaseBuilder } from "./case-builder.ts";
import { CODE_PAGES, LAYOUT } from "./layouts.ts";
import { generalRegister, highByteRegister, RBX, registerCount } from "./registers.ts";

const PAGE_FAULT = 14;
const GENERAL_PROTECTION = 13;

const FIXED_REGISTERS: Readonly<Record<string, Register>> = {
  al: Register.AL,
  cl: Register.CL,
  ax: Register.AX,
  eax: Register.EAX,
  rax: Register.RAX,
};

/** AH, CH, DH and BH are encodings 4 to 7 in 32-bit mode, and an alternative without REX in 64-bit mode. */
function byteRegister(builder: CaseBuilder, number: number): Register {
  if (builder.form.mode === 32) {
    return number < 4 ? generalRegister(number, 8) : highByteRegister(number - 4);
  }
  return number < 4 && builder.choose.onceIn(6)
    ? highByteRegister(number)
    : generalRegister(number, 8);
}

function chooseRegister(builder: CaseBuilder, operand: number, kind: string): void {
  const { choose, instruction, form } = builder;
  const number = form.recipe.register?.(builder, operand) ?? choose.below(registerCount(form.mode));
  const bits = builder.bitsOf(operand);
  instruction.setOpKind(operand, OpKind.Register);
  if (kind.startsWith("xmm")) instruction.setOpRegister(operand, Register.XMM0 + number);
  else if (bits === 8) instruction.setOpRegister(operand, byteRegister(builder, number));
  else instruction.setOpRegister(operand, generalRegister(number, bits));
}

/** Immediate operands: encoded size, and size after sign extension where the form extends. */
const IMMEDIATES: Readonly<Record<string, { bits: number; kind: OpKind }>> = {
  imm8: { bits: 8, kind: OpKind.Immediate8 },
  imm8_const_1: { bits: 8, kind: OpKind.Immediate8 },
  imm8sex16: { bits: 8, kind: OpKind.Immediate8to16 },
  imm8sex32: { bits: 8, kind: OpKind.Immediate8to32 },
  imm8sex64: { bits: 8, kind: OpKind.Immediate8to64 },
  imm16: { bits: 16, kind: OpKind.Immediate16 },
  imm32: { bits: 32, kind: OpKind.Immediate32 },
  imm32sex64: { bits: 32, kind: OpKind.Immediate32to64 },
  imm64: { bits: 64, kind: OpKind.Immediate64 },
};

function chooseImmediate(builder: CaseBuilder, operand: number, kind: string): void {
  const shape = IMMEDIATES[kind];
  if (shape === undefined) throw new Error(`${builder.form.name}: no immediate ${kind}`);
  const { instruction, form, choose } = builder;
  const wanted =
    kind === "imm8_const_1"
      ? 1n
      : (form.recipe.immediate?.(builder, operand, shape.bits) ?? choose.value(shape.bits));
  const second = shape.kind === OpKind.Immediate8 && operand === 1 && form.operands[0] === "imm16";
  instruction.setOpKind(operand, second ? OpKind.Immediate8_2nd : shape.kind);
  const signExtended = kind.includes("sex");
  const value = signExtended
    ? BigInt.asIntN(shape.bits, wanted)
    : BigInt.asUintN(shape.bits, wanted);
  if (second) instruction.immediate8_2nd = Number(value);
  else if (kind === "imm64") instruction.immediate64 = value;
  else if (signExtended) instruction.setImmediateI64(operand, value);
  else instruction.setImmediateU64(operand, value);
}

/** Branch targets lie on the code pages, never inside the instruction itself (at most 7 bytes for a relative branch). */
export function branchTarget(builder: CaseBuilder, reach: number): number {
  const { choose } = builder;
  const start = builder.layout.codeAddress;
  const first = Math.max(CODE_PAGES[0], start - reach);
  const last = Math.min(CODE_PAGES[1] + 4095, start + reach);
  for (;;) {
    const target = choose.between(first, last);
    if (target < start || target >= start + 16) return target;
  }
}

function chooseBranch(builder: CaseBuilder, operand: number, kind: string): void {
  const target = branchTarget(builder, kind.endsWith("_1") ? 120 : 8192);
  const { instruction, form } = builder;
  instruction.setOpKind(operand, form.mode === 64 ? OpKind.NearBranch64 : OpKind.NearBranch32);
  if (form.mode === 64) instruction.nearBranch64 = BigInt(target);
  else instruction.nearBranch32 = target;
}

const STRING_KINDS = {
  es_rDI: { 16: OpKind.MemoryESDI, 32: OpKind.MemoryESEDI, 64: OpKind.MemoryESRDI },
  seg_rSI: { 16: OpKind.MemorySegSI, 32: OpKind.MemorySegESI, 64: OpKind.MemorySegRSI },
  seg_rDI: { 16: OpKind.MemorySegDI, 32: OpKind.MemorySegEDI, 64: OpKind.MemorySegRDI },
} as const;

function isMemoryOperand(builder: CaseBuilder, kind: string): boolean {
  if (kind === "mem" || kind === "mem_offs") return true;
  return kind.endsWith("_or_mem") && builder.form.variant.memory;
}

function chooseImplied(builder: CaseBuilder, operand: number, kind: string): boolean {
  const { instruction, addressBits } = builder;
  const fixed = FIXED_REGISTERS[kind];
  if (fixed !== undefined) {
    instruction.setOpKind(operand, OpKind.Register);
    instruction.setOpRegister(operand, fixed);
    return true;
  }
  if (kind === "es_rDI" || kind === "seg_rSI" || kind === "seg_rDI") {
    instruction.setOpKind(operand, STRING_KINDS[kind][addressBits]);
    return true;
  }
  if (kind === "seg_rBX_al") {
    instruction.setOpKind(operand, OpKind.Memory);
    instruction.memoryBase = generalRegister(RBX, addressBits);
    instruction.memoryIndex = Register.AL;
    return true;
  }
  return false;
}

/** A target that reaches into the absent page behind the area, or is misaligned where that faults; else `undefined`. */
function faultingTarget(builder: CaseBuilder, size: number): number | undefined {
  const { recipe } = builder.form;
  const { alignment = 1 } = recipe;
  if (size === 0) return undefined;
  if (builder.layoutIndex === LAYOUT.pageEnd && !recipe.noPageFaults && builder.choose.onceIn(2)) {
    builder.expectFault(PAGE_FAULT);
    return alignment > 1 ? MEMORY_BYTES : MEMORY_BYTES - builder.choose.below(size);
  }
  if (alignment > 1 && builder.choose.onceIn(12)) {
    builder.expectFault(GENERAL_PROTECTION);
    const chunk = builder.choose.below(MEMORY_BYTES / alignment - 1) * alignment;
    return chunk + builder.choose.between(1, alignment - 1);
  }
  return undefined;
}

function chooseTarget(builder: CaseBuilder): number {
  const { recipe } = builder.form;
  const size = builder.memorySize;
  const own = recipe.memoryTarget?.(builder, size);
  if (own !== undefined) return own;
  const faulting = faultingTarget(builder, size);
  if (faulting !== undefined) return faulting;
  const offset = builder.offsetFor(size);
  return offset - (offset % (recipe.alignment ?? 1));
}

/** Chooses all operands of a case's instruction. */
export function chooseOperands(builder: CaseBuilder): void {
  let memoryKind: string | undefined;
  builder.form.operands.forEach((kind, operand) => {
    if (isMemoryOperand(builder, kind)) {
      memoryKind = kind;
      builder.instruction.setOpKind(operand, OpKind.Memory);
    } else if (chooseImplied(builder, operand, kind)) {
      return;
    } else if (kind.startsWith("imm")) {
      chooseImmediate(builder, operand, kind);
    } else if (kind.startsWith("br")) {
      chooseBranch(builder, operand, kind);
    } else if (/^(r\d+|xmm)_/.test(kind)) {
      chooseRegister(builder, operand, kind);
    } else {
      throw new Error(`${builder.form.name}: no operands of kind ${kind}`);
    }
  });
  if (memoryKind === undefined) return;
  const target = chooseTarget(builder);
  builder.memoryOffset = target;
  placeMemoryOperand(builder, memoryKind, target);
}
