/**
 * Single and double precision as SSE and SSE2 have them: exact results rounded once, for every setting of MXCSR, with the
 * exception flags. Numbers are their bits.
 */
import {
  aligned,
  bitLength,
  double,
  type Exact,
  type Format,
  FpFlag,
  integerSquareRoot,
  type Rounding,
  roundAt,
  roundInto,
  single,
} from "../x87/extended.ts";

/** Bytes of an element. */
export type FloatSize = 4 | 8;

/** What MXCSR asks for. */
export interface SimdContext {
  readonly rounding: Rounding;
  /** Exceptions masked, bits of `FpFlag`. */
  readonly masked: number;
  /** Denormal operands count as zero. */
  readonly denormalsAreZero: boolean;
  /** A tiny result becomes zero, while underflow is masked. */
  readonly flushToZero: boolean;
}

export interface SimdResult {
  readonly bits: bigint;
  /** Exceptions met, bits of `FpFlag`. */
  readonly flags: number;
}

interface Shape {
  readonly format: Format;
  readonly fractionBits: bigint;
  readonly exponentMax: number;
  readonly sign: bigint;
  readonly infinity: bigint;
  readonly quiet: bigint;
}
const shapeOf = (format: Format, fractionBits: bigint, exponentBits: bigint): Shape => {
  const infinity = ((1n << exponentBits) - 1n) << fractionBits;
  return {
    format,
    fractionBits,
    exponentMax: Number((1n << exponentBits) - 1n),
    sign: 1n << (fractionBits + exponentBits),
    infinity,
    quiet: 1n << (fractionBits - 1n),
  };
};
const shapes: Readonly<Record<FloatSize, Shape>> = {
  4: shapeOf(single, 23n, 8n),
  8: shapeOf(double, 52n, 11n),
};

type Kind = "zero" | "denormal" | "normal" | "infinity" | "quiet" | "signaling";

/** An operand taken apart. */
interface Operand {
  readonly bits: bigint;
  readonly kind: Kind;
  readonly negative: boolean;
}

function classify(bits: bigint, { fractionBits, exponentMax, quiet }: Shape): Kind {
  const exponent = Number(bits >> fractionBits) & exponentMax;
  const fraction = bits & ((1n << fractionBits) - 1n);
  if (exponent === 0) {
    return fraction === 0n ? "zero" : "denormal";
  }
  if (exponent < exponentMax) {
    return "normal";
  }
  if (fraction === 0n) {
    return "infinity";
  }
  return (fraction & quiet) !== 0n ? "quiet" : "signaling";
}

function operandOf(bits: bigint, shape: Shape, context: SimdContext): Operand {
  const kind = classify(bits, shape);
  const negative = (bits & shape.sign) !== 0n;
  return kind === "denormal" && context.denormalsAreZero
    ? { bits: bits & shape.sign, kind: "zero", negative }
    : { bits, kind, negative };
}

const isNan = ({ kind }: Operand): boolean => kind === "quiet" || kind === "signaling";
const denormalFlag = (...operands: readonly Operand[]): number =>
  operands.some(({ kind }) => kind === "denormal") ? FpFlag.Denormal : 0;
const signalingFlag = (...operands: readonly Operand[]): number =>
  operands.some(({ kind }) => kind === "signaling") ? FpFlag.Invalid : 0;

/** Value of a normal or denormal operand. */
function toExact({ bits, negative }: Operand, { format, fractionBits, exponentMax }: Shape): Exact {
  const biased = Number(bits >> fractionBits) & exponentMax;
  const fraction = bits & ((1n << fractionBits) - 1n);
  return {
    negative,
    significand: biased === 0 ? fraction : fraction | (1n << fractionBits),
    exponent: Math.max(biased, 1) - 1 + format.exponentMin - Number(fractionBits),
  };
}

const signOf = (negative: boolean, { sign }: Shape): bigint => (negative ? sign : 0n);

/** The NaN of an operation without a result. */
const indefinite = ({ sign, infinity, quiet }: Shape): bigint => sign | infinity | quiet;
const invalid = (shape: Shape): SimdResult => ({ bits: indefinite(shape), flags: FpFlag.Invalid });

/** NaN operands: the first one made quiet, else the second. */
function propagate(shape: Shape, ...operands: readonly Operand[]): SimdResult | undefined {
  const nan = operands.find(isNan);
  return nan && { bits: nan.bits | shape.quiet, flags: signalingFlag(...operands) };
}

/** Rounds into the format. */
function pack(number: Exact, shape: Shape, context: SimdContext, flags = 0): SimdResult {
  const { format, fractionBits, infinity } = shape;
  const sign = signOf(number.negative, shape);
  if (number.significand === 0n) {
    return { bits: sign, flags };
  }
  const isUnderflowMasked = (context.masked & FpFlag.Underflow) !== 0;
  const control = {
    rounding: context.rounding,
    precision: format.precision,
    masked: context.masked,
  };
  if (isUnderflowMasked && context.flushToZero && isTiny(number, shape, context)) {
    return { bits: sign, flags: flags | FpFlag.Underflow | FpFlag.Precision };
  }
  const { quotient, unit, flags: met } = roundInto(number, format, control);
  const all = flags | met;
  if (quotient === undefined) {
    return { bits: sign | infinity, flags: all };
  }
  const exponent = unit + bitLength(quotient) - 1;
  if (exponent > format.exponentMax || (met & ~context.masked & FpFlag.Underflow) !== 0) {
    // Not to be used: the exception is not masked.
    return { bits: sign, flags: all };
  }
  if (exponent < format.exponentMin) {
    return { bits: sign | quotient, flags: all };
  }
  const biased = BigInt(exponent - format.exponentMin + 1);
  const shift = Number(fractionBits) + 1 - bitLength(quotient);
  const significand = shift >= 0 ? quotient << BigInt(shift) : quotient >> BigInt(-shift);
  const fraction = significand & ((1n << fractionBits) - 1n);
  return { bits: sign | (biased << fractionBits) | fraction, flags: all };
}

/** Below the normal numbers once rounded as if exponents had no limit. */
function isTiny(number: Exact, { format }: Shape, { rounding }: SimdContext): boolean {
  const top = number.exponent + bitLength(number.significand) - 1;
  if (top >= format.exponentMin) {
    return false;
  }
  const unit = top - format.precision + 1;
  const { quotient } = roundAt(number, unit, rounding);
  return bitLength(quotient) + unit - 1 < format.exponentMin;
}

// ——— arithmetic

type Binary = (a: bigint, b: bigint, size: FloatSize, context: SimdContext) => SimdResult;
/** What is left when no operand is a NaN. */
type Finish = (
  a: Operand,
  b: Operand,
  shape: Shape,
  context: SimdContext,
  flags: number,
) => SimdResult;

const arithmetic =
  (finish: Finish): Binary =>
  (bitsA, bitsB, size, context) => {
    const shape = shapes[size];
    const a = operandOf(bitsA, shape, context);
    const b = operandOf(bitsB, shape, context);
    return propagate(shape, a, b) ?? finish(a, b, shape, context, denormalFlag(a, b));
  };

const isZero = ({ kind }: Operand): boolean => kind === "zero";
const isInfinite = ({ kind }: Operand): boolean => kind === "infinity";

const finishAdd: Finish = (a, b, shape, context, flags) => {
  if (isInfinite(a) || isInfinite(b)) {
    if (isInfinite(a) && isInfinite(b) && a.negative !== b.negative) {
      return invalid(shape);
    }
    return { bits: isInfinite(a) ? a.bits : b.bits, flags };
  }
  const isDown = context.rounding === roundsDown;
  if (isZero(a) && isZero(b)) {
    const negative = a.negative === b.negative ? a.negative : isDown;
    return { bits: signOf(negative, shape), flags };
  }
  const [x, y] = [toExact(a, shape), toExact(b, shape)];
  const exponent = Math.min(x.exponent, y.exponent);
  const sum = aligned(x, exponent) + aligned(y, exponent);
  if (sum === 0n) {
    return { bits: signOf(isDown, shape), flags };
  }
  const magnitude = sum < 0n ? -sum : sum;
  return pack({ negative: sum < 0n, significand: magnitude, exponent }, shape, context, flags);
};
const roundsDown = 1;

export const add = arithmetic(finishAdd);
export const subtract = arithmetic((a, b, shape, context, flags) =>
  finishAdd(a, { ...b, bits: b.bits ^ shape.sign, negative: !b.negative }, shape, context, flags),
);

export const multiply = arithmetic((a, b, shape, context, flags) => {
  const negative = a.negative !== b.negative;
  const sign = signOf(negative, shape);
  if (isInfinite(a) || isInfinite(b)) {
    return isZero(a) || isZero(b) ? invalid(shape) : { bits: sign | shape.infinity, flags };
  }
  const [x, y] = [toExact(a, shape), toExact(b, shape)];
  const significand = x.significand * y.significand;
  return pack({ negative, significand, exponent: x.exponent + y.exponent }, shape, context, flags);
});

/** More bits than any format has, so that what is left over matters only as not being zero. */
const quotientBits = 130;

export const divide = arithmetic((a, b, shape, context, flags) => {
  const negative = a.negative !== b.negative;
  const sign = signOf(negative, shape);
  if ((isZero(a) && isZero(b)) || (isInfinite(a) && isInfinite(b))) {
    return invalid(shape);
  }
  if (isInfinite(a)) {
    return { bits: sign | shape.infinity, flags };
  }
  if (isZero(b)) {
    return { bits: sign | shape.infinity, flags: FpFlag.ZeroDivide };
  }
  if (isZero(a) || isInfinite(b)) {
    return { bits: sign, flags };
  }
  const [x, y] = [toExact(a, shape), toExact(b, shape)];
  const numerator = x.significand << BigInt(quotientBits);
  const quotient = numerator / y.significand;
  const sticky = quotient * y.significand === numerator ? 0n : 1n;
  const exponent = x.exponent - y.exponent - quotientBits - 1;
  return pack(
    { negative, significand: (quotient << 1n) | sticky, exponent },
    shape,
    context,
    flags,
  );
});

export function squareRoot(bits: bigint, size: FloatSize, context: SimdContext): SimdResult {
  const shape = shapes[size];
  const a = operandOf(bits, shape, context);
  const nan = propagate(shape, a);
  if (nan !== undefined) {
    return nan;
  }
  if (isZero(a)) {
    return { bits: a.bits, flags: 0 };
  }
  if (a.negative) {
    return invalid(shape);
  }
  if (isInfinite(a)) {
    return { bits: a.bits, flags: 0 };
  }
  const x = toExact(a, shape);
  const shift = quotientBits + ((x.exponent + quotientBits) & 1);
  const radicand = x.significand << BigInt(shift);
  const root = integerSquareRoot(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  const exponent = (x.exponent - shift) / 2 - 1;
  const number = { negative: false, significand: (root << 1n) | sticky, exponent };
  return pack(number, shape, context, denormalFlag(a));
}

// ——— comparison

/** An integer that orders numbers as their values; both zeros are 0. */
function orderOf({ bits, negative }: Operand, { sign }: Shape): bigint {
  const magnitude = bits & (sign - 1n);
  return negative ? -magnitude : magnitude;
}

/** MIN and MAX: the second operand when they are equal or one is a NaN, which is invalid. */
const extreme =
  (prefersFirst: (a: bigint, b: bigint) => boolean): Binary =>
  (bitsA, bitsB, size, context) => {
    const shape = shapes[size];
    const a = operandOf(bitsA, shape, context);
    const b = operandOf(bitsB, shape, context);
    if (isNan(a) || isNan(b)) {
      return { bits: b.bits, flags: FpFlag.Invalid };
    }
    const chosen = prefersFirst(orderOf(a, shape), orderOf(b, shape)) ? a : b;
    return { bits: chosen.bits, flags: denormalFlag(a, b) };
  };
export const minimum = extreme((a, b) => a < b);
export const maximum = extreme((a, b) => a > b);

export type Order = "less" | "equal" | "greater" | "unordered";

/** @param quiet quiet NaNs are no invalid operands */
export function compare(
  bitsA: bigint,
  bitsB: bigint,
  size: FloatSize,
  quiet: boolean,
  context: SimdContext,
): { readonly order: Order; readonly flags: number } {
  const shape = shapes[size];
  const a = operandOf(bitsA, shape, context);
  const b = operandOf(bitsB, shape, context);
  if (isNan(a) || isNan(b)) {
    return { order: "unordered", flags: quiet ? signalingFlag(a, b) : FpFlag.Invalid };
  }
  const [x, y] = [orderOf(a, shape), orderOf(b, shape)];
  return { order: x < y ? "less" : x > y ? "greater" : "equal", flags: denormalFlag(a, b) };
}

const predicates: readonly ((order: Order) => boolean)[] = [
  (order) => order === "equal",
  (order) => order === "less",
  (order) => order === "less" || order === "equal",
  (order) => order === "unordered",
];

/** CMPccPS and its kin: ones or zeros. @param predicate the immediate's three low bits */
export const compareMask =
  (predicate: number): Binary =>
  (a, b, size, context) => {
    const kind = predicate & 3;
    const { order, flags } = compare(a, b, size, kind === 0 || kind === 3, context);
    const holds = (predicates[kind]?.(order) !== (predicate & 4) > 0) === true;
    return { bits: holds ? (1n << BigInt(size * 8)) - 1n : 0n, flags };
  };

// ——— conversion

/** Between the formats. A NaN keeps the upper bits of its payload, and becomes quiet. */
export function convert(
  bits: bigint,
  from: FloatSize,
  to: FloatSize,
  context: SimdContext,
): SimdResult {
  const [source, target] = [shapes[from], shapes[to]];
  const a = operandOf(bits, source, context);
  const sign = signOf(a.negative, target);
  if (isNan(a)) {
    const payload = bits & ((1n << source.fractionBits) - 1n);
    const moved =
      to > from
        ? payload << (target.fractionBits - source.fractionBits)
        : payload >> (source.fractionBits - target.fractionBits);
    return { bits: sign | target.infinity | target.quiet | moved, flags: signalingFlag(a) };
  }
  if (isInfinite(a)) {
    return { bits: sign | target.infinity, flags: 0 };
  }
  return isZero(a)
    ? { bits: sign, flags: 0 }
    : pack(toExact(a, source), target, context, denormalFlag(a));
}

/** @param value a signed integer */
export function fromInteger(value: bigint, size: FloatSize, context: SimdContext): SimdResult {
  const negative = value < 0n;
  const number = { negative, significand: negative ? -value : value, exponent: 0 };
  return pack(number, shapes[size], context);
}

/** To a signed integer, as its bits. What does not fit gives the integer indefinite, and is invalid. */
export function toInteger(
  bits: bigint,
  size: FloatSize,
  integerBits: 32 | 64,
  truncate: boolean,
  context: SimdContext,
): SimdResult {
  const shape = shapes[size];
  const a = operandOf(bits, shape, context);
  const failed = { bits: 1n << BigInt(integerBits - 1), flags: FpFlag.Invalid };
  if (isNan(a) || isInfinite(a)) {
    return failed;
  }
  if (isZero(a)) {
    return { bits: 0n, flags: 0 };
  }
  const number = toExact(a, shape);
  if (number.exponent > integerBits) {
    return failed;
  }
  const { quotient, inexact } = roundAt(number, 0, truncate ? roundsToZero : context.rounding);
  const value = a.negative ? -quotient : quotient;
  if (value !== BigInt.asIntN(integerBits, value)) {
    return failed;
  }
  return { bits: BigInt.asUintN(integerBits, value), flags: inexact ? FpFlag.Precision : 0 };
}
const roundsToZero = 3;
