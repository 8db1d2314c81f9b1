import { Code, type Instruction, MemorySizeExt, Mnemonic, OpKind } from "iced-x86";
import type { AccessSize } from "../wasm/expression.ts";
import { families } from "./forms.ts";
import { type OperandRegister, operandRegister } from "./operand-registers.ts";
import type { Family, Role } from "./semantics/family.ts";

/** How instructions of one Code are put into records: worked out once per Code and kind of r/m operand. */
export interface DecodePlan {
  /** Index of the family, or -1: the instruction is executed in TypeScript. */
  readonly family: number;
  readonly roles: readonly Role[];
  readonly operandSize: number;
  /** Bytes of the counter register of LOOP and JCXZ, told by the Code; 0 of other instructions. */
  readonly counterSize: number;
  /** Letter of the family's pattern. */
  readonly destination: string;
  readonly source: string;
  /** The block ends here. */
  readonly ends: boolean;
  /** An SSE instruction: faults while CR0.EM, CR0.TS or CR4.OSFXSR forbid it. */
  readonly simd: boolean;
}

const defaultRoles: readonly Role[] = ["destination", "source", "immediate"];
/** Operands of an instruction executed in TypeScript. */
const systemRoles: readonly Role[] = ["destination", "source", "third"];

const familiesOf = new Map<number, number[]>();
families.forEach((family, number) => {
  for (const name of [family.mnemonic, ...(family.aliases ?? [])]) {
    const mnemonic = Mnemonic[name as keyof typeof Mnemonic];
    familiesOf.set(mnemonic, [...(familiesOf.get(mnemonic) ?? []), number]);
  }
});

const plans = new Map<number, DecodePlan>();

export function isImmediate(kind: OpKind): boolean {
  return kind >= OpKind.Immediate8 && kind <= OpKind.Immediate32to64;
}
/** Memory through a string instruction's implied registers. */
export function isStringMemory(kind: OpKind): boolean {
  return kind >= OpKind.MemorySegSI && kind <= OpKind.MemoryESRDI;
}
function isNearBranch(kind: OpKind): boolean {
  return kind >= OpKind.NearBranch16 && kind <= OpKind.NearBranch64;
}

export function registerOf(insn: Instruction, operand: number): OperandRegister {
  return operandRegister(insn.opRegister(operand));
}

export function planFor(insn: Instruction): DecodePlan {
  let memory = 0;
  for (let n = 0; n < insn.opCount; n++) {
    if (insn.opKind(n) === OpKind.Memory) memory = 1;
  }
  const key = insn.code * 2 + memory;
  const known = plans.get(key);
  if (known) {
    return known;
  }
  const made = makePlan(insn);
  plans.set(key, made);
  return made;
}

function makePlan(insn: Instruction): DecodePlan {
  for (const number of familiesOf.get(insn.mnemonic) ?? []) {
    const family = families[number];
    const plan = family && match(insn, family, number);
    if (plan) {
      return plan;
    }
  }
  return {
    family: -1,
    roles: systemRoles,
    operandSize: systemOperandSize(insn),
    counterSize: 0,
    destination: "-",
    source: "-",
    ends: true,
    simd: false,
  };
}

function match(insn: Instruction, family: Family, number: number): DecodePlan | undefined {
  const count = insn.opCount;
  if (family.operands !== undefined && family.operands !== count) {
    return undefined;
  }
  const roles = family.roles ?? defaultRoles;
  const letters: Record<string, string> = { destination: "-", source: "-" };
  for (let n = 0; n < count; n++) {
    const letter = letterOf(insn, n, family);
    const role = roles[n];
    if (letter === undefined || role === undefined) {
      return undefined;
    }
    if (role === "destination" || role === "source") {
      letters[role] = letter;
    }
  }
  const destination = letters["destination"] ?? "-";
  const source = letters["source"] ?? "-";
  const operandSize = familySize(insn, family);
  const fits =
    family.patterns.includes(destination + source) &&
    family.sizes.includes(operandSize as AccessSize) &&
    (family.sourceSize === undefined || family.sourceSize === sizeOfOperand(insn, 1));
  if (!fits) {
    return undefined;
  }
  return {
    family: number,
    roles,
    operandSize,
    counterSize: counterSize(insn),
    destination,
    source,
    ends: family.transfer === true,
    simd: family.simd === true,
  };
}

/** Letter of an operand in family patterns; undefined when the family cannot mean this operand (a segment register, a far pointer). */
function letterOf(insn: Instruction, operand: number, family: Family): string | undefined {
  const kind = insn.opKind(operand);
  if (kind === OpKind.Register) {
    const register = registerOf(insn, operand);
    if (register.kind === "vector") {
      return family.simd ? "x" : undefined;
    }
    return register.kind === "general" ? "r" : undefined;
  }
  if (kind === OpKind.Memory) {
    return isFar(insn) ? undefined : "m";
  }
  if (isImmediate(kind)) {
    return "i";
  }
  if (isStringMemory(kind) || isNearBranch(kind)) {
    return "-";
  }
  return undefined;
}

function isFar(insn: Instruction): boolean {
  return /_m16(16|32|64)/.test(Code[insn.code] ?? "");
}

function sizeOfOperand(insn: Instruction, operand: number): number {
  const kind = insn.opKind(operand);
  if (kind === OpKind.Register) {
    return registerOf(insn, operand).size;
  }
  return kind === OpKind.Memory || isStringMemory(kind) ? MemorySizeExt.size(insn.memorySize) : 0;
}

function familySize(insn: Instruction, family: Family): number {
  const [only, ...others] = family.sizes;
  if (only !== undefined && others.length === 0) {
    return only;
  }
  switch (family.sizeFrom) {
    case "stack":
      return Math.abs(insn.stackPointerIncrement);
    case "suffix":
      return suffixSize(insn);
    default:
      return sizeOfOperand(insn, family.sizeFrom ?? 0);
  }
}

/** Loop_rel8_64_ECX, Jecxz_rel8_64: the counter's size is the address size. */
function counterSize(insn: Instruction): number {
  const [, width] = /^(?:Loop\w*_|J)([re]?)cx/i.exec(Code[insn.code] ?? "") ?? [];
  return width === undefined ? 0 : ({ r: 8, e: 4 }[width.toLowerCase()] ?? 2);
}

/** Operand size told by the end of the Code's first word: Leaveq, Retnw_imm16, Pushad. */
function suffixSize(insn: Instruction): number {
  const [word] = (Code[insn.code] ?? "").split("_");
  return { b: 1, w: 2, d: 4, q: 8 }[word?.at(-1) ?? ""] ?? 0;
}

function systemOperandSize(insn: Instruction): number {
  const far = /16(16|32|64)/.exec(Code[insn.code] ?? "");
  if (
    far &&
    (isFar(insn) || insn.opKind(0) === OpKind.FarBranch16 || insn.opKind(0) === OpKind.FarBranch32)
  ) {
    return Number(far[1]) / 8;
  }
  for (let n = 0; n < insn.opCount; n++) {
    if (insn.opKind(n) === OpKind.Register && registerOf(insn, n).kind === "general") {
      return registerOf(insn, n).size;
    }
  }
  for (let n = 0; n < insn.opCount; n++) {
    const size = sizeOfOperand(insn, n);
    if (size > 0) {
      return size;
    }
  }
  return suffixSize(insn);
}
