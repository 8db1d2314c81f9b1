import { Encoder, Instruction, OpCodeOperandKind, OpKind, Register } from "iced-x86";
import { present } from "../base/assert.ts";
import {
  type Bits,
  branchKinds,
  type Form,
  farKinds,
  fixedRegisters,
  immediateKinds,
  isValue,
  type Prefix,
  stringKinds,
  valueFits,
  xlatBase,
} from "./assembler-forms.ts";
import type { MemoryOperand, Operand, Value } from "./assembler-operands.ts";

/** One instruction as it was written, with the code size it stands in. */
export interface Written {
  readonly operands: readonly Operand[];
  readonly bits: Bits;
  readonly prefix: Prefix | undefined;
}

/** The number that a label or expression stands for at this moment of the layout. */
export type Resolve = (value: Value) => bigint;

/** The bytes, or why this form cannot hold the operands. */
export type Encoded = Uint8Array | { readonly refusal: string };

const encoders: Readonly<Record<Bits, Encoder>> = {
  16: new Encoder(16),
  32: new Encoder(32),
  64: new Encoder(64),
};

/** A label on its own in 64-bit code is addressed relative to RIP: the program then runs wherever it is loaded. */
function isRipRelative(operand: MemoryOperand, bits: Bits): boolean {
  return (
    bits === 64 &&
    typeof operand.displacement === "object" &&
    operand.base === undefined &&
    operand.index === undefined &&
    operand.segment === undefined
  );
}

/** iced's displacement size in bytes: 0 none, 1 the shortest that holds it, otherwise exactly that many. */
function displacementSize(operand: MemoryOperand, value: bigint, bits: Bits): number {
  if (operand.base === undefined && operand.index === undefined) {
    const isUpperHalfOf4GiB = value >= 1n << 31n && value < 1n << 32n;
    return bits === 64 && isUpperHalfOf4GiB ? 4 : bits / 8;
  }
  if (operand.base === undefined) {
    return operand.index?.class === "r64" ? 8 : 4;
  }
  if (typeof operand.displacement === "object") {
    return operand.base.class === "r16" ? 2 : 4;
  }
  return value === 0n ? 0 : 1;
}

function setMemory(
  instruction: Instruction,
  operand: MemoryOperand,
  kind: OpCodeOperandKind,
  bits: Bits,
  resolve: Resolve,
): void {
  const value = resolve(operand.displacement);
  const ripRelative = isRipRelative(operand, bits);
  instruction.memoryBase = ripRelative ? Register.RIP : (operand.base?.register ?? Register.None);
  instruction.memoryIndex = operand.index?.register ?? Register.None;
  instruction.memoryIndexScale = operand.scale;
  instruction.memoryDisplacement = BigInt.asUintN(64, value);
  if (ripRelative || kind === OpCodeOperandKind.mem_offs) {
    instruction.memoryDisplSize = bits / 8;
  } else {
    instruction.memoryDisplSize = displacementSize(operand, value, bits);
  }
  instruction.segmentPrefix = operand.segment?.register ?? Register.None;
}

function setNearBranch(instruction: Instruction, kind: OpKind, target: bigint): void {
  switch (kind) {
    case OpKind.NearBranch16:
      instruction.nearBranch16 = Number(BigInt.asUintN(16, target));
      break;
    case OpKind.NearBranch32:
      instruction.nearBranch32 = Number(BigInt.asUintN(32, target));
      break;
    default:
      instruction.nearBranch64 = BigInt.asUintN(64, target);
  }
}

function setValue(
  instruction: Instruction,
  position: number,
  kind: OpCodeOperandKind,
  value: bigint,
): boolean {
  const branch = branchKinds.get(kind);
  if (branch !== undefined) {
    instruction.setOpKind(position, branch.kind);
    setNearBranch(instruction, branch.kind, value);
    return true;
  }
  if (!valueFits(value, kind)) {
    return false;
  }
  const { kind: opKind } = present(immediateKinds.get(kind), "a value stands at an immediate");
  instruction.setOpKind(position, opKind);
  if (position > 0 && isImmediate(instruction.opKind(position - 1))) {
    instruction.setOpKind(position, OpKind.Immediate8_2nd);
  }
  instruction.setImmediateI64(position, BigInt.asIntN(64, value));
  return true;
}

function isImmediate(kind: OpKind): boolean {
  return kind === OpKind.Immediate8 || kind === OpKind.Immediate16;
}

/** Operands that were not written because the instruction has no others. */
function setImplied(
  instruction: Instruction,
  position: number,
  kind: OpCodeOperandKind,
  bits: Bits,
) {
  const fixed = fixedRegisters.get(kind);
  const string = stringKinds.get(kind);
  if (fixed !== undefined) {
    instruction.setOpRegister(position, fixed);
  } else if (string !== undefined) {
    instruction.setOpKind(position, string[bits]);
  } else {
    instruction.setOpKind(position, OpKind.Memory);
    instruction.memoryBase = xlatBase[bits];
    instruction.memoryIndex = Register.AL;
  }
}

/** Fills one operand; false when its value does not fit. */
function setOperand(
  instruction: Instruction,
  position: number,
  kind: OpCodeOperandKind,
  written: Written,
  resolve: Resolve,
): boolean {
  const operand = written.operands[position];
  if (operand === undefined) {
    setImplied(instruction, position, kind, written.bits);
    return true;
  }
  if (isValue(operand)) {
    return setValue(instruction, position, kind, resolve(operand));
  }
  switch (operand.kind) {
    case "register":
      instruction.setOpRegister(position, operand.register);
      return true;
    case "memory":
      instruction.setOpKind(position, OpKind.Memory);
      setMemory(instruction, operand, kind, written.bits, resolve);
      return true;
    case "far":
      instruction.setOpKind(
        position,
        present(farKinds.get(kind), "a far pointer fits a far branch"),
      );
      instruction.farBranchSelector = operand.selector;
      setFarOffset(instruction, kind, resolve(operand.offset));
      return true;
  }
}

function setFarOffset(instruction: Instruction, kind: OpCodeOperandKind, offset: bigint): void {
  if (kind === OpCodeOperandKind.farbr2_2) {
    instruction.farBranch16 = Number(offset);
  } else {
    instruction.farBranch32 = Number(offset);
  }
}

function setPrefix(instruction: Instruction, prefix: Prefix | undefined): void {
  instruction.hasLockPrefix = prefix === "lock";
  instruction.hasRepePrefix = prefix === "rep" || prefix === "repe";
  instruction.hasRepnePrefix = prefix === "repne";
}

/** Encodes `written` in one of its forms as it would stand at `address`. */
export function encode(form: Form, written: Written, address: bigint, resolve: Resolve): Encoded {
  const instruction = new Instruction();
  const encoder = encoders[written.bits];
  try {
    instruction.code = form.code;
    setPrefix(instruction, written.prefix);
    for (const [position, kind] of form.operandKinds.entries()) {
      if (!setOperand(instruction, position, kind, written, resolve)) {
        return { refusal: "an immediate is out of range" };
      }
    }
    encoder.encode(instruction, address);
    return encoder.takeBuffer();
  } catch (error) {
    encoder.takeBuffer();
    return { refusal: String(error) };
  } finally {
    instruction.free();
  }
}
