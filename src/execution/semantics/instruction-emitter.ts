import {
  type AccessSize,
  atomicCompareExchange,
  atomicLoadOf,
  type Expression,
  type I32,
  type I64,
  i32,
  i64,
  select,
  type ValueType,
} from "../../wasm/expression.ts";
import type { FunctionBuilder, Local } from "../../wasm/function-builder.ts";
import { AccessKind } from "../core-host.ts";
import { recordOffset } from "../instruction-record.ts";
import { lpOffset, Segment } from "../lp-window.ts";

/** Where an operand is. `general` memory needs a segment base, a limit check or a short address; `simple` memory none. */
export type OperandPlace = "none" | "register" | "immediate" | "simple" | "general";

/** One concrete shape of an instruction: what the semantics are emitted for. */
export interface Form {
  /** Operand size in bytes. */
  readonly size: AccessSize;
  readonly destination: OperandPlace;
  readonly source: OperandPlace;
  readonly lock: boolean;
  /** The stack is used through SS with a 16- or 32-bit pointer (not 64-bit mode). */
  readonly legacyStack: boolean;
}

/** How an emitted instruction meets its surroundings: the interpreter's arms, a cold function, a translated region. */
export interface Surroundings {
  readonly f: FunctionBuilder;
  /** Address of the instruction's record. */
  readonly record: Local<"i32">;
  /** Lazy flags (see `flags.ts`). */
  readonly result: Local<"i64">;
  readonly carries: Local<"i64">;
  readonly window: I32;
  readonly tlbContext: I64;
  /** Call of the slow access path; yields the address in shared memory. */
  slowAccess(linear: I64, size: number, kind: number): I32;
  slowStore(linear: I64, value: I64, size: number): void;
  commit(): void;
  /** Takes the machine's bus for itself, and gives it back. Nothing in between may raise an exception. */
  lockBus(): void;
  unlockBus(): void;
  /** Linear address of the record's general memory operand, checked against its segment. */
  generalAddress(size: number, write: boolean): I64;
  /** Linear address of an offset in a segment (register number), checked. */
  segmentAddress(segment: I32, offset: I64, size: number, write: boolean): I64;
  raise(exception: number): void;
  /** A repeated instruction that wants to be executed again, after events had their chance. */
  again(): void;
  /** Leaves this instruction, of which nothing has been done, to its handler in TypeScript. Only in cold functions. */
  handOver(): void;
  /** Goes on at the record's direct target, at the next instruction, at a computed RIP. */
  jumpDirect(): void;
  jumpNext(): void;
  jumpTo(rip: I64): void;
}

/** Exception codes for `raise`. */
export const exceptionCode = {
  divide: 0,
  overflow: 4,
  undefinedOpcode: 6,
  deviceNotAvailable: 7,
  generalProtection: 13 | 0x100,
} as const;

const sizeMask = { 1: 0xffn, 2: 0xffffn, 4: 0xffff_ffffn } as const;
const carryMask = 0xc000_0000_0000_0008n;
const signBit = 1n << 63n;

/**
 * The words in which instruction semantics are written. Values are i64, zero-extended from the operand size, unless a name
 * says otherwise.
 */
export class InstructionEmitter {
  readonly form: Form;
  readonly around: Surroundings;
  readonly f: FunctionBuilder;

  constructor(form: Form, around: Surroundings) {
    this.form = form;
    this.around = around;
    this.f = around.f;
  }

  get size(): AccessSize {
    return this.form.size;
  }
  get bits(): number {
    return this.form.size * 8;
  }

  // ——— values

  let<T extends ValueType>(value: Expression<T>): Local<T> {
    return this.f.let(value);
  }
  /** Cuts to the operand size. */
  truncate(value: I64, size: AccessSize = this.size): I64 {
    return size === 8 ? value : i64.and(value, i64.const(sizeMask[size]));
  }
  signExtend(value: I64, size: AccessSize = this.size): I64 {
    switch (size) {
      case 1:
        return i64.extend8(value);
      case 2:
        return i64.extend16(value);
      case 4:
        return i64.extend32(value);
      case 8:
        return value;
    }
  }
  /** 1 when the operand-sized value is negative. */
  signOf(value: I64): I64 {
    return this.bits === 64
      ? i64.shrU(value, i64.const(63))
      : i64.and(i64.shrU(value, i64.const(this.bits - 1)), i64.const(1));
  }

  // ——— operands

  field32(offset: number): I32 {
    return i32.load(this.around.record, offset);
  }
  immediate(): I64 {
    return i64.load(this.around.record, recordOffset.immediate);
  }
  nextRip(): I64 {
    return i64.load(this.around.record, recordOffset.next);
  }
  readAt(address: I32, size: AccessSize = this.size, offset = 0): I64 {
    switch (size) {
      case 1:
        return i64.load8u(address, offset);
      case 2:
        return i64.load16u(address, offset);
      case 4:
        return i64.load32u(address, offset);
      case 8:
        return i64.load(address, offset);
    }
  }
  /** Writes a general register: 32-bit results clear the upper half, 8- and 16-bit ones leave the rest. */
  writeRegisterAt(address: I32, value: I64, size: AccessSize = this.size): void {
    this.f.store(size === 4 ? 8 : size, address, value);
  }
  gpr(number: number, size: AccessSize = this.size): I64 {
    return this.readAt(this.around.window, size, lpOffset.gpr + number * 8);
  }
  setGpr(number: number, value: I64, size: AccessSize = this.size): void {
    this.f.store(size === 4 ? 8 : size, this.around.window, value, lpOffset.gpr + number * 8);
  }

  /** Writes a register that serves as address or counter: as many bits as `mask`, a 32-bit one clearing the upper half. */
  setAddressRegister(number: number, value: I64, mask: I64): void {
    this.f.if(
      i64.eq(mask, i64.const(0xffff)),
      () => this.setGpr(number, value, 2),
      () => this.setGpr(number, i64.and(value, mask), 8),
    );
  }

  source(size: AccessSize = this.size): I64 {
    return this.#read(this.form.source, recordOffset.source, size);
  }
  destination(size: AccessSize = this.size): I64 {
    return this.#read(this.form.destination, recordOffset.destination, size);
  }
  /** Third register operand. */
  third(size: AccessSize = this.size): I64 {
    return this.readAt(this.field32(recordOffset.third), size);
  }
  setThird(value: I64, size: AccessSize = this.size): void {
    this.writeRegisterAt(this.field32(recordOffset.third), value, size);
  }
  writeSource(value: I64, size: AccessSize = this.size): void {
    this.writeRegisterAt(this.field32(recordOffset.source), value, size);
  }
  /** Writes the destination, which the instruction does not read. */
  write(value: I64, size: AccessSize = this.size): void {
    if (this.form.destination === "register") {
      this.writeRegisterAt(this.field32(recordOffset.destination), value, size);
    } else {
      this.store(this.memoryAddress(size, true), value, size);
    }
  }
  /**
   * Reads the destination, computes, writes it back: atomically under LOCK. `compute` may be emitted more than once, must have no
   * effect before its value is written but on flags, and returns the new value.
   */
  update(compute: (old: Local<"i64">) => I64): void {
    if (this.form.destination === "register") {
      const address = this.let(this.field32(recordOffset.destination));
      const value = compute(this.let(this.readAt(address)));
      this.writeRegisterAt(address, value);
      return;
    }
    this.modify(this.memoryAddress(this.size, true), this.size, this.form.lock, compute);
  }

  #read(place: OperandPlace, registerField: number, size: AccessSize): I64 {
    switch (place) {
      case "register":
        return this.readAt(this.field32(registerField), size);
      case "immediate":
        return this.immediate();
      case "simple":
      case "general":
        return this.load(this.memoryAddress(size, false), size);
      case "none":
        throw new Error("the form has no such operand");
    }
  }

  // ——— memory

  /** Offset of the memory operand, before any segment. */
  simpleAddress(): I64 {
    const index = i64.shl(
      i64.load(this.field32(recordOffset.index)),
      i64.load8u(this.around.record, recordOffset.scale),
    );
    return i64.add(
      i64.add(i64.load(this.field32(recordOffset.base)), index),
      i64.load32s(this.around.record, recordOffset.displacement),
    );
  }
  /** All ones of the record's address size. */
  addressMask(): I64 {
    const bits = i32.shl(i32.load8u(this.around.record, recordOffset.addressSize), i32.const(3));
    return i64.shrU(i64.const(-1), i64.extendU(i32.sub(i32.const(64), bits)));
  }
  memoryAddress(size: number, write: boolean): Local<"i64"> {
    const place =
      this.form.destination === "general" || this.form.source === "general" ? "general" : "simple";
    return this.let(
      place === "general" ? this.around.generalAddress(size, write) : this.simpleAddress(),
    );
  }
  load(linear: Local<"i64">, size: AccessSize = this.size): I64 {
    return this.readAt(this.hostAddress(linear, size, AccessKind.Read), size);
  }
  store(linear: Local<"i64">, value: I64, size: AccessSize = this.size): void {
    const stored = this.let(value);
    const entry = this.#tlbEntry(linear);
    this.f.if(
      this.#tagMatches(entry, linear, size, 8),
      () => this.f.store(size, this.#hit(entry, linear), stored),
      () => this.around.slowStore(linear, stored, size),
    );
  }
  /** Read-modify-write of memory; with `lock` as one atomic operation. */
  modify(
    linear: Local<"i64">,
    size: AccessSize,
    lock: boolean,
    compute: (old: Local<"i64">) => I64,
  ): void {
    const host = this.hostAddress(linear, size, AccessKind.ReadWrite);
    const plain = (): void => {
      const old = this.let(this.readAt(host, size));
      this.f.store(size, host, compute(old));
    };
    if (!lock) {
      plain();
      this.commitIfBounced(host);
      return;
    }
    this.#atomically(linear, host, size, plain, compute);
  }
  /** Host address of an access; the bounce buffer (already holding the data) when memory cannot be touched directly. */
  hostAddress(linear: Local<"i64">, size: number, kind: number): Local<"i32"> {
    const entry = this.#tlbEntry(linear);
    const tag = kind === AccessKind.Read ? 0 : 8;
    const host = this.f.let(i32.const(0));
    this.f.if(
      this.#tagMatches(entry, linear, size, tag),
      () => this.f.set(host, this.#hit(entry, linear)),
      () => this.f.set(host, this.around.slowAccess(linear, size, kind)),
    );
    return host;
  }
  /** Host address of an access within one page that the TLB knows, else -1. */
  directAddress(linear: Local<"i64">, size: number, kind: number): I32 {
    const entry = this.#tlbEntry(linear);
    const tag = kind === AccessKind.Read ? 0 : 8;
    return select(
      this.#tagMatches(entry, linear, size, tag),
      this.#hit(entry, linear),
      i32.const(-1),
    );
  }
  commitIfBounced(host: I32): void {
    this.f.if(this.#isBounced(host), () => this.around.commit());
  }
  #isBounced(host: I32): I32 {
    return i32.eq(host, i32.add(this.around.window, i32.const(lpOffset.bounce)));
  }

  /**
   * An aligned operand is a compare-exchange loop. A misaligned one takes the machine's bus lock, so that it is atomic with
   * respect to other misaligned ones, though not to aligned ones that overlap it.
   */
  #atomically(
    linear: Local<"i64">,
    host: Local<"i32">,
    size: AccessSize,
    plain: () => void,
    compute: (old: Local<"i64">) => I64,
  ): void {
    const loop = (): void => {
      const old = this.let(atomicLoadOf(size, host));
      this.f.loop((again) => {
        const value = compute(old);
        const seen = this.let(atomicCompareExchange(size, host, old, value));
        this.f.if(i64.ne(seen, old), () => {
          this.f.set(old, seen);
          this.f.branch(again);
        });
      });
      this.commitIfBounced(host);
    };
    if (size === 1) {
      loop();
      return;
    }
    const misaligned = i64.ne(i64.and(linear, i64.const(size - 1)), i64.const(0));
    this.f.if(
      misaligned,
      () => {
        this.around.lockBus();
        // Across pages the bounce buffer holds what was there before the bus was taken. This cannot fault: it has not before.
        this.f.if(this.#isBounced(host), () =>
          this.f.drop(this.around.slowAccess(linear, size, AccessKind.ReadWrite)),
        );
        plain();
        this.commitIfBounced(host);
        this.around.unlockBus();
      },
      loop,
    );
  }

  #tlbEntry(linear: Local<"i64">): Local<"i32"> {
    return this.let(
      i32.add(
        i32.and(i32.shrU(i32.wrap(linear), i32.const(7)), i32.const(4095 << 5)),
        this.around.window,
      ),
    );
  }
  /** The access lies in one page and that page's tag of the kind holds. */
  #tagMatches(entry: I32, linear: I64, size: number, tag: number): I32 {
    const last = size === 1 ? linear : i64.add(linear, i64.const(size - 1));
    const page = i64.and(last, i64.const(-4096));
    return i64.eq(i64.load(entry, lpOffset.tlb + tag), i64.or(page, this.around.tlbContext));
  }
  #hit(entry: I32, linear: I64): I32 {
    return i32.add(i32.wrap(linear), i32.load(entry, lpOffset.tlb + 24));
  }

  // ——— stack

  /** Linear address of an offset in the stack segment (legacy stacks). */
  stackAddress(offset: I64, size: number, write: boolean): I64 {
    return this.around.segmentAddress(i32.const(Segment.SS), offset, size, write);
  }
  /** Pushes a value of the operand size. */
  push(value: I64, size: AccessSize = this.size): void {
    const pushed = this.let(value);
    if (!this.form.legacyStack) {
      const pointer = this.let(i64.sub(this.gpr(4, 8), i64.const(size)));
      this.store(pointer, pushed, size);
      this.setGpr(4, pointer, 8);
      return;
    }
    const pointer = this.let(i64.and(i64.sub(this.gpr(4, 4), i64.const(size)), this.stackMask()));
    this.store(this.let(this.stackAddress(pointer, size, true)), pushed, size);
    this.setStackPointer(pointer);
  }
  /** Reads the top of the stack; `drop` then moves the pointer. */
  top(size: AccessSize = this.size): Local<"i64"> {
    if (!this.form.legacyStack) {
      return this.let(this.load(this.let(this.gpr(4, 8)), size));
    }
    const pointer = this.let(i64.and(this.gpr(4, 4), this.stackMask()));
    return this.let(this.load(this.let(this.stackAddress(pointer, size, false)), size));
  }
  drop(bytes: I64): void {
    if (!this.form.legacyStack) {
      this.setGpr(4, i64.add(this.gpr(4, 8), bytes), 8);
      return;
    }
    this.setStackPointer(this.let(i64.and(i64.add(this.gpr(4, 4), bytes), this.stackMask())));
  }
  /** 2^16-1 or 2^32-1, by the size of the stack segment. */
  stackMask(): I64 {
    const wide = i32.and(i32.load(this.around.window, lpOffset.codeMode), i32.const(4));
    return select(wide, i64.const(0xffff_ffffn), i64.const(0xffff));
  }
  /** Writes SP or ESP: a 16-bit stack leaves the upper bits of ESP. */
  setStackPointer(pointer: Local<"i64">): void {
    if (!this.form.legacyStack) {
      this.setGpr(4, pointer, 8);
      return;
    }
    const mask = this.let(this.stackMask());
    const kept = i64.and(this.gpr(4, 4), i64.xor(mask, i64.const(0xffff_ffffn)));
    this.setGpr(4, i64.or(kept, i64.and(pointer, mask)), 8);
  }

  // ——— flags

  /** Flags of r = a + b (+ carry in). Values zero-extended, r truncated. */
  flagsOfAdd(a: I64, b: I64, r: I64): void {
    this.#setFlags(r, i64.or(i64.and(a, b), i64.and(i64.or(a, b), i64.xor(r, i64.const(-1)))));
  }
  /** Flags of r = a − b (− borrow in). */
  flagsOfSub(a: I64, b: I64, r: I64): void {
    const notA = i64.xor(a, i64.const(-1));
    this.#setFlags(r, i64.or(i64.and(notA, b), i64.and(i64.or(notA, b), r)));
  }
  /** Flags of a logical result: CF = OF = AF = 0. */
  flagsOfLogic(r: I64): void {
    this.f.set(this.around.result, this.signExtend(r));
    this.f.set(this.around.carries, i64.const(0));
  }
  /** ZF, SF, PF of the result; CF and OF given as 0/1; AF = 0. */
  flagsOfResult(r: I64, carry: I64, overflow: I64): void {
    this.f.set(this.around.result, this.signExtend(r));
    this.f.set(this.around.carries, this.#carryBits(carry, overflow));
  }
  /** INC and DEC: everything but CF. `overflow` 0/1, `auxiliary` 0/1. */
  flagsKeepingCarry(r: I64, overflow: I64, auxiliary: I64): void {
    const cf = this.let(this.carry());
    this.f.set(this.around.result, this.signExtend(r));
    this.f.set(
      this.around.carries,
      i64.or(this.#carryBits(cf, overflow), i64.shl(auxiliary, i64.const(3))),
    );
  }
  /** CF and OF only. */
  setCarryOverflow(carry: I64, overflow: I64): void {
    const rest = i64.and(this.around.carries, i64.const(0x3fff_ffff_ffff_ffffn));
    const cf = this.let(carry);
    this.f.set(this.around.carries, i64.or(rest, this.#carryBits(cf, overflow)));
  }
  /** AF only, to be used when it is clear. */
  setAuxiliary(auxiliary: I64): void {
    this.f.set(this.around.carries, i64.or(this.around.carries, i64.shl(auxiliary, i64.const(3))));
  }
  /** CF only. */
  setCarry(carry: I64): void {
    const overflow = this.let(this.overflow());
    this.setCarryOverflow(carry, overflow);
  }
  /** ZF and CF as given (0/1), the others 0: LZCNT, TZCNT and their like. ZF is written through the result. */
  setZeroCarry(zero: I32, carry: I64): void {
    this.setAllFlags(i64.or(i64.shl(i64.extendU(zero), i64.const(6)), carry));
  }
  /** All six from an RFLAGS image. */
  setAllFlags(image: I64): void {
    const flags = this.let(image);
    const bit = (n: number): I64 => i64.and(i64.shrU(flags, i64.const(n)), i64.const(1));
    const zf = this.let(bit(6));
    this.f.set(this.around.result, i64.xor(zf, i64.const(1)));
    const low = i64.or(
      i64.or(bit(7), i64.shl(bit(4), i64.const(3))),
      i64.shl(i64.xor(bit(2), zf), i64.const(8)),
    );
    this.f.set(this.around.carries, i64.or(low, this.#carryBits(this.let(bit(0)), bit(11))));
  }
  /** The six status flags as an RFLAGS image. */
  allFlags(): I64 {
    const bit = (value: I64, n: number): I64 => i64.shl(value, i64.const(n));
    const zf = i64.extendU(i64.eqz(this.around.result));
    const af = i64.and(i64.shrU(this.around.carries, i64.const(3)), i64.const(1));
    const sf = i64.extendU(this.condition(8));
    const pf = i64.extendU(this.condition(10));
    return [bit(pf, 2), bit(af, 4), bit(zf, 6), bit(sf, 7), bit(this.overflow(), 11)].reduce(
      (all, one) => i64.or(all, one),
      this.carry(),
    );
  }
  carry(): I64 {
    return i64.shrU(this.around.carries, i64.const(63));
  }
  overflow(): I64 {
    const { carries } = this.around;
    return i64.shrU(i64.xor(carries, i64.shl(carries, i64.const(1))), i64.const(63));
  }
  auxiliary(): I64 {
    return i64.and(i64.shrU(this.around.carries, i64.const(3)), i64.const(1));
  }
  /** Condition code (the manual's encoding, 0..15) as 0/1. */
  condition(code: number): I32 {
    const { result, carries } = this.around;
    const zero = i64.const(0);
    const sign = i64.xor(result, i64.shl(carries, i64.const(63)));
    const overflow = i64.xor(carries, i64.shl(carries, i64.const(1)));
    const base = ((): I32 => {
      switch (code >> 1) {
        case 0:
          return i64.ltS(overflow, zero);
        case 1:
          return i64.ltS(carries, zero);
        case 2:
          return i64.eqz(result);
        case 3:
          return i32.or(i64.ltS(carries, zero), i64.eqz(result));
        case 4:
          return i64.ltS(sign, zero);
        case 5: {
          const low = i64.and(i64.xor(result, i64.shrU(carries, i64.const(8))), i64.const(0xff));
          return i64.eqz(i64.and(i64.popcnt(low), i64.const(1)));
        }
        case 6:
          return i64.ltS(i64.xor(sign, overflow), zero);
        default:
          return i32.or(i64.ltS(i64.xor(sign, overflow), zero), i64.eqz(result));
      }
    })();
    return (code & 1) === 0 ? base : i32.eqz(base);
  }

  #carryBits(carry: I64, overflow: I64): I64 {
    return i64.or(i64.shl(carry, i64.const(63)), i64.shl(i64.xor(carry, overflow), i64.const(62)));
  }
  /** @param vector carry (or borrow) out of each bit position */
  #setFlags(r: I64, vector: I64): void {
    this.f.set(this.around.result, this.signExtend(r));
    if (this.size === 8) {
      this.f.set(this.around.carries, i64.and(vector, i64.const(carryMask)));
      return;
    }
    const carries = this.let(vector);
    const high = i64.shl(carries, i64.const(64 - this.bits));
    const kept = this.size === 4 ? high : i64.and(high, i64.const(signBit | (signBit >> 1n)));
    this.f.set(this.around.carries, i64.or(kept, i64.and(carries, i64.const(8))));
  }

  // ——— control

  raiseIf(condition: I32, exception: number): void {
    this.f.if(condition, () => this.around.raise(exception));
  }
}
