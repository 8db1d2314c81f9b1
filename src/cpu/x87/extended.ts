/**
 * Numbers of the x87 FPU: the 80-bit extended format and its conversions and arithmetic, correctly rounded.
 *
 * Every operation computes the exact result as `significand · 2^exponent` with a bigint and rounds once, so results and
 * flags are those of the architecture for all rounding and precision controls.
 */

/** An 80-bit value as it lies in a register: the top 16 bits (sign, biased exponent) and the explicit 64-bit significand. */
export interface Extended {
  readonly signExponent: number;
  readonly significand: bigint;
}

/** Exception flags, the same bits in the status word and as masks in the control word. */
export const FpFlag = {
  Invalid: 0x01,
  Denormal: 0x02,
  ZeroDivide: 0x04,
  Overflow: 0x08,
  Underflow: 0x10,
  Precision: 0x20,
  Stack: 0x40,
} as const;

/** Rounding control, the manual's encoding. */
export const Rounding = { Nearest: 0, Down: 1, Up: 2, Zero: 3 } as const;
export type Rounding = (typeof Rounding)[keyof typeof Rounding];

export interface FpResult<T> {
  readonly value: T;
  /** Exceptions met. */
  readonly flags: number;
  /** The magnitude was rounded up: C1. */
  readonly roundedUp: boolean;
}

/** How to round: `masked` are the exceptions (`FpFlag`) that are masked. */
export interface FpContext {
  readonly rounding: Rounding;
  /** Significand bits: 24, 53 or 64. */
  readonly precision: number;
  readonly masked: number;
}

const integerBit = 1n << 63n;
const quietBit = 1n << 62n;
const fraction63 = integerBit - 1n;
const exponentMax = 0x7fff;
const bias = 16383;
/** Exponent adjustment of unmasked overflow and underflow. */
const wrap = 24576;

export const indefinite: Extended = { signExponent: 0xffff, significand: integerBit | quietBit };
export const one: Extended = { signExponent: bias, significand: integerBit };
export const zero: Extended = { signExponent: 0, significand: 0n };

export type FpClass =
  | "zero"
  | "denormal"
  | "normal"
  | "infinity"
  | "quiet"
  | "signaling"
  | "unsupported";

export function classify({ signExponent, significand }: Extended): FpClass {
  const exponent = signExponent & exponentMax;
  if (exponent === 0) {
    return significand === 0n ? "zero" : "denormal";
  }
  if (significand < integerBit) {
    return "unsupported";
  }
  if (exponent < exponentMax) {
    return "normal";
  }
  if (significand === integerBit) {
    return "infinity";
  }
  return (significand & quietBit) !== 0n ? "quiet" : "signaling";
}

export function isNegative(value: Extended): boolean {
  return (value.signExponent & 0x8000) !== 0;
}

export function negate(value: Extended): Extended {
  return { signExponent: value.signExponent ^ 0x8000, significand: value.significand };
}

export function absolute(value: Extended): Extended {
  return { signExponent: value.signExponent & exponentMax, significand: value.significand };
}

export function isNaNClass(kind: FpClass): boolean {
  return kind === "quiet" || kind === "signaling";
}

function quieted(value: Extended): Extended {
  return { signExponent: value.signExponent, significand: value.significand | quietBit };
}

export function exact<T>(value: T, flags = 0): FpResult<T> {
  return { value, flags, roundedUp: false };
}

export const invalid: FpResult<Extended> = {
  value: indefinite,
  flags: FpFlag.Invalid,
  roundedUp: false,
};

/** A finite non-zero number, exactly: (-1)^negative · significand · 2^exponent. */
export interface Exact {
  readonly negative: boolean;
  readonly significand: bigint;
  readonly exponent: number;
}

/** Value of a normal or denormal register. */
export function toExact(value: Extended): Exact {
  const biased = value.signExponent & exponentMax;
  return {
    negative: isNegative(value),
    significand: value.significand,
    exponent: Math.max(biased, 1) - bias - 63,
  };
}

export function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

/** The significand shifted so that its last bit weighs 2^unit, rounded; and what rounding did. */
export function roundAt(
  number: Exact,
  unit: number,
  rounding: Rounding,
): { readonly quotient: bigint; readonly inexact: boolean; readonly up: boolean } {
  const drop = unit - number.exponent;
  if (drop <= 0) {
    return { quotient: number.significand << BigInt(-drop), inexact: false, up: false };
  }
  const quotient = number.significand >> BigInt(drop);
  const rest = number.significand - (quotient << BigInt(drop));
  if (rest === 0n) {
    return { quotient, inexact: false, up: false };
  }
  const half = 1n << BigInt(drop - 1);
  const up =
    rounding === Rounding.Nearest
      ? rest > half || (rest === half && (quotient & 1n) === 1n)
      : rounding === Rounding.Zero
        ? false
        : (rounding === Rounding.Up) !== number.negative;
  return { quotient: up ? quotient + 1n : quotient, inexact: true, up };
}

/** A binary format to round into: significand bits and the range of unbiased exponents of normal numbers. */
export interface Format {
  readonly precision: number;
  readonly exponentMin: number;
  readonly exponentMax: number;
}

export const single: Format = { precision: 24, exponentMin: -126, exponentMax: 127 };
export const double: Format = { precision: 53, exponentMin: -1022, exponentMax: 1023 };
const extended = (precision: number): Format => ({
  precision,
  exponentMin: 1 - bias,
  exponentMax: bias,
});

export interface Rounded {
  /** Undefined: infinity. */
  readonly quotient: bigint | undefined;
  /** Weight of the quotient's last bit, as a power of two. */
  readonly unit: number;
  readonly flags: number;
  readonly roundedUp: boolean;
}

/**
 * Rounds into a format. Tininess is judged after rounding with an unbounded exponent. A masked overflow gives infinity or
 * the largest number; an unmasked overflow or underflow gives the value with its exponent as it is.
 */
export function roundInto(number: Exact, format: Format, context: FpContext): Rounded {
  const top = number.exponent + bitLength(number.significand) - 1;
  const unit = top - format.precision + 1;
  const free = roundAt(number, unit, context.rounding);
  const exponent = bitLength(free.quotient) + unit - 1;
  const precision = free.inexact ? FpFlag.Precision : 0;
  const unbounded = { quotient: free.quotient, unit, flags: precision, roundedUp: free.up };
  if (exponent > format.exponentMax) {
    return (context.masked & FpFlag.Overflow) === 0
      ? { ...unbounded, flags: precision | FpFlag.Overflow }
      : overflowed(number.negative, format, context.rounding);
  }
  if (exponent < format.exponentMin && (context.masked & FpFlag.Underflow) === 0) {
    return { ...unbounded, flags: precision | FpFlag.Underflow };
  }
  if (top >= format.exponentMin) {
    return unbounded;
  }
  const denormalUnit = format.exponentMin - format.precision + 1;
  const denormal = roundAt(number, denormalUnit, context.rounding);
  const isTiny = exponent < format.exponentMin;
  return {
    quotient: denormal.quotient,
    unit: denormalUnit,
    flags: denormal.inexact ? FpFlag.Precision | (isTiny ? FpFlag.Underflow : 0) : 0,
    roundedUp: denormal.up,
  };
}

function overflowed(negative: boolean, format: Format, rounding: Rounding): Rounded {
  const toInfinity =
    rounding === Rounding.Nearest || rounding === (negative ? Rounding.Down : Rounding.Up);
  return {
    quotient: toInfinity ? undefined : (1n << BigInt(format.precision)) - 1n,
    unit: format.exponentMax - format.precision + 1,
    flags: FpFlag.Overflow | FpFlag.Precision,
    roundedUp: toInfinity,
  };
}

/** Rounds to the context's precision and packs; unmasked overflow and underflow wrap the exponent. */
export function packExtended(number: Exact, context: FpContext): FpResult<Extended> {
  const { quotient, unit, flags, roundedUp } = roundInto(
    number,
    extended(context.precision),
    context,
  );
  const sign = number.negative ? 0x8000 : 0;
  if (quotient === undefined) {
    return {
      value: { signExponent: sign | exponentMax, significand: integerBit },
      flags,
      roundedUp,
    };
  }
  const length = bitLength(quotient);
  if (length === 0) {
    return { value: { signExponent: sign, significand: 0n }, flags, roundedUp };
  }
  const top = unit + length - 1;
  const adjust = top > bias ? -wrap : flags & ~context.masked & FpFlag.Underflow ? wrap : 0;
  const exponent = top + adjust;
  if (exponent < 1 - bias) {
    return {
      value: { signExponent: sign, significand: quotient << BigInt(unit + bias + 62) },
      flags,
      roundedUp,
    };
  }
  const significand =
    length > 64 ? quotient >> BigInt(length - 64) : quotient << BigInt(64 - length);
  return { value: { signExponent: sign | (exponent + bias), significand }, flags, roundedUp };
}

/** The NaN that an operation on one or two operands gives: the one of larger significand, made quiet. */
function propagate(a: Extended, b: Extended): FpResult<Extended> {
  const [kindA, kindB] = [classify(a), classify(b)];
  const flags = kindA === "signaling" || kindB === "signaling" ? FpFlag.Invalid : 0;
  if (!isNaNClass(kindA)) {
    return exact(quieted(b), flags);
  }
  if (!isNaNClass(kindB)) {
    return exact(quieted(a), flags);
  }
  if (kindA !== kindB) {
    return exact(quieted(kindA === "quiet" ? a : b), flags);
  }
  if (a.significand === b.significand) {
    return exact(quieted(isNegative(a) ? b : a), flags);
  }
  return exact(quieted(a.significand > b.significand ? a : b), flags);
}

/** Operands that decide an operation before it starts: unsupported formats and NaNs. */
export function special(a: Extended, b: Extended): FpResult<Extended> | undefined {
  const [kindA, kindB] = [classify(a), classify(b)];
  if (kindA === "unsupported" || kindB === "unsupported") {
    return invalid;
  }
  return isNaNClass(kindA) || isNaNClass(kindB) ? propagate(a, b) : undefined;
}

export function denormalFlag(...values: readonly Extended[]): number {
  return values.some((value) => classify(value) === "denormal") ? FpFlag.Denormal : 0;
}

/** Adds the denormal-operand exception, which, unmasked, stops the operation before it has a result. */
export function withDenormal(
  result: FpResult<Extended>,
  flag: number,
  context: FpContext,
): FpResult<Extended> {
  if (flag === 0) {
    return result;
  }
  return (context.masked & flag) === 0
    ? exact(result.value, flag)
    : { ...result, flags: result.flags | flag };
}

/** @param widened flags of an operand that came out of a narrower format; so for the other operations */
export function add(a: Extended, b: Extended, context: FpContext, widened = 0): FpResult<Extended> {
  const decided = special(a, b);
  if (decided !== undefined) {
    return decided;
  }
  const [kindA, kindB] = [classify(a), classify(b)];
  const flags = denormalFlag(a, b) | widened;
  if (kindA === "infinity" || kindB === "infinity") {
    if (kindA === kindB && isNegative(a) !== isNegative(b)) {
      return invalid;
    }
    return exact(kindA === "infinity" ? a : b, flags);
  }
  if (kindA === "zero" && kindB === "zero") {
    return exact(zeroSum(isNegative(a), isNegative(b), context.rounding));
  }
  const [x, y] = [toExact(a), toExact(b)];
  const exponent = Math.min(x.exponent, y.exponent);
  const sum = aligned(x, exponent) + aligned(y, exponent);
  if (sum === 0n) {
    return exact(zeroSum(false, true, context.rounding), flags);
  }
  const magnitude = sum < 0n ? -sum : sum;
  return withDenormal(
    packExtended({ negative: sum < 0n, significand: magnitude, exponent }, context),
    flags,
    context,
  );
}

/** Signed significand at a lower unit. */
export function aligned(number: Exact, exponent: number): bigint {
  const magnitude = number.significand << BigInt(number.exponent - exponent);
  return number.negative ? -magnitude : magnitude;
}

/** The zero that a sum of zeros of these signs, or of opposite numbers, is. */
function zeroSum(negativeA: boolean, negativeB: boolean, rounding: Rounding): Extended {
  const negative = negativeA === negativeB ? negativeA : rounding === Rounding.Down;
  return negative ? negate(zero) : zero;
}

export function subtract(
  a: Extended,
  b: Extended,
  context: FpContext,
  widened = 0,
): FpResult<Extended> {
  return special(a, b) ?? add(a, negate(b), context, widened);
}

export function signed(negative: boolean, value: Extended): Extended {
  return negative ? negate(value) : value;
}

export const infinity: Extended = { signExponent: exponentMax, significand: integerBit };

export function multiply(
  a: Extended,
  b: Extended,
  context: FpContext,
  widened = 0,
): FpResult<Extended> {
  const decided = special(a, b);
  if (decided !== undefined) {
    return decided;
  }
  const kinds = [classify(a), classify(b)];
  const negative = isNegative(a) !== isNegative(b);
  const flags = denormalFlag(a, b) | widened;
  if (kinds.includes("infinity")) {
    return kinds.includes("zero") ? invalid : exact(signed(negative, infinity), flags);
  }
  if (kinds.includes("zero")) {
    return exact(signed(negative, zero), flags);
  }
  const [x, y] = [toExact(a), toExact(b)];
  const product = {
    negative,
    significand: x.significand * y.significand,
    exponent: x.exponent + y.exponent,
  };
  return withDenormal(packExtended(product, context), flags, context);
}

export function divide(
  a: Extended,
  b: Extended,
  context: FpContext,
  widened = 0,
): FpResult<Extended> {
  const decided = special(a, b);
  if (decided !== undefined) {
    return decided;
  }
  const [kindA, kindB] = [classify(a), classify(b)];
  const negative = isNegative(a) !== isNegative(b);
  const flags = denormalFlag(a, b) | widened;
  if (kindA === kindB && (kindA === "zero" || kindA === "infinity")) {
    return invalid;
  }
  if (kindA === "infinity") {
    return exact(signed(negative, infinity), flags);
  }
  if (kindB === "zero") {
    return exact(signed(negative, infinity), FpFlag.ZeroDivide);
  }
  if (kindA === "zero" || kindB === "infinity") {
    return exact(signed(negative, zero), flags);
  }
  const [x, y] = [toExact(a), toExact(b)];
  // Enough bits for 64 significant ones and a guard; what is left over only matters as not being zero.
  const numerator = x.significand << 130n;
  const quotient = numerator / y.significand;
  const sticky = quotient * y.significand === numerator ? 0n : 1n;
  const exponent = x.exponent - y.exponent - 131;
  return withDenormal(
    packExtended({ negative, significand: (quotient << 1n) | sticky, exponent }, context),
    flags,
    context,
  );
}

export function squareRoot(a: Extended, context: FpContext): FpResult<Extended> {
  const decided = special(a, a);
  if (decided !== undefined) {
    return decided;
  }
  const kind = classify(a);
  if (kind === "zero") {
    return exact(a);
  }
  if (isNegative(a)) {
    return invalid;
  }
  if (kind === "infinity") {
    return exact(a);
  }
  const x = toExact(a);
  const shift = 130 + ((x.exponent + 130) & 1);
  const radicand = x.significand << BigInt(shift);
  const root = integerSquareRoot(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  const exponent = (x.exponent - shift) / 2 - 1;
  const result = packExtended(
    { negative: false, significand: (root << 1n) | sticky, exponent },
    context,
  );
  return withDenormal(result, denormalFlag(a), context);
}

/** Largest integer whose square is not above the argument (Newton's iteration from above). */
export function integerSquareRoot(value: bigint): bigint {
  let root = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) {
      return root;
    }
    root = next;
  }
}

export type Comparison = "greater" | "less" | "equal" | "unordered";

/**
 * @param quiet quiet NaNs are no invalid operation (the FUCOM family)
 * @param widened flags of an operand that came out of a narrower format
 */
export function compare(
  a: Extended,
  b: Extended,
  quiet: boolean,
  widened = 0,
): FpResult<Comparison> {
  const kinds = [classify(a), classify(b)];
  if (kinds.includes("unsupported") || kinds.includes("signaling")) {
    return exact("unordered", FpFlag.Invalid);
  }
  if (kinds.includes("quiet")) {
    return exact("unordered", quiet ? 0 : FpFlag.Invalid);
  }
  const [x, y] = [orderKey(a), orderKey(b)];
  return exact(x > y ? "greater" : x < y ? "less" : "equal", denormalFlag(a, b) | widened);
}

/** An integer that orders numbers as their values. */
function orderKey(value: Extended): bigint {
  const exponent = value.significand === 0n ? 0 : Math.max(value.signExponent & exponentMax, 1);
  const magnitude = (BigInt(exponent) << 64n) | value.significand;
  return isNegative(value) ? -magnitude : magnitude;
}

/** To an integral value in floating-point format. */
export function roundToIntegral(a: Extended, context: FpContext): FpResult<Extended> {
  const decided = special(a, a);
  if (decided !== undefined) {
    return decided;
  }
  const kind = classify(a);
  if (kind === "zero" || kind === "infinity") {
    return exact(a);
  }
  const { quotient, inexact, up } = roundAt(toExact(a), 0, context.rounding);
  const flags = inexact ? FpFlag.Precision : 0;
  const value =
    quotient === 0n ? signed(isNegative(a), zero) : signed(isNegative(a), fromInteger(quotient));
  return withDenormal(
    { value: inexact ? value : a, flags, roundedUp: up },
    denormalFlag(a),
    context,
  );
}

/** @param value an integer of at most 64 significant bits */
export function fromInteger(value: bigint): Extended {
  if (value === 0n) {
    return zero;
  }
  const magnitude = value < 0n ? -value : value;
  const length = bitLength(magnitude);
  const sign = value < 0n ? 0x8000 : 0;
  return {
    signExponent: sign | (bias + length - 1),
    significand: magnitude << BigInt(64 - length),
  };
}

/** To a signed integer of 16, 32 or 64 bits (as an unsigned bigint); out of range gives the integer indefinite. */
export function toInteger(a: Extended, bits: 16 | 32 | 64, rounding: Rounding): FpResult<bigint> {
  const kind = classify(a);
  const indefiniteInteger = exact(1n << BigInt(bits - 1), FpFlag.Invalid);
  if (kind === "zero") {
    return exact(0n);
  }
  if (kind !== "normal" && kind !== "denormal") {
    return indefiniteInteger;
  }
  const number = toExact(a);
  if (number.exponent > 1) {
    return indefiniteInteger;
  }
  const { quotient, inexact, up } = roundAt(number, 0, rounding);
  const value = number.negative ? -quotient : quotient;
  if (value !== BigInt.asIntN(bits, value)) {
    return indefiniteInteger;
  }
  return {
    value: BigInt.asUintN(bits, value),
    flags: inexact ? FpFlag.Precision : 0,
    roundedUp: up,
  };
}

/** Widths of the memory formats. */
const layout = {
  4: { format: single, fractionBits: 23n, exponentBits: 8n, bias: 127 },
  8: { format: double, fractionBits: 52n, exponentBits: 11n, bias: 1023 },
} as const;

/** From single (4 bytes) or double (8 bytes) precision; exact. The one flag there may be is that of a denormal. */
export function fromFloat(bits: bigint, size: 4 | 8): FpResult<Extended> {
  const { fractionBits, exponentBits, bias: narrowBias } = layout[size];
  const fraction = bits & ((1n << fractionBits) - 1n);
  const maximum = (1 << Number(exponentBits)) - 1;
  const exponent = Number(bits >> fractionBits) & maximum;
  const sign = (bits >> (fractionBits + exponentBits)) & 1n ? 0x8000 : 0;
  const wide = fraction << (63n - fractionBits);
  if (exponent === maximum) {
    return exact({ signExponent: sign | exponentMax, significand: integerBit | wide });
  }
  if (exponent !== 0) {
    return exact({
      signExponent: sign | (exponent - narrowBias + bias),
      significand: integerBit | wide,
    });
  }
  if (fraction === 0n) {
    return exact({ signExponent: sign, significand: 0n });
  }
  const shift = 64 - bitLength(wide);
  return exact(
    { signExponent: sign | (1 - narrowBias + bias - shift), significand: wide << BigInt(shift) },
    FpFlag.Denormal,
  );
}

/** What loading a single or double into a register gives: a signaling NaN becomes quiet, and is invalid. */
export function loadFloat(bits: bigint, size: 4 | 8): FpResult<Extended> {
  const result = fromFloat(bits, size);
  return classify(result.value) === "signaling"
    ? exact(quieted(result.value), FpFlag.Invalid)
    : result;
}

/** To single or double precision, as bits. With an unmasked overflow or underflow the value is not to be used. */
export function toFloat(a: Extended, size: 4 | 8, context: FpContext): FpResult<bigint> {
  const { format, fractionBits, exponentBits, bias: narrowBias } = layout[size];
  const sign = BigInt(isNegative(a)) << (fractionBits + exponentBits);
  const allOnes = ((1n << exponentBits) - 1n) << fractionBits;
  const kind = classify(a);
  switch (kind) {
    case "zero":
      return exact(sign);
    case "infinity":
      return exact(sign | allOnes);
    case "unsupported":
      return exact(
        (1n << (fractionBits + exponentBits)) | allOnes | (1n << (fractionBits - 1n)),
        FpFlag.Invalid,
      );
    case "quiet":
    case "signaling": {
      const fraction = ((a.significand | quietBit) & fraction63) >> (63n - fractionBits);
      return exact(sign | allOnes | fraction, kind === "signaling" ? FpFlag.Invalid : 0);
    }
    default:
  }
  const { quotient, unit, flags, roundedUp } = roundInto(toExact(a), format, context);
  if (quotient === undefined) {
    return { value: sign | allOnes, flags, roundedUp };
  }
  const exponent = unit + bitLength(quotient) - 1;
  if (exponent > format.exponentMax) {
    return exact(sign | allOnes, FpFlag.Overflow);
  }
  if (exponent < format.exponentMin) {
    if ((flags & ~context.masked & FpFlag.Underflow) !== 0) {
      return exact(sign, FpFlag.Underflow);
    }
    return { value: sign | quotient, flags, roundedUp };
  }
  const fraction = quotient & ((1n << fractionBits) - 1n);
  return {
    value: sign | (BigInt(exponent + narrowBias) << fractionBits) | fraction,
    flags,
    roundedUp,
  };
}

/** The constants of FLDPI and its kin to 128 significant bits; `exponent` is the weight of the last one. */
const constants = {
  pi: { significand: 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1n, exponent: 1 - 127 },
  log2e: { significand: 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88n, exponent: 0 - 127 },
  log2of10: { significand: 0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4cn, exponent: 1 - 127 },
  log10of2: { significand: 0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9178n, exponent: -2 - 127 },
  ln2: { significand: 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6afn, exponent: -1 - 127 },
} as const;

/** Rounded to 64 bits whatever the precision control. */
export function roundConstant(name: keyof typeof constants, context: FpContext): Extended {
  return packExtended({ negative: false, ...constants[name] }, { ...context, precision: 64 }).value;
}
