import { Register } from "iced-x86";
import type { CaseBuilder } from "./case-builder.ts";
import { generalRegister, RBP, RBX, RDI, RSI, RSP, registerCount } from "./registers.ts";

/** Base and index pairs of 16-bit addressing, in encoding order. */
const PAIRS_16 = [
  [RBX, RSI],
  [RBX, RDI],
  [RBP, RSI],
  [RBP, RDI],
  [undefined, RSI],
  [undefined, RDI],
  [RBP, undefined],
  [RBX, undefined],
  [undefined, undefined],
] as const;

interface Shape {
  base: number | undefined;
  index: number | undefined;
  scale: number;
  displacement: bigint;
  /** Bytes the displacement is encoded in at least; 1 lets the encoder choose. */
  displacementSize: number;
}

/** Registers that may take part in the address: not those the recipe or the case has already given a meaning. */
function freeRegisters(builder: CaseBuilder): number[] {
  const { form } = builder;
  const taken = new Set([...(form.recipe.reserved ?? []), ...builder.addressRegisters]);
  if (form.recipe.operandsReserved) {
    form.operands.forEach((_, operand) => {
      const place = builder.place(operand);
      if (place !== undefined) taken.add(place.number);
    });
  }
  return Array.from({ length: registerCount(form.mode) }, (_, i) => i).filter((i) => !taken.has(i));
}

function chooseDisplacement(builder: CaseBuilder): bigint {
  const { choose, addressBits } = builder;
  const kind = choose.below(3);
  if (kind === 0) return 0n;
  if (kind === 1) return BigInt(choose.between(-128, 127));
  const bits = Math.min(addressBits, 32);
  return BigInt.asIntN(bits, choose.value(bits));
}

function chooseShape16(builder: CaseBuilder): Shape {
  const free = new Set(freeRegisters(builder));
  const usable = PAIRS_16.filter((pair) => pair.every((r) => r === undefined || free.has(r)));
  const [base, index] = builder.choose.oneOf(usable);
  const displacement = chooseDisplacement(builder);
  return { base, index, scale: 1, displacement, displacementSize: 1 };
}

function chooseShape(builder: CaseBuilder): Shape {
  const { choose, addressBits } = builder;
  if (addressBits === 16) return chooseShape16(builder);
  const free = freeRegisters(builder);
  const base = choose.onceIn(8) ? undefined : choose.oneOf(free);
  const indexes = free.filter((i) => i !== RSP && i !== base);
  const index = choose.onceIn(2) ? choose.oneOf(indexes) : undefined;
  const scale = index === undefined ? 1 : choose.oneOf([1, 2, 4, 8]);
  const displacement = chooseDisplacement(builder);
  const full = addressBits === 64 ? 8 : 4;
  const displacementSize = base === undefined || choose.onceIn(6) ? full : 1;
  return { base, index, scale, displacement, displacementSize };
}

/** Gives the registers of a shape the values that make it address `address`. */
function solve(builder: CaseBuilder, shape: Shape, address: bigint): void {
  const { addressBits, choose } = builder;
  if (shape.index !== undefined && shape.base !== undefined && !choose.onceIn(4)) {
    const small = BigInt(choose.between(-128, 127));
    builder.setLow(shape.index, addressBits, small);
  }
  const scale = BigInt(shape.scale);
  if (shape.base === undefined && shape.index === undefined) {
    shape.displacement = address;
    shape.displacementSize = addressBits / 8;
  } else if (shape.base === undefined && shape.index !== undefined) {
    const rest = address - shape.displacement;
    shape.displacement += ((rest % scale) + scale) % scale;
    builder.setAddressPart(shape.index, (address - shape.displacement) / scale, addressBits);
  } else if (shape.base !== undefined) {
    if (shape.index !== undefined) builder.addressRegisters.add(shape.index);
    const indexed = shape.index === undefined ? 0n : builder.low(shape.index, addressBits) * scale;
    const value = BigInt.asUintN(addressBits, address - indexed - shape.displacement);
    builder.setAddressPart(shape.base, value, addressBits);
  }
}

function apply(builder: CaseBuilder, shape: Shape): void {
  const { instruction, addressBits } = builder;
  const name = (register: number | undefined) =>
    register === undefined ? Register.None : generalRegister(register, addressBits);
  const displaced = shape.displacement !== 0n || shape.displacementSize > 1;
  instruction.memoryBase = name(shape.base);
  instruction.memoryIndex = name(shape.index);
  instruction.memoryIndexScale = shape.scale;
  instruction.memoryDisplacement = BigInt.asIntN(64, shape.displacement);
  instruction.memoryDisplSize = displaced ? shape.displacementSize : 0;
}

function applyRipRelative(builder: CaseBuilder, address: bigint): void {
  const { instruction, addressBits } = builder;
  instruction.memoryBase = addressBits === 64 ? Register.RIP : Register.EIP;
  instruction.memoryDisplacement = address;
  instruction.memoryDisplSize = addressBits / 8;
}

/** PUSH and POP compute an address through RSP differently: POP with the value RSP has after the pop. */
function applyStackRelative(builder: CaseBuilder, address: bigint): void {
  const { form, instruction, addressBits, memorySize } = builder;
  const popped = form.recipe.stackRelative === "after" ? BigInt(memorySize) : 0n;
  const displacement = address - builder.low(RSP, addressBits) - popped;
  instruction.memoryBase = generalRegister(RSP, addressBits);
  instruction.memoryDisplacement = displacement;
  instruction.memoryDisplSize = 1;
}

/** Segment overrides that change nothing: all bases are 0. In 32-bit mode CS is not writable and FS, GS are null. */
function chooseSegment(builder: CaseBuilder): void {
  if (!builder.choose.onceIn(16)) return;
  const flat = [Register.DS, Register.ES, Register.SS];
  const usable = builder.form.mode === 64 ? [...flat, Register.CS, Register.GS] : flat;
  builder.instruction.segmentPrefix = builder.choose.oneOf(usable);
}

/** Addresses a memory operand at an offset from the memory area, by one of all the ways there are. */
export function placeMemoryOperand(builder: CaseBuilder, kind: string, offset: number): void {
  const { choose, form } = builder;
  const address = BigInt(builder.layout.memoryAddress + offset);
  chooseSegment(builder);
  if (kind === "mem_offs") {
    apply(builder, {
      base: undefined,
      index: undefined,
      scale: 1,
      displacement: address,
      displacementSize: builder.addressBits / 8,
    });
    return;
  }
  if (form.mode === 64 && choose.onceIn(10)) {
    applyRipRelative(builder, address);
    return;
  }
  const stackReachable = builder.addressBits === builder.stackBits;
  if (form.recipe.stackRelative !== undefined && stackReachable && choose.onceIn(4)) {
    applyStackRelative(builder, address);
    return;
  }
  const shape = chooseShape(builder);
  if (!form.recipe.freeAddress) solve(builder, shape, address);
  apply(builder, shape);
}
