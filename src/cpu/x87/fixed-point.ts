/**
 * Elementary functions of fixed-point numbers: a bigint counts units of 2^-bits. Results are off by some units in the last
 * place, which is far below what rounding to 64 bits asks for.
 */
import { integerSquareRoot } from "./extended.ts";

/** Bits of the constants behind the point. */
const constantBits = 512;

/** artanh(1/n), by its series. */
function inverseHyperbolicTangent(n: bigint, bits: number): bigint {
  const square = n * n;
  let power = (1n << BigInt(bits)) / n;
  let sum = 0n;
  for (let k = 1n; power !== 0n; k += 2n) {
    sum += power / k;
    power /= square;
  }
  return sum;
}
/** arctan(1/n), by its series. */
function inverseTangent(n: bigint, bits: number): bigint {
  const square = n * n;
  let power = (1n << BigInt(bits)) / n;
  let sum = 0n;
  for (let k = 1n; power !== 0n; k += 2n) {
    sum += (k & 2n) === 0n ? power / k : -(power / k);
    power /= square;
  }
  return sum;
}

const guard = 32;
const ln2Constant = (2n * inverseHyperbolicTangent(3n, constantBits + guard)) >> BigInt(guard);
/** Machin's formula. */
const piConstant =
  (16n * inverseTangent(5n, constantBits + guard) -
    4n * inverseTangent(239n, constantBits + guard)) >>
  BigInt(guard);

/** value · constant */
const times = (value: bigint, constant: bigint): bigint =>
  (value * constant) >> BigInt(constantBits);

export function pi(bits: number): bigint {
  return piConstant >> BigInt(constantBits - bits);
}
export function timesLn2(value: bigint): bigint {
  return times(value, ln2Constant);
}
export function overLn2(value: bigint): bigint {
  return (value << BigInt(constantBits)) / ln2Constant;
}

/** Sum of a series whose terms follow from each other, down to the last one that counts. */
function series(first: bigint, next: (term: bigint, n: bigint) => bigint): bigint {
  let sum = 0n;
  let term = first;
  for (let n = 1n; term !== 0n && term !== -1n; n += 1n) {
    sum += term;
    term = next(term, n);
  }
  return sum;
}

/** Sine of at most a right angle. */
export function sine(x: bigint, bits: number): bigint {
  const square = (x * x) >> BigInt(bits);
  return series(x, (term, n) => -((term * square) >> BigInt(bits)) / (2n * n * (2n * n + 1n)));
}
export function cosine(x: bigint, bits: number): bigint {
  const square = (x * x) >> BigInt(bits);
  const one = 1n << BigInt(bits);
  return series(one, (term, n) => -((term * square) >> BigInt(bits)) / (2n * n * (2n * n - 1n)));
}

/** e^x - 1, for |x| of at most 1. */
export function exponentialLess1(x: bigint, bits: number): bigint {
  return series(x, (term, n) => ((term * x) >> BigInt(bits)) / (n + 1n));
}

/** ln(numerator / denominator), both positive and near each other: 2 artanh of difference over sum. */
export function logarithmOfRatio(numerator: bigint, denominator: bigint, bits: number): bigint {
  const z = ((numerator - denominator) << BigInt(bits)) / (numerator + denominator);
  const square = (z * z) >> BigInt(bits);
  let power = z;
  let sum = 0n;
  for (let k = 1n; power !== 0n && power !== -1n; k += 2n) {
    sum += power / k;
    power = (power * square) >> BigInt(bits);
  }
  return 2n * sum;
}

/** arctan of a number from 0 to 1: halves the angle twice, then by the series. */
export function arctangent(x: bigint, bits: number): bigint {
  const one = 1n << BigInt(bits);
  let t = x;
  for (let halvings = 0; halvings < 2; halvings++) {
    const hypotenuse = integerSquareRoot(one * one + t * t);
    t = (t << BigInt(bits)) / (one + hypotenuse);
  }
  const square = (t * t) >> BigInt(bits);
  let power = t;
  let sum = 0n;
  for (let k = 1n; power !== 0n; k += 2n) {
    sum += (k & 2n) === 0n ? power / k : -(power / k);
    power = (power * square) >> BigInt(bits);
  }
  return 4n * sum;
}
