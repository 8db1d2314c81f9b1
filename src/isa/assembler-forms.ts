import {
  Code,
  CodeExt,
  EncodingKind,
  Instruction,
  MemorySizeExt,
  type Mnemonic,
  type OpCodeInfo,
  OpCodeOperandKind,
  OpKind,
  Register,
} from "iced-x86";
import { present } from "../base/assert.ts";
import type { MemoryOperand, Operand, RegisterClass, Value } from "./assembler-operands.ts";

/**
 * Which encodings a mnemonic has, and whether given operands fit one. Everything here is read from iced's instruction
 * tables at the first use of a mnemonic; nothing about a single instruction is written down in the project.
 */
export type Bits = 16 | 32 | 64;
export type Prefix = "lock" | "rep" | "repe" | "repne";
const K = OpCodeOperandKind;

export interface Form {
  readonly code: Code;
  readonly operandKinds: readonly OpCodeOperandKind[];
  readonly modes: readonly Bits[];
  /** Operand size in bits, 0 when the form does not depend on it. */
  readonly operandSize: number;
  /** Address size in bits, 0 when the form does not depend on it. */
  readonly addressSize: number;
  /** Size of the memory operand in bits, 0 when it has none of a fixed size. */
  readonly memoryBits: number;
  /** In 64-bit code the operand size is 64 without a prefix. */
  readonly defaultsTo64: boolean;
  readonly prefixes: ReadonlySet<Prefix>;
}

const registerKinds: ReadonlyMap<OpCodeOperandKind, RegisterClass> = new Map([
  [K.r8_or_mem, "r8"],
  [K.r16_or_mem, "r16"],
  [K.r32_or_mem, "r32"],
  [K.r64_or_mem, "r64"],
  [K.mm_or_mem, "mm"],
  [K.xmm_or_mem, "xmm"],
  [K.ymm_or_mem, "ymm"],
  [K.zmm_or_mem, "zmm"],
  [K.r8_reg, "r8"],
  [K.r8_opcode, "r8"],
  [K.r16_reg, "r16"],
  [K.r16_rm, "r16"],
  [K.r16_opcode, "r16"],
  [K.r32_reg, "r32"],
  [K.r32_rm, "r32"],
  [K.r32_opcode, "r32"],
  [K.r32_vvvv, "r32"],
  [K.r64_reg, "r64"],
  [K.r64_rm, "r64"],
  [K.r64_opcode, "r64"],
  [K.r64_vvvv, "r64"],
  [K.seg_reg, "segment"],
  [K.mm_reg, "mm"],
  [K.mm_rm, "mm"],
  [K.xmm_reg, "xmm"],
  [K.xmm_rm, "xmm"],
  [K.xmm_vvvv, "xmm"],
  [K.xmm_is4, "xmm"],
  [K.ymm_reg, "ymm"],
  [K.ymm_rm, "ymm"],
  [K.ymm_vvvv, "ymm"],
  [K.ymm_is4, "ymm"],
  [K.zmm_reg, "zmm"],
  [K.zmm_rm, "zmm"],
  [K.zmm_vvvv, "zmm"],
  [K.cr_reg, "control"],
  [K.dr_reg, "debug"],
  [K.sti_opcode, "st"],
] as const);

/** Kinds of operand that are one register, whatever the encoding says. */
export const fixedRegisters: ReadonlyMap<OpCodeOperandKind, Register> = new Map([
  [K.es, Register.ES],
  [K.cs, Register.CS],
  [K.ss, Register.SS],
  [K.ds, Register.DS],
  [K.fs, Register.FS],
  [K.gs, Register.GS],
  [K.al, Register.AL],
  [K.cl, Register.CL],
  [K.ax, Register.AX],
  [K.dx, Register.DX],
  [K.eax, Register.EAX],
  [K.rax, Register.RAX],
  [K.st0, Register.ST0],
] as const);

const memoryKinds: ReadonlySet<OpCodeOperandKind> = new Set([
  K.mem,
  K.r8_or_mem,
  K.r16_or_mem,
  K.r32_or_mem,
  K.r64_or_mem,
  K.mm_or_mem,
  K.xmm_or_mem,
  K.ymm_or_mem,
  K.zmm_or_mem,
]);

const vectorMemoryKinds: ReadonlyMap<OpCodeOperandKind, RegisterClass> = new Map([
  [K.mem_vsib32x, "xmm"],
  [K.mem_vsib64x, "xmm"],
  [K.mem_vsib32y, "ymm"],
  [K.mem_vsib64y, "ymm"],
  [K.mem_vsib32z, "zmm"],
  [K.mem_vsib64z, "zmm"],
] as const);

/** Immediates: bits stored, bits after sign extension, and how iced calls the operand of an instruction. */
interface ImmediateKind {
  readonly stored: number;
  readonly extended: number;
  readonly kind: OpKind;
}

export const immediateKinds: ReadonlyMap<OpCodeOperandKind, ImmediateKind> = new Map([
  [K.imm8, { stored: 8, extended: 8, kind: OpKind.Immediate8 }],
  [K.imm8sex16, { stored: 8, extended: 16, kind: OpKind.Immediate8to16 }],
  [K.imm8sex32, { stored: 8, extended: 32, kind: OpKind.Immediate8to32 }],
  [K.imm8sex64, { stored: 8, extended: 64, kind: OpKind.Immediate8to64 }],
  [K.imm16, { stored: 16, extended: 16, kind: OpKind.Immediate16 }],
  [K.imm32, { stored: 32, extended: 32, kind: OpKind.Immediate32 }],
  [K.imm32sex64, { stored: 32, extended: 64, kind: OpKind.Immediate32to64 }],
  [K.imm64, { stored: 64, extended: 64, kind: OpKind.Immediate64 }],
  [K.imm8_const_1, { stored: 8, extended: 8, kind: OpKind.Immediate8 }],
]);

interface BranchKind {
  readonly bits: Bits;
  readonly kind: OpKind;
}

export const branchKinds: ReadonlyMap<OpCodeOperandKind, BranchKind> = new Map([
  [K.br16_1, { bits: 16, kind: OpKind.NearBranch16 }],
  [K.br16_2, { bits: 16, kind: OpKind.NearBranch16 }],
  [K.br32_1, { bits: 32, kind: OpKind.NearBranch32 }],
  [K.br32_4, { bits: 32, kind: OpKind.NearBranch32 }],
  [K.br64_1, { bits: 64, kind: OpKind.NearBranch64 }],
  [K.br64_4, { bits: 64, kind: OpKind.NearBranch64 }],
] as const);

export const farKinds: ReadonlyMap<OpCodeOperandKind, OpKind> = new Map([
  [K.farbr2_2, OpKind.FarBranch16],
  [K.farbr4_2, OpKind.FarBranch32],
]);

/** XLAT's table base, by address size. */
export const xlatBase: Readonly<Record<Bits, Register>> = {
  16: Register.BX,
  32: Register.EBX,
  64: Register.RBX,
};

/** The memory operands of string instructions, by address size. */
export const stringKinds: ReadonlyMap<OpCodeOperandKind, Readonly<Record<Bits, OpKind>>> = new Map([
  [K.seg_rSI, { 16: OpKind.MemorySegSI, 32: OpKind.MemorySegESI, 64: OpKind.MemorySegRSI }],
  [K.es_rDI, { 16: OpKind.MemoryESDI, 32: OpKind.MemoryESEDI, 64: OpKind.MemoryESRDI }],
  [K.seg_rDI, { 16: OpKind.MemorySegDI, 32: OpKind.MemorySegEDI, 64: OpKind.MemorySegRDI }],
]);

function mnemonicTable(): ReadonlyMap<Mnemonic, readonly Code[]> {
  const table = new Map<Mnemonic, Code[]>();
  const probe = new Instruction();
  for (const code of Object.values(Code)) {
    if (typeof code === "number") {
      probe.code = code;
      const codes = table.get(probe.mnemonic) ?? [];
      codes.push(code);
      table.set(probe.mnemonic, codes);
    }
  }
  probe.free();
  return table;
}

const codesByMnemonic = mnemonicTable();
const formsByCode = new Map<Code, Form | undefined>();

/** The code sizes in which an Intel processor decodes this form. */
function modesOf(info: OpCodeInfo): readonly Bits[] {
  const decodes = { 16: info.intelDecoder16, 32: info.intelDecoder32, 64: info.intelDecoder64 };
  return ([16, 32, 64] as const).filter((bits) => decodes[bits]);
}

function prefixesOf(info: OpCodeInfo): ReadonlySet<Prefix> {
  const prefixes: Prefix[] = [];
  if (info.canUseLockPrefix) {
    prefixes.push("lock");
  }
  if (info.canUseRepPrefix) {
    prefixes.push("rep", "repe");
  }
  if (info.canUseRepnePrefix) {
    prefixes.push("repne");
  }
  return new Set(prefixes);
}

/**
 * Reads one form; undefined for what the decoder accepts on request only (retired or never shipped encodings) and for
 * 3DNow!, which no Intel processor has and whose extended registers iced does not encode.
 */
function readForm(code: Code): Form | undefined {
  const info = CodeExt.opCode(code);
  try {
    const isRetired = info.decoderOption !== 0 || info.encoding === EncodingKind.D3NOW;
    if (!info.isInstruction || isRetired) {
      return undefined;
    }
    return {
      code,
      operandKinds: Array.from({ length: info.opCount }, (_, operand) => info.opKind(operand)),
      modes: modesOf(info),
      operandSize: info.operandSize,
      addressSize: info.addressSize,
      memoryBits: 8 * MemorySizeExt.size(info.memorySize),
      defaultsTo64: info.defaultOpSize64 || info.forceOpSize64,
      prefixes: prefixesOf(info),
    };
  } finally {
    info.free();
  }
}

export function formOf(code: Code): Form | undefined {
  if (!formsByCode.has(code)) {
    formsByCode.set(code, readForm(code));
  }
  return formsByCode.get(code);
}

/** All forms of a mnemonic, in iced's order. */
export function formsOf(mnemonic: Mnemonic): readonly Form[] {
  const codes = codesByMnemonic.get(mnemonic) ?? [];
  return codes.map(formOf).filter((form) => form !== undefined);
}

export function isValue(operand: Operand): operand is Value {
  return typeof operand !== "object" || operand.kind === "label" || operand.kind === "expression";
}

/** Whether `value` survives being stored in `stored` bits and sign-extended to `extended` bits. */
function fits(value: bigint, { stored, extended }: ImmediateKind): boolean {
  if (value < -(1n << BigInt(extended - 1)) || value >= 1n << BigInt(extended)) {
    return false;
  }
  return stored === extended || BigInt.asIntN(stored, value) === BigInt.asIntN(extended, value);
}

/** A MOFFS operand is an address and nothing else; in 64-bit code a label's address is taken relative to RIP. */
function isPlainAddress(operand: MemoryOperand, bits: Bits): boolean {
  return (
    operand.base === undefined &&
    operand.index === undefined &&
    (bits !== 64 || typeof operand.displacement !== "object")
  );
}

function memoryFits(
  operand: MemoryOperand,
  kind: OpCodeOperandKind,
  form: Form,
  bits: Bits,
): boolean {
  if (operand.bits !== 0 && form.memoryBits !== 0 && operand.bits !== form.memoryBits) {
    return false;
  }
  if (kind === K.mem_offs) {
    return isPlainAddress(operand, bits);
  }
  const indexClass = operand.index?.class;
  const vectorClass = vectorMemoryKinds.get(kind);
  if (vectorClass !== undefined) {
    return indexClass === vectorClass;
  }
  const isVector = indexClass === "xmm" || indexClass === "ymm" || indexClass === "zmm";
  return memoryKinds.has(kind) && !isVector;
}

function operandFits(operand: Operand, kind: OpCodeOperandKind, form: Form, bits: Bits): boolean {
  if (isValue(operand)) {
    const branch = branchKinds.get(kind);
    return branch === undefined ? valueFits(operand, kind) : branch.bits === bits;
  }
  switch (operand.kind) {
    case "register":
      return fixedRegisters.has(kind)
        ? fixedRegisters.get(kind) === operand.register
        : registerKinds.get(kind) === operand.class;
    case "memory":
      return memoryFits(operand, kind, form, bits);
    case "far":
      return farKinds.has(kind);
  }
}

/** Whether a number fits a position; the value of a label is asked about again when it is known. */
export function valueFits(value: Value, kind: OpCodeOperandKind): boolean {
  const immediate = immediateKinds.get(kind);
  if (immediate === undefined) {
    return false;
  }
  if (typeof value === "object") {
    return kind !== K.imm8_const_1;
  }
  return kind === K.imm8_const_1 ? BigInt(value) === 1n : fits(BigInt(value), immediate);
}

/** Operands of string instructions and XLAT, which are not written. */
function isImpliedMemory(kind: OpCodeOperandKind): boolean {
  return stringKinds.has(kind) || kind === K.seg_rBX_al;
}

function takes(form: Form, operands: readonly Operand[], bits: Bits): boolean {
  if (!form.modes.includes(bits) || (form.addressSize !== 0 && form.addressSize !== bits)) {
    return false;
  }
  const kinds = form.operandKinds;
  if (operands.length === 0 && kinds.some(isImpliedMemory)) {
    return kinds.every((kind) => isImpliedMemory(kind) || fixedRegisters.has(kind));
  }
  return (
    kinds.length === operands.length &&
    operands.every((operand, position) =>
      operandFits(operand, present(kinds[position], "as many kinds as operands"), form, bits),
    )
  );
}

/** XCHG of the accumulator with itself has no short form: that byte is NOP, and leaves bits 63:32 of RAX alone. */
function isNopInDisguise(form: Form, [first, second]: readonly Operand[]): boolean {
  return (
    first !== undefined &&
    first === second &&
    form.operandKinds.some(
      (kind) => K.r16_opcode === kind || K.r32_opcode === kind || K.r64_opcode === kind,
    ) &&
    form.operandKinds.some((kind) => fixedRegisters.has(kind))
  );
}

function naturalOperandSize(form: Form, bits: Bits): number {
  return bits === 64 && !form.defaultsTo64 ? 32 : bits;
}

/** Whether an operand says how wide the operation is. */
function fixesOperandSize(operands: readonly Operand[]): boolean {
  return operands.some(
    (operand) =>
      !isValue(operand) &&
      ((operand.kind === "memory" && operand.bits !== 0) ||
        (operand.kind === "register" && operand.class !== "segment")),
  );
}

/**
 * The forms that take these operands in code of `bits` bits. Where no operand tells the operand size (RET, PUSH 5,
 * NOP, LGDT) the size that needs no prefix is meant.
 */
export function matchingForms(
  forms: readonly Form[],
  operands: readonly Operand[],
  bits: Bits,
): readonly Form[] {
  const matching = forms.filter(
    (form) => takes(form, operands, bits) && !isNopInDisguise(form, operands),
  );
  if (fixesOperandSize(operands)) {
    return matching;
  }
  const natural = matching.filter(
    (form) => form.operandSize === 0 || form.operandSize === naturalOperandSize(form, bits),
  );
  return natural.length > 0 ? natural : matching;
}

/** Whether an unsized memory operand would be given different sizes by these forms. */
export function isAmbiguous(forms: readonly Form[], operands: readonly Operand[]): boolean {
  const unsized = operands.some(
    (operand) => !isValue(operand) && operand.kind === "memory" && operand.bits === 0,
  );
  return unsized && new Set(forms.map((form) => form.memoryBits)).size > 1;
}
