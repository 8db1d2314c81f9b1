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
import { lpOffset } from "../lp-window.ts";
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
 * SSE and SSE2 floating-point arithmetic by the host's, as long as it does what MXCSR asks for and no exception has to be
 * recorded. Whatever else there is (other roundings, denormals, NaNs, overflow, the first inexact result) is found by its
 * operands and result and handed over to TypeScript. The reciprocal approximations give correctly rounded quotients, which are
 * closer than the architecture demands; they raise nothing.
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
  /** All bits but signs; the smallest normal number; infinity; in every element. */
  readonly magnitude: V128;
  readonly normal: V128;
  readonly infinity: V128;
  /** Opcode that gathers the sign bits of the elements. */
  readonly bitmask: number;
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
  magnitude: repeated(0x7fff_ffff_7fff_ffffn),
  normal: repeated(0x0080_0000_0080_0000n),
  infinity: repeated(0x7f80_0000_7f80_0000n),
  bitmask: 0xa4,
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
  magnitude: repeated(0x7fff_ffff_ffff_ffffn),
  normal: repeated(0x0010_0000_0000_0000n),
  infinity: repeated(0x7ff0_0000_0000_0000n),
  bitmask: 0xc4,
};

const or = (a: V128, b: V128): V128 => v128.binary(0x50, a, b);
const isNan = (type: ElementType, a: V128): V128 => v128.binary(type.notEqual, a, a);

// ——— what the host's arithmetic must not be trusted with

const and = (a: V128, b: V128): V128 => v128.binary(0x4e, a, b);
const zero = repeated(0n);
const isZero = (type: ElementType, a: V128): V128 => v128.binary(type.equal, a, zero);
/** Zero, or above the smallest normal number: that one may be a denormal result rounded up. NaNs are neither. */
function isOrdinary(c: InstructionEmitter, type: ElementType, a: V128): V128 {
  const magnitude = c.let(and(a, type.magnitude));
  return or(isZero(type, a), v128.binary(type.less, type.normal, magnitude));
}
/** The same, and no infinity. */
function isBounded(c: InstructionEmitter, type: ElementType, a: V128): V128 {
  const magnitude = and(a, type.magnitude);
  return and(isOrdinary(c, type, a), v128.binary(type.less, magnitude, type.infinity));
}

/** How many of the elements count. */
type Elements = "all" | "low";

/** Hands over unless every element that counts has ones in `fine`. */
function requireElements(
  c: InstructionEmitter,
  type: ElementType,
  fine: V128,
  elements: Elements,
): void {
  const wanted = i32.const(elements === "low" ? 1 : (1 << (16 / type.bytes)) - 1);
  const found = i32.and(v128.bitmask(type.bitmask, fine), wanted);
  c.f.if(i32.ne(found, wanted), () => c.around.handOver());
}

/** MXCSR: rounding control, the precision mask and the precision flag. */
const precisionBits = 0x6000 | 0x1000 | 0x20;
/** Rounding to nearest; inexact results are masked, and have been recorded already. */
const precisionKnown = 0x1000 | 0x20;
/** Hands over where an inexact result would have to be recorded, or rounded otherwise than to nearest. */
function requireKnownPrecision(c: InstructionEmitter): void {
  const mxcsr = i32.load(c.around.window, lpOffset.mxcsr);
  const isKnown = i32.eq(i32.and(mxcsr, i32.const(precisionBits)), i32.const(precisionKnown));
  c.f.if(i32.eqz(isKnown), () => c.around.handOver());
}

/** What an operation may meet, and so what is to be looked at. */
interface Hazards {
  /** The first operand counts too. */
  readonly binary: boolean;
  /** Results may be inexact; a comparison's are not. */
  readonly rounds: boolean;
  /** A result of zero of operands that are not may be one too small. */
  readonly vanishes: boolean;
}

function guard(
  c: InstructionEmitter,
  type: ElementType,
  { binary, rounds, vanishes }: Hazards,
  elements: Elements,
  [a, b, result]: readonly [V128, V128, V128],
): void {
  const isFine = rounds ? isBounded : isOrdinary;
  const operands = isFine(c, type, b);
  const both = binary ? and(isFine(c, type, a), operands) : operands;
  if (!rounds) {
    requireElements(c, type, both, elements);
    return;
  }
  requireKnownPrecision(c);
  const product = or(isZero(type, a), isZero(type, b));
  const isExactZero = vanishes ? or(v128.binary(type.notEqual, result, zero), product) : undefined;
  const whole = and(both, isBounded(c, type, result));
  requireElements(c, type, isExactZero ? and(whole, isExactZero) : whole, elements);
}

/** An operation on vectors; the scalar instructions use it on the whole and take the low element. */
interface Operation {
  /** Undefined: the operation raises nothing. */
  readonly hazards: Hazards | undefined;
  readonly emit: (c: InstructionEmitter, type: ElementType, a: V128, b: V128) => V128;
}

/** NaN results of an operation that raises nothing: the operand's NaN made quiet, else the indefinite NaN. */
function settleNan(type: ElementType, operands: readonly V128[], result: V128): V128 {
  let settled = bitSelect(isNan(type, result), type.indefinite, result);
  for (const operand of operands.toReversed()) {
    settled = bitSelect(isNan(type, operand), or(operand, type.quiet), settled);
  }
  return settled;
}
const arithmetic = (opcodes: readonly [number, number], vanishes: boolean): Operation => ({
  hazards: { binary: true, rounds: true, vanishes },
  emit: (_, type, a, b) => v128.binary(opcodes[type === single ? 0 : 1], a, b),
});
export const add = arithmetic([0xe4, 0xf0], false);
export const subtract = arithmetic([0xe5, 0xf1], false);
export const multiply = arithmetic([0xe6, 0xf2], true);
export const divide = arithmetic([0xe7, 0xf3], true);
const comparing: Hazards = { binary: true, rounds: false, vanishes: false };

/** MIN and MAX give the second operand when the operands are equal or one is a NaN: the host's pseudo-minimum reversed. */
const extreme = (opcodes: readonly [number, number]): Operation => ({
  hazards: comparing,
  emit: (_, type, a, b) => v128.binary(opcodes[type === single ? 0 : 1], b, a),
});
export const minimum = extreme([0xea, 0xf6]);
export const maximum = extreme([0xeb, 0xf7]);

export const squareRoot: Operation = {
  hazards: { binary: false, rounds: true, vanishes: false },
  emit: (_, type, __, b) => v128.unary(type.squareRoot, b),
};
export const reciprocal: Operation = {
  hazards: undefined,
  emit: (c, type, _, b) => settleNan(type, [b], c.let(v128.binary(type.divide, type.ones, b))),
};
export const reciprocalSquareRoot: Operation = {
  hazards: undefined,
  emit: (c, type, _, b) => {
    const root = v128.unary(type.squareRoot, b);
    return settleNan(type, [b], c.let(v128.binary(type.divide, type.ones, root)));
  },
};

/** CMPccPS and its kin: an immediate of equal, less, less or equal, unordered, and their opposites. */
function comparePacked(c: InstructionEmitter, type: ElementType, a: V128, b: V128): V128 {
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
}
export const compare: Operation = { hazards: comparing, emit: comparePacked };

/** The operation's result, unless it is handed over. */
function guarded(
  c: InstructionEmitter,
  { hazards, emit }: Operation,
  type: ElementType,
  elements: Elements,
  a: V128,
  b: V128,
): V128 {
  const result = c.let(emit(c, type, a, b));
  if (hazards !== undefined) {
    guard(c, type, hazards, elements, [a, b, result]);
  }
  return result;
}

export const packedFloat =
  (operation: Operation) =>
  (type: ElementType): Semantics =>
  (c) => {
    const b = vectorSource(c);
    writeVector(c, guarded(c, operation, type, "all", vectorDestination(c), b));
  };
/** The low element only; a memory operand has an element's size. */
export const scalarFloat =
  (operation: Operation) =>
  (type: ElementType): Semantics =>
  (c) => {
    const b = c.let(v128.splat64(c.source(type.bytes)));
    const result = guarded(c, operation, type, "low", vectorDestination(c), b);
    writeLow(c, type.bytes, v128.extract64(result, 0));
  };
export const elementTypes = { single, double } as const;

// ——— scalar values as f64: every single is one exactly

const asDouble = (bits: I64): Expression<"f64"> => f64.reinterpret(bits);
const singleAsDouble = (bits: I64): Expression<"f64"> =>
  f64.promote(f32.reinterpret(i32.wrap(bits)));
const low32 = (value: I64): I64 => i64.and(value, i64.const(0xffff_ffffn));

/** Hands over unless the low element of these bits is zero or a number well above the denormals; infinities pass if told so. */
function requireScalar(
  c: InstructionEmitter,
  bytes: 4 | 8,
  bits: I64,
  isFine: typeof isOrdinary,
): void {
  const type = bytes === 4 ? single : double;
  requireElements(c, type, isFine(c, type, c.let(v128.splat64(bits))), "low");
}

/** COMISS, COMISD and the unordered ones: ZF, PF, CF; the other flags are cleared. */
export const compareFlags =
  (bytes: 4 | 8): Semantics =>
  (c) => {
    const value = bytes === 8 ? asDouble : singleAsDouble;
    const bitsB = c.let(c.source(bytes));
    const bitsA = c.let(c.readAt(c.field32(recordOffset.destination), bytes));
    requireScalar(c, bytes, bitsA, isOrdinary);
    requireScalar(c, bytes, bitsB, isOrdinary);
    const a = c.let(value(bitsA));
    const b = c.let(value(bitsB));
    c.setAllFlags(c.let(select(f64.eq(a, b), i64.const(0x40), i64.extendU(f64.lt(a, b)))));
  };

// ——— conversions

/** CVTSI2SS and CVTSI2SD: the form's size is the integer's. */
export const fromInteger =
  (bytes: 4 | 8): Semantics =>
  (c) => {
    const value = c.let(c.signExtend(c.source()));
    // Only integers of 32 bits as doubles are always exact.
    if (bytes === 4 || c.size === 8) {
      requireKnownPrecision(c);
    }
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
    const size = c.size === 8 ? 8 : 4;
    requireKnownPrecision(c);
    const integer = c.let(integerOf(c, value, size, truncate));
    requireDefinite(c, integer, size);
    c.write(integer);
  };

/** Hands the integer indefinite over: most likely the value does not fit. */
function requireDefinite(c: InstructionEmitter, integer: I64, size: 4 | 8): void {
  const indefinite = i64.const(size === 8 ? -(1n << 63n) : 0x8000_0000n);
  c.f.if(i64.eq(integer, indefinite), () => c.around.handOver());
}

/** From a number that is zero, infinite or well above the denormals: exact. */
function singleToDouble(c: InstructionEmitter, bits: I64): I64 {
  requireScalar(c, 4, bits, isOrdinary);
  return c.let(i64.reinterpret(f64.promote(f32.reinterpret(i32.wrap(bits)))));
}
function doubleToSingle(c: InstructionEmitter, bits: I64): I64 {
  requireKnownPrecision(c);
  requireScalar(c, 8, bits, isBounded);
  const converted = c.let(i64.extendU(i32.reinterpret(f32.demote(f64.reinterpret(bits)))));
  requireScalar(c, 4, converted, isBounded);
  // Too small for any single.
  const hasVanished = i32.and(
    i64.eqz(low31(converted)),
    i64.ne(i64.shl(bits, i64.const(1)), i64.const(0)),
  );
  c.f.if(hasVanished, () => c.around.handOver());
  return converted;
}
const low31 = (value: I64): I64 => i64.and(value, i64.const(0x7fff_ffffn));

export const CVTSS2SD: Semantics = (c) =>
  writeLow(c, 8, singleToDouble(c, c.let(low32(c.source(4)))));
export const CVTSD2SS: Semantics = (c) => writeLow(c, 4, doubleToSingle(c, c.let(c.source(8))));

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
  writeHalves(c, singleToDouble(c, low), singleToDouble(c, high));
};
export const CVTPD2PS: Semantics = (c) => {
  const [low, high] = twoDoubles(c);
  writeHalves(c, c.let(joined(doubleToSingle(c, low), doubleToSingle(c, high))), i64.const(0));
};
export const CVTDQ2PD: Semantics = (c) => {
  const [low, high] = twoSingles(c);
  const convert = (bits: I64): I64 => i64.reinterpret(f64.convertI64(i64.extend32(bits)));
  writeHalves(c, convert(low), convert(high));
};
export const CVTDQ2PS: Semantics = (c) => {
  const source = vectorSource(c);
  requireKnownPrecision(c);
  writeVector(c, v128.unary(0xfa, source));
};

/** CVTPD2DQ and CVTTPD2DQ. */
export const doublesToIntegers =
  (truncate: boolean): Semantics =>
  (c) => {
    const [low, high] = twoDoubles(c);
    requireKnownPrecision(c);
    const convert = (bits: I64): I64 => {
      const integer = c.let(integerOf(c, asDouble(bits), 4, truncate));
      requireDefinite(c, integer, 4);
      return integer;
    };
    writeHalves(c, c.let(joined(convert(low), convert(high))), i64.const(0));
  };
/** CVTPS2DQ and CVTTPS2DQ. What may not fit is handed over. */
export const singlesToIntegers =
  (truncate: boolean): Semantics =>
  (c) => {
    const source = vectorSource(c);
    requireKnownPrecision(c);
    const tooLarge = repeated(0x4f00_0000_4f00_0000n);
    const magnitude = and(source, single.magnitude);
    requireElements(c, single, v128.binary(single.less, magnitude, tooLarge), "all");
    const rounded = truncate ? source : v128.unary(0x6a, source);
    writeVector(c, v128.unary(0xf8, rounded));
  };
