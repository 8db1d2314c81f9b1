import { choose, type I64, i32, i64, select, type V128, v128 } from "../../wasm/expression.ts";
import type { Semantics } from "./arithmetic.ts";
import type { InstructionEmitter } from "./instruction-emitter.ts";
import {
  immediateByte,
  repeated,
  vectorDestination,
  vectorSource,
  writeVector,
} from "./simd-operands.ts";

/** An operation on the destination and the source as wholes. */
export const packed =
  (operation: (a: V128, b: V128) => V128): Semantics =>
  (c) => {
    const b = vectorSource(c);
    writeVector(c, operation(vectorDestination(c), b));
  };
/** One that the host has as it is, by its opcode. */
export const lanes = (opcode: number): Semantics => packed((a, b) => v128.binary(opcode, a, b));

export const PANDN = packed((a, b) => v128.binary(0x4f, b, a));

/** PMULHW and PMULHUW: the high words of the products, by the opcodes of the wide products of either half. */
export const multiplyHigh = (low: number, high: number): Semantics =>
  packed((a, b) => {
    const upper = [2, 3, 6, 7, 10, 11, 14, 15];
    return v128.shuffle(v128.binary(low, a, b), v128.binary(high, a, b), [
      ...upper,
      ...upper.map((n) => n + 16),
    ]);
  });

/** PMULUDQ: products of the even doublewords. */
export const PMULUDQ = packed((a, b) => {
  const even = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
  const extendedMultiplyLow = 0xde;
  return v128.binary(extendedMultiplyLow, v128.shuffle(a, a, even), v128.shuffle(b, b, even));
});

/** PSADBW: sums of absolute differences of the bytes of each half. */
export const PSADBW: Semantics = (c) => {
  const b = vectorSource(c);
  const a = vectorDestination(c);
  const differences = v128.binary(0x71, v128.binary(0x79, a, b), v128.binary(0x77, a, b));
  const fours = c.let(v128.unary(0x7f, v128.unary(0x7d, differences)));
  const low = v128.binary(0x4e, fours, repeated(0xffff_ffffn));
  const high = v128.shift(0xcd, fours, i32.const(32));
  writeVector(c, v128.binary(0xce, low, high));
};

/** Count of a packed shift: the immediate, or the low quadword of the source. */
function shiftCount(c: InstructionEmitter): I64 {
  return c.form.source === "immediate"
    ? i64.extendU(immediateByte(c))
    : v128.extract64(vectorSource(c), 0);
}
/** Logical packed shifts: everything is shifted out by a count of the lane's width or more. */
export const shiftLogical =
  (opcode: number, laneBits: number): Semantics =>
  (c) => {
    const count = c.let(shiftCount(c));
    const shifted = v128.shift(opcode, vectorDestination(c), i32.wrap(count));
    writeVector(c, choose(i64.gtU(count, i64.const(laneBits - 1)), repeated(0n), shifted));
  };
/** Arithmetic ones: such counts leave the sign everywhere. */
export const shiftArithmetic =
  (opcode: number, laneBits: number): Semantics =>
  (c) => {
    const count = c.let(shiftCount(c));
    const most = i64.const(laneBits - 1);
    const limited = select(i64.gtU(count, most), most, count);
    writeVector(c, v128.shift(opcode, vectorDestination(c), i32.wrap(limited)));
  };

const byteNumbers = v128.const(Array.from({ length: 16 }, (_, n) => n));
/** PSLLDQ and PSRLDQ: by bytes; `opcode` moves the byte numbers the other way. Numbers out of range select zero. */
export const shiftBytes =
  (opcode: number): Semantics =>
  (c) => {
    const sixteen = i32.const(16);
    const count = c.let(immediateByte(c));
    const limited = v128.splat8(select(i32.gtU(count, sixteen), sixteen, count));
    const selectors = v128.binary(opcode, byteNumbers, limited);
    writeVector(c, v128.binary(0x0e, vectorDestination(c), selectors));
  };
