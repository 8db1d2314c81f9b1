import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  add,
  compare,
  divide,
  type Extended,
  type FpContext,
  FpFlag,
  type FpResult,
  loadFloat,
  multiply,
  Rounding,
  roundToIntegral,
  squareRoot,
  subtract,
  toFloat,
  toInteger,
} from "../../../src/cpu/x87/extended.ts";

/** Recorded natively; see `recorded/x87-vectors.c`. */
const vectors = readFileSync(new URL("../recorded/x87-vectors.txt", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => {
    const [operation = "", control = "", a = "", b = "", result = "", status = ""] =
      line.split(" ");
    return {
      line,
      operation,
      control: Number.parseInt(control, 16),
      a,
      b,
      result,
      status: Number.parseInt(status, 16),
    };
  });

const parse = (text: string): Extended => ({
  signExponent: Number.parseInt(text.slice(0, 4), 16),
  significand: BigInt(`0x${text.slice(4)}`),
});
const print = (value: Extended): string =>
  value.signExponent.toString(16).padStart(4, "0") +
  value.significand.toString(16).padStart(16, "0");

function contextOf(control: number): FpContext {
  const precision = [24, 64, 53, 64][(control >> 8) & 3] ?? 64;
  const rounding =
    [Rounding.Nearest, Rounding.Down, Rounding.Up, Rounding.Zero][(control >> 10) & 3] ??
    Rounding.Nearest;
  return { rounding, precision, masked: control & 0x3f };
}

const condition = { greater: 0, less: 0x100, equal: 0x4000, unordered: 0x4500 } as const;
/** The exceptions, C1 unless the operation was abandoned, and the error summary. */
function statusOf(flags: number, roundedUp: boolean, stopped: boolean, masked: number): number {
  return flags | (roundedUp && !stopped ? 0x200 : 0) | ((flags & ~masked) !== 0 ? 0x80 : 0);
}

/** Operations whose result stays in ST0. */
const registerOperations: Record<
  string,
  (a: Extended, b: Extended, context: FpContext) => FpResult<Extended>
> = {
  add: (a, b, context) => add(a, b, context),
  sub: (a, b, context) => subtract(a, b, context),
  mul: (a, b, context) => multiply(a, b, context),
  div: (a, b, context) => divide(a, b, context),
  sqrt: (a, _, context) => squareRoot(a, context),
  rint: (a, _, context) => roundToIntegral(a, context),
};
const stores: Record<
  string,
  { bytes: number; store: (a: Extended, context: FpContext) => FpResult<bigint> }
> = {
  st32: { bytes: 4, store: (a, context) => toFloat(a, 4, context) },
  st64: { bytes: 8, store: (a, context) => toFloat(a, 8, context) },
  ist16: { bytes: 2, store: (a, { rounding }) => toInteger(a, 16, rounding) },
  ist32: { bytes: 4, store: (a, { rounding }) => toInteger(a, 32, rounding) },
  ist64: { bytes: 8, store: (a, { rounding }) => toInteger(a, 64, rounding) },
};

const operands = FpFlag.Invalid | FpFlag.Denormal | FpFlag.ZeroDivide;

describe("extended-precision operations against the recorded x87", () => {
  it.each(Object.entries(registerOperations))("%s", (name, operate) => {
    const cases = vectors.filter((vector) => vector.operation === name);
    expect(cases.length).toBeGreaterThan(50);
    for (const { line, control, a, b, result, status } of cases) {
      const context = contextOf(control);
      const { value, flags, roundedUp } = operate(parse(a), parse(b), context);
      const stopped = (flags & ~context.masked & operands) !== 0;
      expect(
        `${print(stopped ? parse(a) : value)} ${statusOf(flags, roundedUp, stopped, context.masked)}`,
        line,
      ).toBe(`${result} ${status}`);
    }
  });

  it.each(Object.entries(stores))("%s", (name, { bytes, store }) => {
    const cases = vectors.filter((vector) => vector.operation === name);
    expect(cases.length).toBeGreaterThan(50);
    for (const { line, control, a, result, status } of cases) {
      const context = contextOf(control);
      const { value, flags, roundedUp } = store(parse(a), context);
      const stopped = (flags & ~context.masked & ~FpFlag.Precision) !== 0;
      const stored = stopped ? "55".repeat(bytes) : value.toString(16).padStart(bytes * 2, "0");
      expect(`${stored} ${statusOf(flags, roundedUp, stopped, context.masked)}`, line).toBe(
        `${result.slice(-bytes * 2)} ${status}`,
      );
    }
  });

  it.each([
    ["ld32", 4],
    ["ld64", 8],
  ] as const)("%s", (name, size) => {
    for (const { line, control, b, result, status } of vectors.filter(
      (vector) => vector.operation === name,
    )) {
      const { value, flags } = loadFloat(BigInt(`0x${b}`), size);
      const { masked } = contextOf(control);
      expect(statusOf(flags, false, false, masked), line).toBe(status);
      if ((flags & ~masked) === 0) {
        expect(print(value), line).toBe(result);
      }
    }
  });

  it.each([
    ["com", false],
    ["ucom", true],
  ] as const)("%s", (name, quiet) => {
    for (const { line, control, a, b, status } of vectors.filter(
      (vector) => vector.operation === name,
    )) {
      const { value, flags } = compare(parse(a), parse(b), quiet);
      const { masked } = contextOf(control);
      expect(statusOf(flags, false, false, masked) | condition[value], line).toBe(status);
    }
  });
});
