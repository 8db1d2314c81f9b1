/** FPREM, FPREM1, FSCALE and FXTRACT: what takes numbers apart. Exact but for the rounding of FSCALE's denormals. */
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
  packExtended,
  signed,
  special,
  toExact,
  withDenormal,
  zero,
} from "./extended.ts";

/** Rounding to the whole significand, whatever the precision control. */
const whole = (context: FpContext): FpContext => ({ ...context, precision: 64 });

export interface Remainder extends FpResult<Extended> {
  /** The three low bits of the quotient; undefined when the reduction is not complete. */
  readonly quotient: number | undefined;
}

/** Most bits of quotient that one execution works out. */
const quotientBitsMax = 63;

/**
 * Partial remainder. Operands far apart are brought nearer by 32 to 63 bits at a time.
 * @param toNearest the quotient is rounded to nearest (FPREM1) instead of cut off
 */
export function remainder(
  a: Extended,
  b: Extended,
  toNearest: boolean,
  context: FpContext,
): Remainder {
  const decided = special(a, b);
  if (decided !== undefined) {
    return { ...decided, quotient: 0 };
  }
  const [kindA, kindB] = [classify(a), classify(b)];
  if (kindA === "infinity" || kindB === "zero") {
    return { ...invalid, quotient: 0 };
  }
  const flags = denormalFlag(a, b);
  if (kindA === "zero" || kindB === "infinity") {
    return { ...withDenormal(exact(a), flags, context), quotient: 0 };
  }
  const [x, y] = [toExact(a), toExact(b)];
  const distance = x.exponent + bitLength(x.significand) - (y.exponent + bitLength(y.significand));
  const reduced =
    distance <= quotientBitsMax ? reduceWhole(x, y, toNearest) : reducePartly(x, y, distance);
  const result =
    reduced.rest.significand === 0n
      ? exact(signed(reduced.rest.negative, zero))
      : packExtended(reduced.rest, whole(context));
  return { ...withDenormal(result, flags, context), quotient: reduced.quotient };
}

interface Reduced {
  readonly rest: Exact;
  readonly quotient: number | undefined;
}

function reduceWhole(x: Exact, y: Exact, toNearest: boolean): Reduced {
  const exponent = Math.min(x.exponent, y.exponent);
  const dividend = x.significand << BigInt(x.exponent - exponent);
  const divisor = y.significand << BigInt(y.exponent - exponent);
  let quotient = dividend / divisor;
  let rest = dividend - quotient * divisor;
  const isOver = rest * 2n > divisor || (rest * 2n === divisor && (quotient & 1n) === 1n);
  if (toNearest && isOver) {
    quotient += 1n;
    rest -= divisor;
  }
  const negative = rest < 0n ? !x.negative : x.negative;
  return {
    rest: { negative, significand: rest < 0n ? -rest : rest, exponent },
    quotient: Number(quotient & 7n),
  };
}

function reducePartly(x: Exact, y: Exact, distance: number): Reduced {
  const bits = 32 + (distance % 32);
  // y is moved up so that the quotient has no more than that many bits.
  const raised = y.exponent + distance - bits;
  const exponent = Math.min(x.exponent, raised);
  const dividend = x.significand << BigInt(x.exponent - exponent);
  const divisor = y.significand << BigInt(raised - exponent);
  const rest = { negative: x.negative, significand: dividend % divisor, exponent };
  return { rest, quotient: undefined };
}

/** Beyond this every number overflows or vanishes. */
const scaleMax = 0x1_0000n;

/** a · 2^b, b cut to an integer. */
export function scale(a: Extended, b: Extended, context: FpContext): FpResult<Extended> {
  const decided = special(a, b);
  if (decided !== undefined) {
    return decided;
  }
  const [kindA, kindB] = [classify(a), classify(b)];
  const flags = denormalFlag(a, b);
  if (kindB === "infinity") {
    const isInvalid = kindA === (isNegative(b) ? "infinity" : "zero");
    const limit = signed(isNegative(a), isNegative(b) ? zero : infinity);
    return isInvalid ? invalid : withDenormal(exact(limit), flags, context);
  }
  if (kindA === "zero" || kindA === "infinity" || kindB === "zero") {
    return withDenormal(exact(a), flags, context);
  }
  const number = toExact(a);
  const scaled = { ...number, exponent: number.exponent + Number(truncated(toExact(b))) };
  return withDenormal(packExtended(scaled, whole(context)), flags, context);
}

function truncated({ negative, significand, exponent }: Exact): bigint {
  const magnitude =
    exponent > 17
      ? scaleMax
      : exponent >= 0
        ? significand << BigInt(exponent)
        : significand >> BigInt(-exponent);
  const limited = magnitude > scaleMax ? scaleMax : magnitude;
  return negative ? -limited : limited;
}

/** Exponent and significand, each as a number; of a result that is decided both are that. */
export function extract(
  a: Extended,
  context: FpContext,
): { readonly exponent: Extended; readonly significand: FpResult<Extended> } {
  const decided = special(a, a);
  if (decided !== undefined) {
    return { exponent: decided.value, significand: decided };
  }
  const kind = classify(a);
  if (kind === "infinity") {
    return { exponent: infinity, significand: exact(a) };
  }
  if (kind === "zero") {
    return { exponent: signed(true, infinity), significand: exact(a, FpFlag.ZeroDivide) };
  }
  const number = toExact(a);
  const top = number.exponent + bitLength(number.significand) - 1;
  const significand = { ...number, exponent: number.exponent - top };
  return {
    exponent: fromInteger(BigInt(top)),
    significand: withDenormal(packExtended(significand, whole(context)), denormalFlag(a), context),
  };
}

const digitsMax = 18;
const decimalLimit = 10n ** BigInt(digitsMax);

/** Ten bytes of packed decimal as a number: 18 digits and a sign. */
export function fromDecimal(bytes: Uint8Array): Extended {
  let value = 0n;
  for (let n = digitsMax / 2 - 1; n >= 0; n--) {
    const byte = bytes[n] ?? 0;
    value = value * 100n + BigInt((byte >> 4) * 10 + (byte & 15));
  }
  return signed(((bytes[9] ?? 0) & 0x80) !== 0, fromInteger(value));
}

/** @param value an integer; undefined when it has more than 18 digits. @returns ten bytes of packed decimal */
export function toDecimal(negative: boolean, magnitude: bigint): Uint8Array | undefined {
  if (magnitude >= decimalLimit) {
    return undefined;
  }
  const bytes = new Uint8Array(10);
  let rest = magnitude;
  for (let n = 0; n < digitsMax / 2; n++) {
    bytes[n] = Number(rest % 10n) | (Number((rest / 10n) % 10n) << 4);
    rest /= 100n;
  }
  bytes[9] = negative ? 0x80 : 0;
  return bytes;
}
/** What a number that does not fit is stored as. */
export const decimalIndefinite = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff);
