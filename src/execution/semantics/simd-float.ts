import {
  choose,
  type Expression,
  f32,
  f64,
  type I32,
  type I64,
  i32,
  i64,
  select,
  type V128,
  v128,
} from "../../wasm/expression.ts";
import { recordOffset } from "../instruction-record.ts";
import type { Semantics } from "./arithmetic.ts";
import type { InstructionEmitter } from "./instruction-emitter.ts";
import {
  bitSelect,
  immediateByte,
  repeated,
  vectorDestination,
  vectorSource,
  writeHalves,
  writeLow,
  writeVector,
} from "./simd-operands.ts";

/**
 * SSE and SSE2 floating-point arithmetic by the host's.
 *
 * Limits: rounding is to nearest whatever MXCSR.RC says, denormals are neither flushed nor taken as zero, and no exception flag
 * of MXCSR is set nor any SIMD floating-point exception raised: MXCSR counts as holding its power-up value. NaNs come out as the
 * architecture says, on every host. The reciprocal approximations give correctly rounded quotients, which are closer than
 * the architecture demands.
 */

/** What differs between the two widths of floating-point elements. */
interface ElementType {
  readonly bytes: 4 | 8;
  readonly notEqual: number;
  readonly equal: number;
  readonly less: number;
  readonly lessOrEqual: number;
  readonly squareRoot: number;
  readonly divide: number;
  /** The bit that makes a NaN quiet, and the NaN of invalid operations, in every element. */
  readonly quiet: V128;
  readonly indefinite: V128;
  readonly ones: V128;
}
const single: ElementType = {
  bytes: 4,
  equal: 0x41,
  notEqual: 0x42,
  less: 0x43,
  lessOrEqual: 0x45,
  squareRoot: 0xe3,
  divide: 0xe7,
  quiet: repeated(0x0040_0000_0040_0000n),
  indefinite: repeated(-0x003f_ffff_0040_0000n),
  ones: repeated(0x3f80_0000_3f80_0000n),
};
const double: ElementType = {
  bytes: 8,
  equal: 0x47,
  notEqual: 0x48,
  less: 0x49,
  lessOrEqual: 0x4b,
  squareRoot: 0xef,
  divide: 0xf3,
  quiet: repeated(0x0008_0000_0000_0000n),
  indefinite: repeated(-0x0008_0000_0000_0000n),
  ones: repeated(0x3ff0_0000_0000_0000n),
};

const or = (a: V128, b: V128): V128 => v128.binary(0x50, a, b);
const isNan = (type: ElementType, a: V128): V128 => v128.binary(type.notEqual, a, a);

/** An operation on vectors; the scalar instructions use it on the whole and take the low element. */
type Operation = (c: InstructionEmitter, type: ElementType, a: V128, b: V128) => V128;

/** NaN results: the first operand's NaN made quiet, else the second's, else the indefinite NaN. */
function settleNan(type: ElementType, operands: readonly V128[], result: V128): V128 {
  let settled = bitSelect(isNan(type, result), type.indefinite, result);
  for (const operand of operands.toReversed()) {
    settled = bitSelect(isNan(type, operand), or(operand, type.quiet), settled);
  }
  return settled;
}
const arithmetic =
  (opcodes: readonly [number, number]): Operation =>
  (c, type, a, b) =>
    settleNan(type, [a, b], c.let(v128.binary(opcodes[type === single ? 0 : 1], a, b)));
export const add = arithmetic([0xe4, 0xf0]);
export const subtract = arithmetic([0xe5, 0xf1]);
export const multiply = arithmetic([0xe6, 0xf2]);
export const divide = arithmetic([0xe7, 0xf3]);

/** MIN and MAX give the second operand when the operands are equal or one is a NaN: the host's pseudo-minimum reversed. */
const extreme =
  (opcodes: readonly [number, number]): Operation =>
  (_, type, a, b) =>
    v128.binary(opcodes[type === single ? 0 : 1], b, a);
export const minimum = extreme([0xea, 0xf6]);
export const maximum = extreme([0xeb, 0xf7]);

export const squareRoot: Operation = (c, type, _, b) =>
  settleNan(type, [b], c.let(v128.unary(type.squareRoot, b)));
export const reciprocal: Operation = (c, type, _, b) =>
  settleNan(type, [b], c.let(v128.binary(type.divide, type.ones, b)));
export const reciprocalSquareRoot: Operation = (c, type, _, b) =>
  settleNan(type, [b], c.let(v128.binary(type.divide, type.ones, v128.unary(type.squareRoot, b))));

/** CMPccPS and its kin: an immediate of equal, less, less or equal, unordered, and their opposites. */
export const compare: Operation = (c, type, a, b) => {
  const kind = c.let(i32.and(immediateByte(c), i32.const(7)));
  const isKind = (n: number): I32 => i32.eq(i32.and(kind, i32.const(3)), i32.const(n));
  const unordered = or(isNan(type, a), isNan(type, b));
  const holds = choose(
    isKind(0),
    v128.binary(type.equal, a, b),
    choose(
      isKind(1),
      v128.binary(type.less, a, b),
      choose(isKind(2), v128.binary(type.lessOrEqual, a, b), unordered),
    ),
  );
  const opposite = i64.sub(i64.const(0), i64.extendU(i32.shrU(kind, i32.const(2))));
  return v128.binary(0x51, holds, v128.splat64(opposite));
};

export const packedFloat =
  (operation: Operation) =>
  (type: ElementType): Semantics =>
  (c) => {
    const b = vectorSource(c);
    writeVector(c, operation(c, type, vectorDestination(c), b));
  };
/** The low element only; a memory operand has an element's size. */
export const scalarFloat =
  (operation: Operation) =>
  (type: ElementType): Semantics =>
  (c) => {
    const b = c.let(v128.splat64(c.source(type.bytes)));
    const result = operation(c, type, vectorDestination(c), b);
    writeLow(c, type.bytes, v128.extract64(result, 0));
  };
export const elementTypes = { single, double } as const;

// ——— scalar values as f64: every single is one exactly

const asDouble = (bits: I64): Expression<"f64"> => f64.reinterpret(bits);
const singleAsDouble = (bits: I64): Expression<"f64"> =>
  f64.promote(f32.reinterpret(i32.wrap(bits)));
const low32 = (value: I64): I64 => i64.and(value, i64.const(0xffff_ffffn));

/** COMISS, COMISD and the unordered ones: ZF, PF, CF; the other flags are cleared. */
export const compareFlags =
  (bytes: 4 | 8): Semantics =>
  (c) => {
    const value = bytes === 8 ? asDouble : singleAsDouble;
    const b = c.let(value(c.source(bytes)));
    const a = c.let(value(c.readAt(c.field32(recordOffset.destination), bytes)));
    const unordered = i32.or(f64.ne(a, a), f64.ne(b, b));
    const image = select(f64.eq(a, b), i64.const(0x40), i64.extendU(f64.lt(a, b)));
    c.setAllFlags(c.let(select(unordered, i64.const(0x45), image)));
  };

// ——— conversions

/** CVTSI2SS and CVTSI2SD: the form's size is the integer's. */
export const fromInteger =
  (bytes: 4 | 8): Semantics =>
  (c) => {
    const value = c.let(c.signExtend(c.source()));
    const bits =
      bytes === 8
        ? i64.reinterpret(f64.convertI64(value))
        : i64.extendU(i32.reinterpret(f32.convertI64(value)));
    writeLow(c, bytes, bits);
  };

/** A double as integer of 4 or 8 bytes (zero-extended); what does not fit gives the integer indefinite. */
function integerOf(
  c: InstructionEmitter,
  value: Expression<"f64">,
  bytes: 4 | 8,
  truncate: boolean,
): I64 {
  const rounded = c.let(truncate ? value : f64.nearest(value));
  const integer = c.let(i64.truncateSaturated(rounded));
  if (bytes === 8) {
    const fits = f64.lt(rounded, f64.const(2 ** 63));
    return select(fits, integer, i64.const(-(1n << 63n)));
  }
  const fits = i32.and(f64.eq(rounded, rounded), i64.eq(i64.extend32(integer), integer));
  return select(fits, low32(integer), i64.const(0x8000_0000n));
}
/** CVTSS2SI, CVTSD2SI and the truncating ones: the form's size is the integer's. */
export const toInteger =
  (bytes: 4 | 8, truncate: boolean): Semantics =>
  (c) => {
    const source = c.let(c.source(bytes));
    const value = bytes === 8 ? asDouble(source) : singleAsDouble(source);
    c.write(integerOf(c, value, c.size === 8 ? 8 : 4, truncate));
  };

/** A NaN keeps its sign and the upper bits of its payload, and becomes quiet. */
function singleToDouble(bits: I64): I64 {
  const value = f32.reinterpret(i32.wrap(bits));
  const sign = i64.shl(i64.shrU(bits, i64.const(31)), i64.const(63));
  const payload = i64.shl(i64.and(bits, i64.const(0x7f_ffff)), i64.const(29));
  const nan = i64.or(i64.or(sign, payload), i64.const(0x7ff8_0000_0000_0000n));
  return select(f32.eq(value, value), i64.reinterpret(f64.promote(value)), nan);
}
function doubleToSingle(bits: I64): I64 {
  const value = f64.reinterpret(bits);
  const sign = i64.shl(i64.shrU(bits, i64.const(63)), i64.const(31));
  const payload = i64.and(i64.shrU(bits, i64.const(29)), i64.const(0x3f_ffff));
  const nan = i64.or(i64.or(sign, payload), i64.const(0x7fc0_0000));
  const converted = i64.extendU(i32.reinterpret(f32.demote(value)));
  return select(f64.eq(value, value), converted, nan);
}
export const CVTSS2SD: Semantics = (c) => writeLow(c, 8, singleToDouble(c.let(low32(c.source(4)))));
export const CVTSD2SS: Semantics = (c) => writeLow(c, 4, doubleToSingle(c.let(c.source(8))));

/** Two elements of 4 bytes, from 8 bytes of the source. */
function twoSingles(c: InstructionEmitter): [I64, I64] {
  const pair = c.let(c.source(8));
  return [c.let(low32(pair)), c.let(i64.shrU(pair, i64.const(32)))];
}
function twoDoubles(c: InstructionEmitter): [I64, I64] {
  const source = vectorSource(c);
  return [c.let(v128.extract64(source, 0)), c.let(v128.extract64(source, 1))];
}
const joined = (low: I64, high: I64): I64 => i64.or(low, i64.shl(high, i64.const(32)));

export const CVTPS2PD: Semantics = (c) => {
  const [low, high] = twoSingles(c);
  writeHalves(c, singleToDouble(low), singleToDouble(high));
};
export const CVTPD2PS: Semantics = (c) => {
  const [low, high] = twoDoubles(c);
  writeHalves(c, c.let(joined(doubleToSingle(low), doubleToSingle(high))), i64.const(0));
};
export const CVTDQ2PD: Semantics = (c) => {
  const [low, high] = twoSingles(c);
  const convert = (bits: I64): I64 => i64.reinterpret(f64.convertI64(i64.extend32(bits)));
  writeHalves(c, convert(low), convert(high));
};
export const CVTDQ2PS: Semantics = (c) => writeVector(c, v128.unary(0xfa, vectorSource(c)));

/** CVTPD2DQ and CVTTPD2DQ. */
export const doublesToIntegers =
  (truncate: boolean): Semantics =>
  (c) => {
    const [low, high] = twoDoubles(c);
    const convert = (bits: I64): I64 => c.let(integerOf(c, asDouble(bits), 4, truncate));
    writeHalves(c, c.let(joined(convert(low), convert(high))), i64.const(0));
  };
/** CVTPS2DQ and CVTTPS2DQ. The host saturates upwards where the architecture wants the integer indefinite. */
export const singlesToIntegers =
  (truncate: boolean): Semantics =>
  (c) => {
    const source = vectorSource(c);
    const rounded = truncate ? source : c.let(v128.unary(0x6a, source));
    const tooLarge = repeated(0x4f00_0000_4f00_0000n);
    const fits = v128.binary(single.less, rounded, tooLarge);
    const indefinite = repeated(-0x7fff_ffff_8000_0000n);
    writeVector(c, bitSelect(fits, v128.unary(0xf8, rounded), indefinite));
  };
