import { type Instruction, MemorySizeExt, OpKind } from "iced-x86";
import {
  deriveInputState,
  type MachineState,
  MEMORY_BYTES,
  type MemoryFill,
} from "../../test/vectors/input-state.ts";
import { INPUT_VALUE, type Layout } from "../../test/vectors/vector-format.ts";
import { Chooser } from "./chooser.ts";
import type { Form } from "./forms.ts";
import { LAYOUT, LAYOUTS } from "./layouts.ts";
import { fillOf } from "./recipe.ts";
import { type RegisterPlace, registerPlace } from "./registers.ts";

/** An explicit input value, already in the bytes of the file. */
export type InputValue = readonly number[];

export type AddressBits = 16 | 32 | 64;

function littleEndian(value: bigint, length: number): number[] {
  return Array.from({ length }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));
}

/** Seven bits per byte, low bits first, the top bit set on all bytes but the last. */
export function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

/** Zigzag: 0, -1, 1, -2 … become 0, 1, 2, 3 …. */
export function signedVarint(value: bigint): number[] {
  return varint(value < 0n ? -value * 2n - 1n : value * 2n);
}

function mask(bits: number): bigint {
  return (1n << BigInt(bits)) - 1n;
}

/**
 * One case under construction: the input state so far, the instruction so far, and what is expected of it. Recipes read
 * and set inputs through it, so that each explicit value lands in the state and in the record alike.
 */
export class CaseBuilder {
  readonly form: Form;
  readonly choose: Chooser;
  readonly instruction: Instruction;
  readonly state: MachineState;
  readonly fill: MemoryFill;
  readonly addressBits: AddressBits;
  readonly layoutIndex: number;
  readonly layout: Layout;
  readonly inputValues: InputValue[] = [];
  /** Registers that hold parts of addresses; values for them are refused. */
  readonly addressRegisters = new Set<number>();
  /** Vectors the case may end in; empty if it must complete. */
  readonly possibleFaults = new Set<number>();
  mustFault = false;
  /** Offset of the memory operand from the memory area, if there is one with a known place. */
  memoryOffset: number | undefined;

  constructor(form: Form, instruction: Instruction, seed: number, choiceSeed: number) {
    this.form = form;
    this.instruction = instruction;
    this.fill = fillOf(form.recipe);
    this.state = deriveInputState(seed, form.mode, this.fill);
    this.choose = new Chooser(choiceSeed);
    this.addressBits = this.#chooseAddressBits();
    this.layoutIndex = this.#chooseLayout();
    const layout = LAYOUTS[this.layoutIndex];
    if (layout === undefined) throw new Error("no such layout");
    this.layout = layout;
  }

  #chooseAddressBits(): AddressBits {
    const fixed = this.form.variant.addressBits;
    if (fixed !== undefined) return fixed;
    if (this.form.mode === 64) return this.choose.onceIn(8) ? 32 : 64;
    return this.form.variant.memory && this.choose.onceIn(3) ? 16 : 32;
  }

  #chooseLayout(): number {
    if (this.addressBits === 16) return LAYOUT.low;
    const dice = this.choose.below(20);
    if (dice < 13) return LAYOUT.inside;
    if (dice < 17) return LAYOUT.crossing;
    return dice === 17 ? LAYOUT.pageStart : LAYOUT.pageEnd;
  }

  /** Size of a stack slot address in this mode. */
  get stackBits(): 32 | 64 {
    return this.form.mode;
  }

  /** Bytes the memory operand occupies. */
  get memorySize(): number {
    return MemorySizeExt.size(this.instruction.memorySize);
  }

  /** Size in bits of the first operand. */
  get operandBits(): number {
    return this.bitsOf(0);
  }

  bitsOf(operand: number): number {
    const kind = this.form.operands[operand] ?? "";
    const size = /\d+/.exec(kind)?.[0];
    if (size !== undefined) return Number(size);
    if (kind === "mem" || kind === "mem_offs") return this.memorySize * 8;
    return { al: 8, cl: 8, ax: 16, eax: 32, rax: 64 }[kind] ?? 0;
  }

  expectFault(vector: number): void {
    this.possibleFaults.add(vector);
    this.mustFault = true;
  }

  allowFault(vector: number): void {
    this.possibleFaults.add(vector);
  }

  register(number: number): bigint {
    return this.state.gpr[number] ?? 0n;
  }

  low(number: number, bits: number): bigint {
    return this.register(number) & mask(bits);
  }

  /** Sets the low bits of a register, unless it is part of an address. */
  setLow(number: number, bits: number, value: bigint): void {
    if (this.addressRegisters.has(number)) return;
    const wanted = value & mask(bits);
    this.state.gpr[number] = (this.register(number) & ~mask(bits)) | wanted;
    const kind = { 8: INPUT_VALUE.low8, 16: INPUT_VALUE.low16, 32: INPUT_VALUE.low32 }[bits];
    this.inputValues.push([
      ((kind ?? INPUT_VALUE.full) << 4) | number,
      ...littleEndian(wanted, bits / 8),
    ]);
  }

  /** Sets an address-sized register to an offset from the memory area and guards it from then on. */
  setPointer(number: number, offset: number, bits: AddressBits): void {
    const address = BigInt(this.layout.memoryAddress + offset);
    if (bits === 16) {
      this.setLow(number, 16, address);
    } else {
      this.state.gpr[number] = (this.register(number) & ~mask(bits)) | (address & mask(bits));
      const kind = bits === 64 ? INPUT_VALUE.pointer64 : INPUT_VALUE.pointer32;
      this.inputValues.push([(kind << 4) | number, ...signedVarint(BigInt(offset))]);
    }
    this.addressRegisters.add(number);
  }

  /** Sets an address-sized register to any value and guards it from then on. */
  setAddressPart(number: number, value: bigint, bits: AddressBits): void {
    const offset = value - BigInt(this.layout.memoryAddress);
    if (bits !== 16 && offset > -0x10000n && offset < 0x10000n) {
      this.setPointer(number, Number(offset), bits);
      return;
    }
    this.setLow(number, bits, value);
    this.addressRegisters.add(number);
  }

  /** Sets the low quadword of an XMM register. */
  setXmmLow64(number: number, value: bigint): void {
    new DataView(this.state.xmm.buffer).setBigUint64(number * 16, value, true);
    this.inputValues.push([(INPUT_VALUE.xmmLow64 << 4) | number, ...varint(value)]);
  }

  /** Sets bytes of the memory area. */
  setMemory(offset: number, value: bigint, length: number): void {
    const bytes = littleEndian(value, length);
    if (offset < 0 || offset + length > MEMORY_BYTES) return;
    this.state.memory.set(bytes, offset);
    this.inputValues.push([INPUT_VALUE.memory << 4, offset, length, ...bytes]);
  }

  memory(offset: number, length: number): bigint {
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) {
      value = (value << 8n) | BigInt(this.state.memory[offset + i] ?? 0);
    }
    return value;
  }

  place(operand: number): RegisterPlace | undefined {
    if (this.instruction.opKind(operand) !== OpKind.Register) return undefined;
    return registerPlace(this.instruction.opRegister(operand));
  }

  /** The unsigned input value of a register or memory operand; `undefined` if it is neither or lies on an absent page. */
  operandValue(operand: number): bigint | undefined {
    const place = this.place(operand);
    if (place !== undefined) {
      return (this.register(place.number) >> BigInt(place.shift)) & mask(place.bits);
    }
    if (this.instruction.opKind(operand) !== OpKind.Memory || this.memoryOffset === undefined) {
      return undefined;
    }
    const length = this.bitsOf(operand) / 8;
    const inside = this.memoryOffset >= 0 && this.memoryOffset + length <= MEMORY_BYTES;
    return inside ? this.memory(this.memoryOffset, length) : undefined;
  }

  /** Gives a register or memory operand an input value, as far as it is free to take one. */
  setOperandValue(operand: number, value: bigint): void {
    const place = this.place(operand);
    if (place?.shift === 8) {
      this.setLow(place.number, 16, (value << 8n) | this.low(place.number, 8));
    } else if (place !== undefined) {
      this.setLow(place.number, place.bits, value);
    } else if (this.memoryOffset !== undefined) {
      this.setMemory(this.memoryOffset, value, this.bitsOf(operand) / 8);
    }
  }

  /** A place for `size` bytes inside the area: often aligned, and often across the boundary where there is one. */
  offsetFor(size: number): number {
    const last = MEMORY_BYTES - size;
    if (this.layoutIndex === LAYOUT.crossing && size > 1 && this.choose.onceIn(3)) {
      return MEMORY_BYTES / 2 - this.choose.between(1, size - 1);
    }
    const offset = this.choose.below(last + 1);
    return size > 0 && this.choose.onceIn(2) ? offset - (offset % size) : offset;
  }
}
