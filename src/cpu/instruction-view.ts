import { prefixBit, recordOffset } from "../execution/instruction-record.ts";
import { lpOffset } from "../execution/lp-window.ts";
import type { LpState } from "./lp-state.ts";

/** Reads the decoded-instruction record that a system instruction was called with. One per LP, moved with `at`. */
export class InstructionView {
  readonly #state: LpState;
  #record = 0;

  constructor(state: LpState) {
    this.#state = state;
  }

  at(record: number): this {
    this.#record = record;
    return this;
  }

  #u8(offset: number): number {
    return this.#state.u8[this.#record + offset] ?? 0;
  }
  #u32(offset: number): number {
    return this.#state.u32[(this.#record + offset) >>> 2] ?? 0;
  }
  #u64(offset: number): bigint {
    return this.#state.u64[(this.#record + offset) >>> 3] ?? 0n;
  }

  get length(): number {
    return this.#u8(recordOffset.length);
  }
  get operandSize(): number {
    return this.#u8(recordOffset.operandSize);
  }
  get addressSize(): number {
    return this.#u8(recordOffset.addressSize);
  }
  get segment(): number {
    return this.#u8(recordOffset.segment);
  }
  get prefixes(): number {
    return this.#u8(recordOffset.prefixes);
  }
  /** The r/m operand is in memory. */
  get isMemory(): boolean {
    return (this.prefixes & prefixBit.memory) !== 0;
  }
  get immediate(): bigint {
    return this.#u64(recordOffset.immediate);
  }
  get next(): bigint {
    return this.#u64(recordOffset.next);
  }
  get code(): number {
    return this.#state.u16[(this.#record + recordOffset.code) >>> 1] ?? 0;
  }
  get mnemonic(): number {
    return this.#state.u16[(this.#record + recordOffset.mnemonic) >>> 1] ?? 0;
  }
  /** What an undefined instruction would be on a processor that has it; 0 of bytes that are none. */
  get unknownMnemonic(): number {
    return this.#state.u16[(this.#record + recordOffset.form) >>> 1] ?? 0;
  }
  /** Number of the destination / source register (0..15; control, debug and segment registers likewise). */
  get destination(): number {
    return this.#registerNumber(recordOffset.destination);
  }
  get source(): number {
    return this.#registerNumber(recordOffset.source);
  }
  /** Number of the third register operand. */
  get third(): number {
    return this.#registerNumber(recordOffset.third);
  }
  /** Register number of the base (-1 when none); for exit information. */
  get base(): number {
    return this.#addressRegister(recordOffset.base);
  }
  get index(): number {
    return this.#addressRegister(recordOffset.index);
  }
  get scale(): number {
    return this.#u8(recordOffset.scale);
  }
  /** Displacement as the instruction-information exits want it: RIP-relative operands give their absolute address. */
  get displacement(): bigint {
    const displacement = BigInt(
      this.#state.i32[(this.#record + recordOffset.displacement) >>> 2] ?? 0,
    );
    return this.isRipRelative ? displacement + this.next : displacement;
  }
  get isRipRelative(): boolean {
    return this.#u32(recordOffset.base) === this.#record + recordOffset.next;
  }

  /** Offset of the memory operand within its segment, wrapped to the address size. */
  effectiveAddress(): bigint {
    const base = this.#state.u64[this.#u32(recordOffset.base) >>> 3] ?? 0n;
    const index = this.#state.u64[this.#u32(recordOffset.index) >>> 3] ?? 0n;
    const displacement = BigInt(
      this.#state.i32[(this.#record + recordOffset.displacement) >>> 2] ?? 0,
    );
    return BigInt.asUintN(
      this.addressSize * 8,
      base + (index << BigInt(this.scale)) + displacement,
    );
  }

  #registerNumber(offset: number): number {
    return (this.#u32(offset) - this.#state.base - lpOffset.gpr) >>> 3;
  }
  #addressRegister(offset: number): number {
    const address = this.#u32(offset) - this.#state.base;
    return address >= lpOffset.gpr && address < lpOffset.gpr + 128
      ? (address - lpOffset.gpr) >>> 3
      : -1;
  }
}
