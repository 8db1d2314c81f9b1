/**
 * The transcendental functions of the x87, from fixed-point values of some 200 bits rounded once: closer than the manual's
 * limit of one unit in the last place. A processor's own result may be the other neighbour.
 *
 * Angles are reduced by the manual's π of 66 bits; FPATAN's results come from the true one.
 */
import {
  bitLength,
  classify,
  denormalFlag,
  type Exact,
  type Extended,
  exact,
  type FpContext,
  FpFlag,
  type FpResult,
  fromInteger,
  infinity,
  invalid,
  isNegative,
  multiply,
  one,
  packExtended,
  signed,
  special,
  toExact,
  withDenormal,
  zero,
} from "./extended.ts";
import {
  arctangent,
  cosine,
  exponentialLess1,
  logarithmOfRatio,
  overLn2,
  pi,
  sine,
  timesLn2,
} from "./fixed-point.ts";

/** Significant bits of intermediate values. */
const workingBits = 200;

/** Position of the highest bit: the number lies from 2^top to 2^(top+1). */
const topOf = ({ significand, exponent }: Exact): number => exponent + bitLength(significand) - 1;

/** The magnitude in units of 2^-bits. */
function fixed({ significand, exponent }: Exact, bits: number): bigint {
  const shift = exponent + bits;
  return shift >= 0 ? significand << BigInt(shift) : significand >> BigInt(-shift);
}

/** Rounds a fixed-point value that stands for an irrational number: never exact, whatever its last bits say. */
function irrational(value: bigint, bits: number, context: FpContext): FpResult<Extended> {
  const magnitude = value < 0n ? -value : value;
  const number = { negative: value < 0n, significand: (magnitude << 1n) | 1n, exponent: -bits - 1 };
  return packExtended(number, { ...context, precision: 64 });
}

/** The function's value with the exceptions of its operands. */
const settled = (
  result: FpResult<Extended>,
  context: FpContext,
  ...operands: readonly Extended[]
): FpResult<Extended> => withDenormal(result, denormalFlag(...operands), context);

// ——— angles

/** π/2 as the manual reduces by it: 66 bits. */
const quarterTurn: Exact = {
  negative: false,
  significand: 0x3_243f_6a88_85a3_08d3n,
  exponent: -65,
};
/** From here on angles are out of range: C2 is set and nothing done. */
const angleTopMax = 62;

/** The operand is out of the range of FSIN, FCOS, FSINCOS and FPTAN. */
export function isAngleTooLarge(a: Extended): boolean {
  const kind = classify(a);
  return (kind === "normal" || kind === "denormal") && topOf(toExact(a)) > angleTopMax;
}

interface Reduced {
  /** Number of quarter turns taken off, modulo 4. */
  readonly quadrant: number;
  /** What is left, between minus and plus an eighth of a turn. */
  readonly angle: bigint;
  readonly bits: number;
}

function reduceAngle(a: Extended): Reduced {
  const x = toExact(a);
  const exponent = Math.min(x.exponent, quarterTurn.exponent);
  const turn = quarterTurn.significand << BigInt(quarterTurn.exponent - exponent);
  const magnitude = x.significand << BigInt(x.exponent - exponent);
  const angle = x.negative ? -magnitude : magnitude;
  // To the nearest multiple.
  const quotient = floorDivide(2n * angle + turn, 2n * turn);
  const rest = angle - quotient * turn;
  const bits = workingBits + Math.max(0, -(exponent + bitLength(rest < 0n ? -rest : rest)));
  const scaled = rest << BigInt(bits + exponent);
  return { quadrant: Number(BigInt.asUintN(2, quotient)), angle: scaled, bits };
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b < 0n ? quotient - 1n : quotient;
}

function sineOf({ quadrant, angle, bits }: Reduced): bigint {
  const value = (quadrant & 1) === 0 ? sine(angle, bits) : cosine(angle, bits);
  return (quadrant & 2) === 0 ? value : -value;
}
const cosineOf = (reduced: Reduced): bigint =>
  sineOf({ ...reduced, quadrant: (reduced.quadrant + 1) & 3 });

/** @param atZero the function of ±0 */
const ofAngle =
  (evaluate: (reduced: Reduced) => bigint, atZero: (a: Extended) => Extended) =>
  (a: Extended, context: FpContext): FpResult<Extended> => {
    const decided = special(a, a);
    if (decided !== undefined) {
      return decided;
    }
    const kind = classify(a);
    if (kind === "infinity") {
      return invalid;
    }
    if (kind === "zero") {
      return exact(atZero(a));
    }
    const reduced = reduceAngle(a);
    return settled(irrational(evaluate(reduced), reduced.bits, context), context, a);
  };

/** The angle is in range. */
export const sin = ofAngle(sineOf, (a) => a);
export const cos = ofAngle(cosineOf, () => one);
export const tan = ofAngle(
  (reduced) => (sineOf(reduced) << BigInt(reduced.bits)) / cosineOf(reduced),
  (a) => a,
);

/** FPATAN: the angle of the point (x, y). */
export function angleOf(y: Extended, x: Extended, context: FpContext): FpResult<Extended> {
  const decided = special(y, x);
  if (decided !== undefined) {
    return decided;
  }
  const negative = isNegative(y);
  const eighths = fixedAngle(classify(y), classify(x), isNegative(x));
  if (eighths !== undefined) {
    const result =
      eighths === 0
        ? exact(signed(negative, zero))
        : withSign(negative, (pi(workingBits) * BigInt(eighths)) >> 2n, context);
    return settled(result, context, y, x);
  }
  const [ordinate, abscissa] = [toExact(y), toExact(x)];
  const bits = workingBits + Math.max(0, topOf(abscissa) - topOf(ordinate));
  const angle = firstQuadrant(ordinate, abscissa, bits);
  const whole = isNegative(x) ? pi(Math.min(bits, workingBits)) : 0n;
  const value = isNegative(x) ? whole - (angle >> BigInt(bits - workingBits)) : angle;
  const unit = isNegative(x) ? workingBits : bits;
  return settled(withSign(negative, value, context, unit), context, y, x);
}

function withSign(
  negative: boolean,
  value: bigint,
  context: FpContext,
  bits = workingBits,
): FpResult<Extended> {
  return irrational(negative ? -value : value, bits, context);
}

/** Where the angle is a multiple of an eighth of a turn: how many quarters of π. */
function fixedAngle(y: string, x: string, isLeft: boolean): number | undefined {
  if (y === "infinity") {
    return x === "infinity" ? (isLeft ? 3 : 1) : 2;
  }
  if (x === "infinity" || y === "zero") {
    return isLeft ? 4 : 0;
  }
  return x === "zero" ? 2 : undefined;
}

/** arctan(y / x) of magnitudes. */
function firstQuadrant(y: Exact, x: Exact, bits: number): bigint {
  const exponent = Math.min(y.exponent, x.exponent);
  const [a, b] = [y, x].map((n) => n.significand << BigInt(n.exponent - exponent)) as [
    bigint,
    bigint,
  ];
  if (a <= b) {
    return arctangent((a << BigInt(bits)) / b, bits);
  }
  // Then there are no more than the working bits.
  return pi(workingBits) / 2n - arctangent((b << BigInt(bits)) / a, bits);
}

// ——— exponentials and logarithms

/** F2XM1: 2^a - 1 for a between -1 and 1; other operands are left as they are. */
export function exponentialOf2Less1(a: Extended, context: FpContext): FpResult<Extended> {
  const decided = special(a, a);
  if (decided !== undefined) {
    return decided;
  }
  const kind = classify(a);
  if (kind === "zero") {
    return exact(a);
  }
  if (kind === "infinity") {
    return exact(isNegative(a) ? signed(true, one) : a);
  }
  const x = toExact(a);
  const top = topOf(x);
  if (top >= 0) {
    const isOne = top === 0 && x.significand === 1n << 63n;
    return exact(isOne && x.negative ? half(true) : a);
  }
  const bits = workingBits - top;
  const magnitude = timesLn2(fixed(x, bits));
  const value = exponentialLess1(x.negative ? -magnitude : magnitude, bits);
  return settled(irrational(value, bits, context), context, a);
}
const half = (negative: boolean): Extended =>
  signed(negative, { signExponent: one.signExponent - 1, significand: one.significand });

/** FYL2X: y · log2 x. */
export function timesLogarithm(x: Extended, y: Extended, context: FpContext): FpResult<Extended> {
  const decided = special(x, y);
  if (decided !== undefined) {
    return decided;
  }
  const [kindX, kindY] = [classify(x), classify(y)];
  if (kindX === "zero") {
    return logarithmOfZero(y, kindY);
  }
  if (isNegative(x)) {
    return invalid;
  }
  if (kindX === "infinity") {
    const result = kindY === "zero" ? invalid : exact(signed(isNegative(y), infinity));
    return kindY === "zero" ? invalid : settled(result, context, y);
  }
  const number = toExact(x);
  const length = bitLength(number.significand);
  const top = topOf(number);
  if (number.significand === 1n << BigInt(length - 1)) {
    return settled(timesInteger(top, y, context), context, x);
  }
  if (kindY === "zero" || kindY === "infinity") {
    const negative = top < 0 !== isNegative(y);
    return settled(exact(signed(negative, kindY === "zero" ? zero : infinity)), context, x);
  }
  return settled(timesFixed(logarithm(number, top), y, context), context, x, y);
}

/** The logarithm of ±0 is minus infinity. */
function logarithmOfZero(y: Extended, kindY: string): FpResult<Extended> {
  if (kindY === "zero") {
    return invalid;
  }
  return exact(signed(!isNegative(y), infinity), kindY === "infinity" ? 0 : FpFlag.ZeroDivide);
}

/** y · n, where the logarithm is an integer: exact but for rounding. */
function timesInteger(n: number, y: Extended, context: FpContext): FpResult<Extended> {
  const isInfinite = classify(y) === "infinity";
  if (n === 0) {
    return isInfinite ? invalid : exact(signed(isNegative(y), zero));
  }
  return multiply(fromInteger(BigInt(n)), y, { ...context, precision: 64 });
}

interface Fixed {
  readonly value: bigint;
  readonly bits: number;
}

/** log2 of a number that is no power of two. */
function logarithm(number: Exact, top: number): Fixed {
  // The significand from 2/3 to 4/3, so that near 1 nothing cancels.
  const isHigh = number.significand * 3n > 1n << BigInt(bitLength(number.significand) + 1);
  const unit = BigInt(bitLength(number.significand) - (isHigh ? 0 : 1));
  const bits = workingBits + 64;
  const fraction = overLn2(logarithmOfRatio(number.significand, 1n << unit, bits));
  return { value: (BigInt(top + (isHigh ? 1 : 0)) << BigInt(bits)) + fraction, bits };
}

function timesFixed({ value, bits }: Fixed, y: Extended, context: FpContext): FpResult<Extended> {
  const factor = toExact(y);
  const product = value * factor.significand;
  return irrational(factor.negative ? -product : product, bits - factor.exponent, context);
}

/** FYL2XP1: y · log2(x + 1). x is meant to be small, and must be above -1. */
export function timesLogarithmNear1(
  x: Extended,
  y: Extended,
  context: FpContext,
): FpResult<Extended> {
  const decided = special(x, y);
  if (decided !== undefined) {
    return decided;
  }
  const [kindX, kindY] = [classify(x), classify(y)];
  const negative = isNegative(x) !== isNegative(y);
  if (kindX === "zero") {
    return kindY === "infinity" ? invalid : settled(exact(signed(negative, zero)), context, y);
  }
  if (kindX === "infinity") {
    const isInvalid = isNegative(x) || kindY === "zero";
    return isInvalid ? invalid : settled(exact(signed(negative, infinity)), context, y);
  }
  const number = toExact(x);
  const top = topOf(number);
  if (number.negative && top >= 0) {
    return invalid;
  }
  if (kindY === "zero" || kindY === "infinity") {
    return settled(exact(signed(negative, kindY === "zero" ? zero : infinity)), context, x);
  }
  const bits = workingBits + Math.max(0, -top);
  const unit = 1n << BigInt(bits);
  const magnitude = fixed(number, bits);
  const sum = unit + (number.negative ? -magnitude : magnitude);
  return settled(timesFixed(logarithmOfSum(sum, top, bits), y, context), context, x, y);
}

/** log2 of 1 and something, in units of 2^-bits. @param top that something's highest bit */
function logarithmOfSum(sum: bigint, top: number, bits: number): Fixed {
  if (top < -2) {
    return { value: overLn2(logarithmOfRatio(sum, 1n << BigInt(bits), bits)), bits };
  }
  const number = { negative: false, significand: sum, exponent: -bits };
  return logarithm(number, topOf(number));
}
