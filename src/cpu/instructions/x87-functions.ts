/** x87 instructions beyond basic arithmetic: transcendental functions, partial remainders, scaling, packed decimals. */
import { Outcome } from "../../execution/core-host.ts";
import { AccessClass } from "../address-space.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import type { LpState } from "../lp-state.ts";
import {
  type Extended,
  type FpContext,
  FpFlag,
  type FpResult,
  indefinite,
  isNegative,
  one,
  toInteger,
} from "../x87/extended.ts";
import {
  isEmpty,
  pop,
  push,
  readStack,
  report,
  roundingContext,
  setConditions,
  statusBit,
  stopsOperation,
  stopsStore,
  writeStack,
} from "../x87/register-stack.ts";
import {
  decimalIndefinite,
  extract,
  fromDecimal,
  remainder,
  scale,
  toDecimal,
} from "../x87/scaling.ts";
import {
  angleOf,
  cos,
  exponentialOf2Less1,
  isAngleTooLarge,
  sin,
  tan,
  timesLogarithm,
  timesLogarithmNear1,
} from "../x87/transcendental.ts";
import { computing, load, type Operation, plain, requireFpu, unary, underflowed } from "./x87.ts";

type Unary = (a: Extended, context: FpContext) => FpResult<Extended>;
type Binary = (a: Extended, b: Extended, context: FpContext) => FpResult<Extended>;

// ---- Angles ----------------------------------------------------------------------------------------------------------

/** An angle out of range: C2 tells software to reduce it. */
function refusesAngle(state: LpState): boolean {
  const isTooLarge = !isEmpty(state, 0) && isAngleTooLarge(readStack(state, 0));
  if (isTooLarge) {
    report(state, 0, false);
  }
  setConditions(state, isTooLarge ? statusBit.c2 : 0);
  return isTooLarge;
}

/** FSIN and FCOS. */
const ofAngle = (operate: Unary): Operation => {
  const replace = unary(operate);
  return (lp, insn) => {
    if (!refusesAngle(lp.state)) {
      replace(lp, insn);
    }
  };
};

/** What goes into ST(0), and what is pushed on it. */
interface Pair {
  readonly first: FpResult<Extended>;
  readonly pushed: FpResult<Extended>;
}

/** Replaces ST(0) and pushes; the register that the push needs must be empty. */
const pushing =
  (operate: (a: Extended, context: FpContext) => Pair): Operation =>
  ({ state }) => {
    const isOverflow = !isEmpty(state, -1);
    if (isEmpty(state, 0) || isOverflow) {
      report(state, FpFlag.Invalid | FpFlag.Stack, isOverflow && !isEmpty(state, 0));
      if (!stopsOperation(state, FpFlag.Invalid)) {
        writeStack(state, 0, indefinite);
        push(state, indefinite);
      }
      return;
    }
    const { first, pushed } = operate(readStack(state, 0), roundingContext(state));
    const flags = first.flags | pushed.flags;
    const isStopped = stopsOperation(state, flags);
    report(state, flags, !isStopped && (first.roundedUp || pushed.roundedUp));
    if (!isStopped) {
      writeStack(state, 0, first.value);
      push(state, pushed.value);
    }
  };

const pushingAngle = (operate: (a: Extended, context: FpContext) => Pair): Operation => {
  const replace = pushing(operate);
  return (lp, insn) => {
    if (!refusesAngle(lp.state)) {
      replace(lp, insn);
    }
  };
};

/** FPTAN pushes 1 on the tangent; where there is none, what there is instead twice. */
function tangent(a: Extended, context: FpContext): Pair {
  const first = tan(a, context);
  const exponent = first.value.signExponent & 0x7fff;
  const isNumber = exponent !== 0x7fff;
  return { first, pushed: isNumber ? plain(one) : plain(first.value) };
}

/** FXTRACT. */
function takeApart(a: Extended, context: FpContext): Pair {
  const { exponent, significand } = extract(a, context);
  return { first: plain(exponent), pushed: significand };
}

// ---- Functions of two registers --------------------------------------------------------------------------------------

/** Replaces ST(1) and pops: FPATAN, FYL2X, FYL2XP1. */
const popping =
  (operate: Binary): Operation =>
  (lp) => {
    const { state } = lp;
    if (isEmpty(state, 0) || isEmpty(state, 1)) {
      if (underflowed(lp)) {
        writeStack(state, 1, indefinite);
        pop(state);
      }
      return;
    }
    const result = operate(readStack(state, 0), readStack(state, 1), roundingContext(state));
    const isStopped = stopsOperation(state, result.flags);
    report(state, result.flags, result.roundedUp && !isStopped);
    if (!isStopped) {
      writeStack(state, 1, result.value);
      pop(state);
    }
  };

/** Replaces ST(0) by a function of it and ST(1). @returns its result, undefined when there is none */
function replaceTop<T extends FpResult<Extended>>(
  lp: LogicalProcessor,
  operate: (a: Extended, b: Extended, context: FpContext) => T,
): T | undefined {
  const { state } = lp;
  if (isEmpty(state, 0) || isEmpty(state, 1)) {
    if (underflowed(lp)) {
      writeStack(state, 0, indefinite);
    }
    return undefined;
  }
  const result = operate(readStack(state, 0), readStack(state, 1), roundingContext(state));
  const isStopped = stopsOperation(state, result.flags);
  report(state, result.flags, result.roundedUp && !isStopped);
  if (isStopped) {
    return undefined;
  }
  writeStack(state, 0, result.value);
  return result;
}

/** FPREM and FPREM1: the low bits of the quotient go to C0, C3 and C1; C2 tells that there is more to do. */
const partialRemainder =
  (toNearest: boolean): Operation =>
  (lp) => {
    const { state } = lp;
    setConditions(state, 0);
    const result = replaceTop(lp, (a, b, context) => remainder(a, b, toNearest, context));
    if (result === undefined) {
      return;
    }
    const { quotient } = result;
    if (quotient === undefined) {
      setConditions(state, statusBit.c2);
      return;
    }
    report(state, 0, (quotient & 1) !== 0);
    setConditions(
      state,
      ((quotient & 4) !== 0 ? statusBit.c0 : 0) | ((quotient & 2) !== 0 ? statusBit.c3 : 0),
    );
  };

/** FSCALE. */
const fscale: Operation = (lp) => {
  replaceTop(lp, scale);
};

// ---- Packed decimals -------------------------------------------------------------------------------------------------

/** FBLD. */
const fbld: Operation = (lp, insn) => {
  const bytes = new Uint8Array(10);
  lp.linear.readBytes(lp.effectiveLinear(insn, 0, 10, false), bytes, AccessClass.Current);
  load(lp, plain(fromDecimal(bytes)));
};

/** FBSTP. */
const fbstp: Operation = (lp, insn) => {
  const { state } = lp;
  const result = decimalOf(state);
  const isStopped = stopsStore(state, result.flags);
  if (!isStopped) {
    const linear = lp.effectiveLinear(insn, 0, 10, true);
    lp.linear.writeBytes(linear, result.value, AccessClass.Current);
  }
  report(state, result.flags, result.roundedUp && !isStopped);
  if (!isStopped) {
    pop(state);
  }
};

/** ST(0) as packed decimal. */
function decimalOf(state: LpState): FpResult<Uint8Array> {
  const failed = { value: decimalIndefinite, roundedUp: false };
  if (isEmpty(state, 0)) {
    return { ...failed, flags: FpFlag.Invalid | FpFlag.Stack };
  }
  const a = readStack(state, 0);
  const integer = toInteger(a, 64, roundingContext(state).rounding);
  const value = BigInt.asIntN(64, integer.value);
  const bytes = toDecimal(isNegative(a), value < 0n ? -value : value);
  if (bytes === undefined || (integer.flags & FpFlag.Invalid) !== 0) {
    return { ...failed, flags: FpFlag.Invalid };
  }
  return { ...integer, value: bytes };
}

// ---- The table -------------------------------------------------------------------------------------------------------

const operations: Readonly<Record<string, Operation>> = {
  Fsin: ofAngle(sin),
  Fcos: ofAngle(cos),
  Fsincos: pushingAngle((a, context) => ({ first: sin(a, context), pushed: cos(a, context) })),
  Fptan: pushingAngle(tangent),
  Fpatan: popping((x, y, context) => angleOf(y, x, context)),
  F2xm1: unary(exponentialOf2Less1),
  Fyl2x: popping(timesLogarithm),
  Fyl2xp1: popping(timesLogarithmNear1),
  Fprem: partialRemainder(false),
  Fprem1: partialRemainder(true),
  Fscale: fscale,
  Fxtract: pushing(takeApart),
  Fbld: fbld,
  Fbstp: fbstp,
};

/** FENI, FDISI and FSETPM meant something to the 8087 and the 287 only. */
const withoutEffect: InstructionHandler = (lp) => {
  requireFpu(lp);
  return Outcome.Next;
};

export const x87FunctionInstructions: InstructionTable = {
  ...Object.fromEntries(
    Object.entries(operations).map(([name, operation]) => [name, computing(operation)]),
  ),
  Fneni: withoutEffect,
  Fndisi: withoutEffect,
  Fnsetpm: withoutEffect,
};
