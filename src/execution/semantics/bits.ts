import { type I64, i32, i64 } from "../../wasm/expression.ts";
import type { Local } from "../../wasm/function-builder.ts";
import { recordOffset } from "../instruction-record.ts";
import type { Semantics } from "./arithmetic.ts";
import type { InstructionEmitter } from "./instruction-emitter.ts";

const one = i64.const(1);
const allOnes = i64.const(-1);

type BitChange = (value: I64, bit: I64) => I64;

/**
 * Linear address of the operand that holds the selected bit of a bit string in memory. A register offset counts bits from the
 * memory operand's start, in both directions; the operand moves by whole operands before the address size cuts the offset.
 */
function bitStringAddress(c: InstructionEmitter, offset: I64, write: boolean): Local<"i64"> {
  const log2 = { 1: 3, 2: 4, 4: 5, 8: 6 }[c.size];
  const operands = i64.shrS(c.signExtend(offset), i64.const(log2));
  const moved = i64.add(c.simpleAddress(), i64.mul(operands, i64.const(c.size)));
  const segment = i32.load8u(c.around.record, recordOffset.segment);
  return c.let(c.around.segmentAddress(segment, i64.and(moved, c.addressMask()), c.size, write));
}

/** BT, BTS, BTR, BTC: CF is the bit as it was; the other flags stay. */
function bitTest(change: BitChange | undefined): Semantics {
  return (c) => {
    const offset = c.let(c.source());
    const bit = c.let(i64.shl(one, i64.and(offset, i64.const(c.bits - 1))));
    const setCarry = (value: I64): void =>
      c.setCarry(c.let(i64.extendU(i64.ne(i64.and(value, bit), i64.const(0)))));
    const inString = c.form.destination !== "register" && c.form.source === "register";
    const memory = (write: boolean): Local<"i64"> =>
      inString ? bitStringAddress(c, offset, write) : c.memoryAddress(c.size, write);
    if (!change) {
      const value =
        c.form.destination === "register" ? c.destination() : c.load(memory(false), c.size);
      setCarry(value);
      return;
    }
    const compute = (old: I64): I64 => {
      setCarry(old);
      return c.truncate(change(old, bit));
    };
    if (c.form.destination === "register") {
      c.update(compute);
    } else {
      c.modify(memory(true), c.size, c.form.lock, compute);
    }
  };
}
export const BT = bitTest(undefined);
export const BTS = bitTest(i64.or);
export const BTR = bitTest((value, bit) => i64.and(value, i64.xor(bit, allOnes)));
export const BTC = bitTest(i64.xor);

/** Number of zero bits above the highest set bit of an operand-sized value; the operand's width for zero. */
function leadingZeros(c: InstructionEmitter, value: I64): I64 {
  return i64.sub(i64.clz(value), i64.const(64 - c.bits));
}
/** Number of zero bits below the lowest set bit; the operand's width for zero. */
function trailingZeros(c: InstructionEmitter, value: I64): I64 {
  return i64.ctz(c.size === 8 ? value : i64.or(value, i64.const(1n << BigInt(c.bits))));
}

/** BSF and BSR: ZF tells a zero source, which leaves the destination alone. */
function bitScan(place: (c: InstructionEmitter, value: I64) => I64): Semantics {
  return (c) => {
    const value = c.let(c.source());
    c.flagsOfLogic(value);
    c.f.if(i64.ne(value, i64.const(0)), () => c.write(place(c, value)));
  };
}
export const BSF = bitScan(trailingZeros);
export const BSR = bitScan((c, value) => i64.sub(i64.const(c.bits - 1), leadingZeros(c, value)));

/** LZCNT and TZCNT: CF tells a zero source, ZF a zero count. */
function zeroCount(count: (c: InstructionEmitter, value: I64) => I64): Semantics {
  return (c) => {
    const value = c.let(c.source());
    const r = c.let(count(c, value));
    c.setZeroCarry(i64.eqz(r), i64.extendU(i64.eqz(value)));
    c.write(r);
  };
}
export const LZCNT = zeroCount(leadingZeros);
export const TZCNT = zeroCount(trailingZeros);

export const POPCNT: Semantics = (c) => {
  const value = c.let(c.source());
  c.setZeroCarry(i64.eqz(value), i64.const(0));
  c.write(i64.popcnt(value));
};

/** CRC32: accumulates a source of `from` bytes, low byte first, with the reflected Castagnoli polynomial. */
export const crc32 =
  (from: 1 | 2 | 4 | 8): Semantics =>
  (c) => {
    const { f } = c;
    const polynomial = i64.const(0x82f6_3b78n);
    const data = c.let(c.source(from));
    const crc = c.let(i64.xor(c.destination(4), data));
    const count = c.let(i64.const(from * 8));
    f.loop((again) => {
      const low = i64.sub(i64.const(0), i64.and(crc, one));
      f.set(crc, i64.xor(i64.shrU(crc, one), i64.and(polynomial, low)));
      f.set(count, i64.sub(count, one));
      f.branchIf(again, i64.ne(count, i64.const(0)));
    });
    c.write(c.truncate(crc, 4), 8);
  };
