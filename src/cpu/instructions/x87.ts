/**
 * x87 instructions: loads, stores, moves, comparisons and basic arithmetic.
 *
 * All of them are exact: results, flags and stack faults are those of the architecture for every rounding and precision
 * control. The last opcode is not recorded (as on processors that record it for unmasked exceptions only), and the code and
 * data segment selectors are always zero. With CR0.NE = 0 an unmasked exception is recorded and otherwise ignored, as if
 * IGNNE# were held.
 */
import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import { cr0Bit, flagBit } from "../register-bits.ts";
import { deviceNotAvailable, Fault, Vector } from "../trap.ts";
import {
  absolute,
  add,
  type Comparison,
  classify,
  compare,
  divide,
  type Extended,
  type FpContext,
  FpFlag,
  type FpResult,
  fromFloat,
  fromInteger,
  indefinite,
  isNegative,
  loadFloat,
  multiply,
  negate,
  one,
  roundConstant,
  roundToIntegral,
  squareRoot,
  subtract,
  toFloat,
  toInteger,
  zero,
} from "../x87/extended.ts";
import {
  isEmpty,
  markEmpty,
  pop,
  push,
  readStack,
  readStatus,
  report,
  rotateStack,
  roundingContext,
  setConditions,
  statusBit,
  stopsOperation,
  stopsStore,
  writeStack,
} from "../x87/register-stack.ts";
import { readMemoryOperand } from "./memory-operands.ts";

// ---- Before every instruction ----------------------------------------------------------------------------------------

/** @throws #NM while emulation or a task switch keeps the FPU away */
export function requireFpu(lp: LogicalProcessor): void {
  if ((lp.state.low("cr0") & (cr0Bit.EM | cr0Bit.TS)) !== 0) {
    throw deviceNotAvailable();
  }
}

/** @throws #MF when an unmasked exception is pending, and CR0.NE says to report it */
export function requireNoPendingException(lp: LogicalProcessor): void {
  const isPending = (readStatus(lp.state) & statusBit.errorSummary) !== 0;
  if (isPending && (lp.state.low("cr0") & cr0Bit.NE) !== 0) {
    throw new Fault(Vector.MF, undefined);
  }
}

export type Operation = (lp: LogicalProcessor, insn: InstructionView) => void;

/** A computing instruction: what it waits for, and the pointers it leaves. */
export const computing =
  (operation: Operation): InstructionHandler =>
  (lp, insn) => {
    requireFpu(lp);
    requireNoPendingException(lp);
    // A fault of the memory operand must leave the pointers as they were.
    const address = insn.isMemory ? insn.effectiveAddress() : undefined;
    operation(lp, insn);
    lp.state.write64(lpOffset.fip, lp.state.rip);
    if (address !== undefined) {
      lp.state.write64(lpOffset.fdp, address);
    }
    return Outcome.Next;
  };

// ---- Memory operands -------------------------------------------------------------------------------------------------

/** A floating-point operand in memory, widened. */
function readFloat(lp: LogicalProcessor, insn: InstructionView): FpResult<Extended> {
  const size = insn.operandSize === 4 ? 4 : 8;
  return fromFloat(readMemoryOperand(lp, insn, size), size);
}

function writeBits(lp: LogicalProcessor, insn: InstructionView, size: number, bits: bigint): void {
  const linear = lp.effectiveLinear(insn, 0, size, true);
  switch (size) {
    case 2:
      lp.linear.write16(linear, Number(bits), AccessClass.Current);
      return;
    case 4:
      lp.linear.write32(linear, Number(bits), AccessClass.Current);
      return;
    default:
      lp.linear.write64(linear, bits, AccessClass.Current);
  }
}

function readInteger(lp: LogicalProcessor, insn: InstructionView): Extended {
  const size = insn.operandSize;
  return fromInteger(BigInt.asIntN(size * 8, readMemoryOperand(lp, insn, size)));
}

function readExtended(lp: LogicalProcessor, insn: InstructionView): Extended {
  const bytes = new Uint8Array(10);
  lp.linear.readBytes(lp.effectiveLinear(insn, 0, 10, false), bytes, AccessClass.Current);
  const view = new DataView(bytes.buffer);
  return { significand: view.getBigUint64(0, true), signExponent: view.getUint16(8, true) };
}

function writeExtended(lp: LogicalProcessor, insn: InstructionView, value: Extended): void {
  const bytes = new Uint8Array(10);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, value.significand, true);
  view.setUint16(8, value.signExponent, true);
  lp.linear.writeBytes(lp.effectiveLinear(insn, 0, 10, true), bytes, AccessClass.Current);
}

// ---- Stack faults ----------------------------------------------------------------------------------------------------

/** An empty source register. @returns true when the masked response is to be given */
export function underflowed(lp: LogicalProcessor): boolean {
  report(lp.state, FpFlag.Invalid | FpFlag.Stack, false);
  return !stopsOperation(lp.state, FpFlag.Invalid);
}

/** Pushes what a load has made; overflows when the register is taken. */
export function load(lp: LogicalProcessor, result: FpResult<Extended>): void {
  const { state } = lp;
  if (!isEmpty(state, -1)) {
    report(state, FpFlag.Invalid | FpFlag.Stack, true);
    if (!stopsOperation(state, FpFlag.Invalid)) {
      push(state, indefinite);
    }
    return;
  }
  report(state, result.flags, false);
  if (!stopsOperation(state, result.flags)) {
    push(state, result.value);
  }
}

export const plain = (value: Extended): FpResult<Extended> => ({
  value,
  flags: 0,
  roundedUp: false,
});

// ---- Loads -----------------------------------------------------------------------------------------------------------

/** FLD. */
function fld(lp: LogicalProcessor, insn: InstructionView): void {
  const { state } = lp;
  if (!insn.isMemory) {
    if (!isEmpty(state, insn.destination)) {
      load(lp, plain(readStack(state, insn.destination)));
    } else if (underflowed(lp)) {
      push(state, indefinite);
    }
    return;
  }
  if (insn.operandSize === 10) {
    load(lp, plain(readExtended(lp, insn)));
    return;
  }
  const size = insn.operandSize === 4 ? 4 : 8;
  load(lp, loadFloat(readMemoryOperand(lp, insn, size), size));
}

/** FILD. */
function fild(lp: LogicalProcessor, insn: InstructionView): void {
  load(lp, plain(readInteger(lp, insn)));
}

/** FLD1, FLDZ and the constants that are rounded. */
const loadConstant =
  (constant: (context: FpContext) => Extended): Operation =>
  (lp) => {
    load(lp, plain(constant(roundingContext(lp.state))));
  };

// ---- Stores ----------------------------------------------------------------------------------------------------------

/**
 * Stores ST(0) as bits, unless an unmasked exception forbids; then pops. Memory is written before anything else changes, so
 * that a fault leaves the FPU alone.
 */
function storeBits(
  lp: LogicalProcessor,
  insn: InstructionView,
  size: number,
  result: FpResult<bigint>,
  popping: boolean,
): void {
  const { state } = lp;
  const isStopped = stopsStore(state, result.flags);
  if (!isStopped) {
    writeBits(lp, insn, size, result.value);
  }
  report(state, result.flags, result.roundedUp && !isStopped);
  if (popping && !isStopped) {
    pop(state);
  }
}

const stackUnderflow = <T>(value: T): FpResult<T> => ({
  value,
  flags: FpFlag.Invalid | FpFlag.Stack,
  roundedUp: false,
});

/** FST and FSTP. */
const store =
  (popping: boolean): Operation =>
  (lp, insn) => {
    const { state } = lp;
    if (!insn.isMemory) {
      storeRegister(lp, insn.destination, popping);
    } else if (insn.operandSize === 10) {
      storeExtended(lp, insn);
    } else {
      const size = insn.operandSize === 4 ? 4 : 8;
      const context = roundingContext(state);
      const result = isEmpty(state, 0)
        ? stackUnderflow(toFloat(indefinite, size, context).value)
        : toFloat(readStack(state, 0), size, context);
      storeBits(lp, insn, size, result, popping);
    }
  };

function storeRegister(lp: LogicalProcessor, destination: number, popping: boolean): void {
  const { state } = lp;
  if (!isEmpty(state, 0)) {
    report(state, 0, false);
    writeStack(state, destination, readStack(state, 0));
  } else if (underflowed(lp)) {
    writeStack(state, destination, indefinite);
  } else {
    return;
  }
  if (popping) {
    pop(state);
  }
}

/** FSTP m80fp: bits as they are, without any check of the value. */
function storeExtended(lp: LogicalProcessor, insn: InstructionView): void {
  const { state } = lp;
  const flags = isEmpty(state, 0) ? FpFlag.Invalid | FpFlag.Stack : 0;
  const isStopped = stopsStore(state, flags);
  if (!isStopped) {
    writeExtended(lp, insn, flags === 0 ? readStack(state, 0) : indefinite);
  }
  report(state, flags, false);
  if (!isStopped) {
    pop(state);
  }
}

/** FIST and FISTP. */
const storeInteger =
  (popping: boolean): Operation =>
  (lp, insn) => {
    const { state } = lp;
    const size = insn.operandSize;
    const bits = size === 2 ? 16 : size === 4 ? 32 : 64;
    const result = isEmpty(state, 0)
      ? stackUnderflow(1n << BigInt(bits - 1))
      : toInteger(readStack(state, 0), bits, roundingContext(state).rounding);
    storeBits(lp, insn, size, result, popping);
  };

// ---- Arithmetic ------------------------------------------------------------------------------------------------------

type Binary = (
  a: Extended,
  b: Extended,
  context: FpContext,
  widened?: number,
) => FpResult<Extended>;

/** The operand that is not the destination, with the flags of its widening; undefined when its register is empty. */
function otherOperand(
  lp: LogicalProcessor,
  insn: InstructionView,
  integer: boolean,
): FpResult<Extended> | undefined {
  if (insn.isMemory) {
    return integer ? plain(readInteger(lp, insn)) : readFloat(lp, insn);
  }
  return isEmpty(lp.state, insn.source) ? undefined : plain(readStack(lp.state, insn.source));
}

interface ArithmeticOptions {
  readonly integer?: true;
  readonly popping?: true;
  /** The other operand is the first one of the operation. */
  readonly reversed?: true;
}

/** FADD, FSUB, FMUL, FDIV and their kin. With a memory operand the destination is ST(0). */
const arithmetic =
  (operate: Binary, { integer, popping, reversed }: ArithmeticOptions = {}): Operation =>
  (lp, insn) => {
    const { state } = lp;
    const destination = insn.isMemory ? 0 : insn.destination;
    const other = otherOperand(lp, insn, integer === true);
    if (other === undefined || isEmpty(state, destination)) {
      if (!underflowed(lp)) {
        return;
      }
      writeStack(state, destination, indefinite);
    } else {
      const own = readStack(state, destination);
      const [a, b] = reversed ? [other.value, own] : [own, other.value];
      const result = operate(a, b, roundingContext(state), other.flags);
      const isStopped = stopsOperation(state, result.flags);
      report(state, result.flags, result.roundedUp && !isStopped);
      if (isStopped) {
        return;
      }
      writeStack(state, destination, result.value);
    }
    if (popping) {
      pop(state);
    }
  };

/** FSQRT, FRNDINT and others that replace ST(0) by a function of it. */
export const unary =
  (operate: (a: Extended, context: FpContext) => FpResult<Extended>): Operation =>
  (lp) => {
    const { state } = lp;
    if (isEmpty(state, 0)) {
      if (underflowed(lp)) {
        writeStack(state, 0, indefinite);
      }
      return;
    }
    const result = operate(readStack(state, 0), roundingContext(state));
    const isStopped = stopsOperation(state, result.flags);
    report(state, result.flags, result.roundedUp && !isStopped);
    if (!isStopped) {
      writeStack(state, 0, result.value);
    }
  };

/** FCHS and FABS: the sign alone, of whatever is there. */
const signOperation = (operate: (a: Extended) => Extended): Operation =>
  unary((a) => plain(operate(a)));

// ---- Comparisons -----------------------------------------------------------------------------------------------------

const conditionCode: Readonly<Record<Comparison, number>> = {
  greater: 0,
  less: statusBit.c0,
  equal: statusBit.c3,
  unordered: statusBit.c0 | statusBit.c2 | statusBit.c3,
};
const conditionFlags: Readonly<Record<Comparison, number>> = {
  greater: 0,
  less: flagBit.CF,
  equal: flagBit.ZF,
  unordered: flagBit.CF | flagBit.PF | flagBit.ZF,
};
const statusFlags = flagBit.CF | flagBit.PF | flagBit.AF | flagBit.ZF | flagBit.SF | flagBit.OF;

interface ComparisonOptions {
  readonly quiet?: true;
  readonly integer?: true;
  /** Registers popped. */
  readonly pops?: 1 | 2;
  /** The answer goes into RFLAGS. */
  readonly flags?: true;
  /** Compared with, when it is not an operand. */
  readonly with?: "ST1" | "zero";
}

/** FCOM, FUCOM, FICOM, FCOMI, FTST and their kin: ST(0) with an operand. */
const comparison =
  (options: ComparisonOptions): Operation =>
  (lp, insn) => {
    const { state } = lp;
    const other = comparedOperand(lp, insn, options);
    const isUnderflow = other === undefined || isEmpty(state, 0);
    const result: FpResult<Comparison> = isUnderflow
      ? stackUnderflow("unordered")
      : compare(readStack(state, 0), other.value, options.quiet === true, other.flags);
    report(state, result.flags, false);
    if (options.flags) {
      lp.changeFlags(conditionFlags[result.value], statusFlags);
    } else {
      setConditions(state, conditionCode[result.value]);
    }
    if (stopsOperation(state, result.flags)) {
      return;
    }
    for (let n = 0; n < (options.pops ?? 0); n++) {
      pop(state);
    }
  };

function comparedOperand(
  lp: LogicalProcessor,
  insn: InstructionView,
  options: ComparisonOptions,
): FpResult<Extended> | undefined {
  if (options.with === "zero") {
    return plain(zero);
  }
  if (options.with === "ST1") {
    return isEmpty(lp.state, 1) ? undefined : plain(readStack(lp.state, 1));
  }
  return otherOperand(lp, insn, options.integer === true);
}

const examined = {
  unsupported: 0,
  signaling: statusBit.c0,
  quiet: statusBit.c0,
  normal: statusBit.c2,
  infinity: statusBit.c2 | statusBit.c0,
  zero: statusBit.c3,
  denormal: statusBit.c3 | statusBit.c2,
} as const;

/** FXAM. */
function fxam(lp: LogicalProcessor): void {
  const { state } = lp;
  const value = readStack(state, 0);
  report(state, 0, isNegative(value));
  setConditions(state, isEmpty(state, 0) ? statusBit.c3 | statusBit.c0 : examined[classify(value)]);
}

// ---- Moves within the stack ------------------------------------------------------------------------------------------

/** FXCH: an empty register counts as indefinite. */
function fxch(lp: LogicalProcessor, insn: InstructionView): void {
  const { state } = lp;
  const other = insn.source;
  const isUnderflow = isEmpty(state, 0) || isEmpty(state, other);
  if (isUnderflow && !underflowed(lp)) {
    return;
  }
  const [first, second] = [0, other].map((n) =>
    isEmpty(state, n) ? indefinite : readStack(state, n),
  );
  if (!isUnderflow) {
    report(state, 0, false);
  }
  writeStack(state, 0, second ?? indefinite);
  writeStack(state, other, first ?? indefinite);
}

/** FCMOVcc. @param wanted what the flags in `mask` must be: any set, or none */
const conditionalMove =
  (mask: number, wanted: boolean): Operation =>
  (lp, insn) => {
    const { state } = lp;
    if (isEmpty(state, 0) || isEmpty(state, insn.source)) {
      if (underflowed(lp)) {
        writeStack(state, 0, indefinite);
      }
      return;
    }
    report(state, 0, false);
    if (((lp.readFlags() & mask) !== 0) === wanted) {
      writeStack(state, 0, readStack(state, insn.source));
    }
  };

const free =
  (popping: boolean): Operation =>
  ({ state }, insn) => {
    markEmpty(state, insn.destination);
    if (popping) {
      rotateStack(state, 1);
    }
  };

const rotate =
  (distance: 1 | -1): Operation =>
  ({ state }) => {
    report(state, 0, false);
    rotateStack(state, distance);
  };

const belowOrEqual = flagBit.CF | flagBit.ZF;

const operations: Readonly<Record<string, Operation>> = {
  Fld: fld,
  Fild: fild,
  Fld1: loadConstant(() => one),
  Fldz: loadConstant(() => zero),
  Fldpi: loadConstant((context) => roundConstant("pi", context)),
  Fldl2e: loadConstant((context) => roundConstant("log2e", context)),
  Fldl2t: loadConstant((context) => roundConstant("log2of10", context)),
  Fldlg2: loadConstant((context) => roundConstant("log10of2", context)),
  Fldln2: loadConstant((context) => roundConstant("ln2", context)),
  Fst: store(false),
  Fstp: store(true),
  Fstpnce: store(true),
  Fist: storeInteger(false),
  Fistp: storeInteger(true),
  Fadd: arithmetic(add),
  Faddp: arithmetic(add, { popping: true }),
  Fiadd: arithmetic(add, { integer: true }),
  Fmul: arithmetic(multiply),
  Fmulp: arithmetic(multiply, { popping: true }),
  Fimul: arithmetic(multiply, { integer: true }),
  Fsub: arithmetic(subtract),
  Fsubp: arithmetic(subtract, { popping: true }),
  Fisub: arithmetic(subtract, { integer: true }),
  Fsubr: arithmetic(subtract, { reversed: true }),
  Fsubrp: arithmetic(subtract, { reversed: true, popping: true }),
  Fisubr: arithmetic(subtract, { reversed: true, integer: true }),
  Fdiv: arithmetic(divide),
  Fdivp: arithmetic(divide, { popping: true }),
  Fidiv: arithmetic(divide, { integer: true }),
  Fdivr: arithmetic(divide, { reversed: true }),
  Fdivrp: arithmetic(divide, { reversed: true, popping: true }),
  Fidivr: arithmetic(divide, { reversed: true, integer: true }),
  Fsqrt: unary(squareRoot),
  Frndint: unary(roundToIntegral),
  Fabs: signOperation(absolute),
  Fchs: signOperation(negate),
  Fcom: comparison({}),
  Fcomp: comparison({ pops: 1 }),
  Fcompp: comparison({ pops: 2, with: "ST1" }),
  Fucom: comparison({ quiet: true }),
  Fucomp: comparison({ quiet: true, pops: 1 }),
  Fucompp: comparison({ quiet: true, pops: 2, with: "ST1" }),
  Ficom: comparison({ integer: true }),
  Ficomp: comparison({ integer: true, pops: 1 }),
  Fcomi: comparison({ flags: true }),
  Fcomip: comparison({ flags: true, pops: 1 }),
  Fucomi: comparison({ flags: true, quiet: true }),
  Fucomip: comparison({ flags: true, quiet: true, pops: 1 }),
  Ftst: comparison({ with: "zero" }),
  Fxam: fxam,
  Fxch: fxch,
  Fcmovb: conditionalMove(flagBit.CF, true),
  Fcmove: conditionalMove(flagBit.ZF, true),
  Fcmovbe: conditionalMove(belowOrEqual, true),
  Fcmovu: conditionalMove(flagBit.PF, true),
  Fcmovnb: conditionalMove(flagBit.CF, false),
  Fcmovne: conditionalMove(flagBit.ZF, false),
  Fcmovnbe: conditionalMove(belowOrEqual, false),
  Fcmovnu: conditionalMove(flagBit.PF, false),
  Ffree: free(false),
  Ffreep: free(true),
  Fincstp: rotate(1),
  Fdecstp: rotate(-1),
  Fnop: () => {},
};

export const x87Instructions: InstructionTable = Object.fromEntries(
  Object.entries(operations).map(([name, operation]) => [name, computing(operation)]),
);
