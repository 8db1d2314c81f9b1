/**
 * SSE and SSE2 floating-point arithmetic exactly as MXCSR has it. The execution core does what raises no exception that is not
 * recorded yet, rounding to nearest; everything else it leaves to these handlers, which know of no such limits.
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
import { cr4Bit, flagBit } from "../register-bits.ts";
import {
  add,
  compare,
  compareMask,
  convert,
  divide,
  type FloatSize,
  fromInteger,
  maximum,
  minimum,
  multiply,
  type Order,
  type SimdContext,
  type SimdResult,
  squareRoot,
  subtract,
  toInteger,
} from "../simd/soft-float.ts";
import { Fault, generalProtection, undefinedOpcode, Vector } from "../trap.ts";
import { FpFlag, type Rounding } from "../x87/extended.ts";
import { mmxOperation, readMmxSource } from "./mmx.ts";
import { writeRegister } from "./register-operands.ts";
import { requireSimd } from "./simd.ts";

// ---- MXCSR -----------------------------------------------------------------------------------------------------------

const mxcsrBit = { denormalsAreZero: 1 << 6, flushToZero: 1 << 15 } as const;
const exceptionFlags = 0x3f;
const maskShift = 7;
const roundingShift = 13;
/** Found before there is a result. */
const beforehand = FpFlag.Invalid | FpFlag.Denormal | FpFlag.ZeroDivide;

function contextOf(lp: LogicalProcessor): SimdContext {
  const mxcsr = lp.state.read32(lpOffset.mxcsr);
  return {
    rounding: ((mxcsr >>> roundingShift) & 3) as Rounding,
    masked: (mxcsr >>> maskShift) & exceptionFlags,
    denormalsAreZero: (mxcsr & mxcsrBit.denormalsAreZero) !== 0,
    flushToZero: (mxcsr & mxcsrBit.flushToZero) !== 0,
  };
}

/**
 * Records the exceptions of all elements. One that is not masked, found beforehand in any element, keeps all of them from
 * having a result.
 * @throws #XM, or #UD when CR4.OSXMMEXCPT is clear
 */
function report(lp: LogicalProcessor, { masked }: SimdContext, flags: number): void {
  const early = flags & beforehand;
  const met = (early & ~masked) !== 0 ? early : flags;
  lp.state.write32(lpOffset.mxcsr, lp.state.read32(lpOffset.mxcsr) | met);
  if ((met & ~masked) !== 0) {
    const isHandled = (lp.state.low("cr4") & cr4Bit.OSXMMEXCPT) !== 0;
    throw isHandled ? new Fault(Vector.XM, undefined) : undefinedOpcode();
  }
}

// ---- Operands --------------------------------------------------------------------------------------------------------

/** 16 bytes, low half first. */
type VectorValue = readonly [low: bigint, high: bigint];

/** Register operands count from RAX in steps of 8 bytes. */
const vectorOffset = (operand: number): number => lpOffset.gpr + operand * 8;
function readVector(lp: LogicalProcessor, operand: number): VectorValue {
  const at = vectorOffset(operand);
  return [lp.state.read64(at), lp.state.read64(at + 8)];
}
function writeVector(lp: LogicalProcessor, operand: number, [low, high]: VectorValue): void {
  const at = vectorOffset(operand);
  lp.state.write64(at, low);
  lp.state.write64(at + 8, high);
}

/** The source: an XMM register, or as many bytes of memory; 16 of them lie on their natural boundary. */
function readSource(lp: LogicalProcessor, insn: InstructionView, bytes: 4 | 8 | 16): VectorValue {
  if (!insn.isMemory) {
    return readVector(lp, insn.source);
  }
  const linear = lp.effectiveLinear(insn, 0, bytes, false);
  const as = AccessClass.Current;
  if (bytes === 4) {
    return [BigInt(lp.linear.read32(linear, as)), 0n];
  }
  if (bytes === 16 && (linear & 15n) !== 0n) {
    throw generalProtection();
  }
  return [lp.linear.read64(linear, as), bytes === 8 ? 0n : lp.linear.read64(linear + 8n, as)];
}

const element = ([low, high]: VectorValue, size: FloatSize, n: number): bigint => {
  const half = n * size < 8 ? low : high;
  return BigInt.asUintN(size * 8, half >> BigInt(((n * size) % 8) * 8));
};
/** Puts elements of `size` bytes together; what is missing is 0. */
function joinElements(size: FloatSize, elements: readonly bigint[]): VectorValue {
  const halves: [bigint, bigint] = [0n, 0n];
  elements.forEach((bits, n) => {
    const half = n * size < 8 ? 0 : 1;
    halves[half] |= bits << BigInt(((n * size) % 8) * 8);
  });
  return halves;
}
/** Replaces the low element. */
function replaceLow([low, high]: VectorValue, size: FloatSize, bits: bigint): VectorValue {
  const width = BigInt(size * 8);
  return [((low >> width) << width) | bits, high];
}

const flagsOf = (results: readonly SimdResult[]): number =>
  results.reduce((flags, result) => flags | result.flags, 0);
const bitsOf = (results: readonly SimdResult[]): bigint[] => results.map(({ bits }) => bits);
const lanes = (size: FloatSize): readonly number[] => (size === 4 ? [0, 1, 2, 3] : [0, 1]);

const simd =
  (operation: (lp: LogicalProcessor, insn: InstructionView) => void): InstructionHandler =>
  (lp, insn) => {
    requireSimd(lp);
    operation(lp, insn);
    return Outcome.Next;
  };

// ---- Arithmetic ------------------------------------------------------------------------------------------------------

type ElementOperation = (a: bigint, b: bigint, size: FloatSize, context: SimdContext) => SimdResult;

const packed = (
  size: FloatSize,
  operationOf: (insn: InstructionView) => ElementOperation,
): InstructionHandler =>
  simd((lp, insn) => {
    const b = readSource(lp, insn, 16);
    const a = readVector(lp, insn.destination);
    const context = contextOf(lp);
    const operate = operationOf(insn);
    const results = lanes(size).map((n) =>
      operate(element(a, size, n), element(b, size, n), size, context),
    );
    report(lp, context, flagsOf(results));
    writeVector(lp, insn.destination, joinElements(size, bitsOf(results)));
  });

const scalar = (
  size: FloatSize,
  operationOf: (insn: InstructionView) => ElementOperation,
): InstructionHandler =>
  simd((lp, insn) => {
    const b = readSource(lp, insn, size);
    const a = readVector(lp, insn.destination);
    const context = contextOf(lp);
    const result = operationOf(insn)(element(a, size, 0), element(b, size, 0), size, context);
    report(lp, context, result.flags);
    writeVector(lp, insn.destination, replaceLow(a, size, result.bits));
  });

/** The four forms of an operation. @param suffix of the Codes, behind the operands */
function forms(
  name: string,
  operationOf: (insn: InstructionView) => ElementOperation,
  suffix = "",
): InstructionTable {
  return {
    [`${name}ps_xmm_xmmm128${suffix}`]: packed(4, operationOf),
    [`${name}pd_xmm_xmmm128${suffix}`]: packed(8, operationOf),
    [`${name}ss_xmm_xmmm32${suffix}`]: scalar(4, operationOf),
    [`${name}sd_xmm_xmmm64${suffix}`]: scalar(8, operationOf),
  };
}

// ---- Comparison to flags ---------------------------------------------------------------------------------------------

const statusFlags = flagBit.CF | flagBit.PF | flagBit.AF | flagBit.ZF | flagBit.SF | flagBit.OF;
const orderFlags: Readonly<Record<Order, number>> = {
  greater: 0,
  less: flagBit.CF,
  equal: flagBit.ZF,
  unordered: flagBit.CF | flagBit.PF | flagBit.ZF,
};

/** COMISS, COMISD and the unordered ones. */
const compareFlags = (size: FloatSize, quiet: boolean): InstructionHandler =>
  simd((lp, insn) => {
    const b = element(readSource(lp, insn, size), size, 0);
    const a = element(readVector(lp, insn.destination), size, 0);
    const context = contextOf(lp);
    const { order, flags } = compare(a, b, size, quiet, context);
    report(lp, context, flags);
    lp.changeFlags(orderFlags[order], statusFlags);
  });

// ---- Conversion ------------------------------------------------------------------------------------------------------

/** Elements of the source, each made into one of the destination; the rest of the destination becomes 0. */
const convertPacked = (
  from: FloatSize,
  to: FloatSize,
  operate: (bits: bigint, context: SimdContext) => SimdResult,
): InstructionHandler =>
  simd((lp, insn) => {
    const isHalf = from < to;
    const source = readSource(lp, insn, isHalf ? 8 : 16);
    const context = contextOf(lp);
    const count = 16 / Math.max(from, to);
    const results = lanes(from)
      .slice(0, count)
      .map((n) => operate(element(source, from, n), context));
    report(lp, context, flagsOf(results));
    writeVector(lp, insn.destination, joinElements(to, bitsOf(results)));
  });

const convertScalar = (from: FloatSize, to: FloatSize): InstructionHandler =>
  simd((lp, insn) => {
    const bits = element(readSource(lp, insn, from), from, 0);
    const context = contextOf(lp);
    const result = convert(bits, from, to, context);
    report(lp, context, result.flags);
    const old = readVector(lp, insn.destination);
    writeVector(lp, insn.destination, replaceLow(old, to, result.bits));
  });

/** CVTSI2SS and CVTSI2SD from a general register or memory. */
const integerToScalar = (integerBits: 32 | 64, size: FloatSize): InstructionHandler =>
  simd((lp, insn) => {
    const bits = insn.isMemory
      ? readSource(lp, insn, integerBits === 32 ? 4 : 8)[0]
      : lp.state.gpr(insn.source);
    const context = contextOf(lp);
    const result = fromInteger(BigInt.asIntN(integerBits, bits), size, context);
    report(lp, context, result.flags);
    const old = readVector(lp, insn.destination);
    writeVector(lp, insn.destination, replaceLow(old, size, result.bits));
  });

const scalarToInteger = (
  size: FloatSize,
  integerBits: 32 | 64,
  truncate: boolean,
): InstructionHandler =>
  simd((lp, insn) => {
    const bits = element(readSource(lp, insn, size), size, 0);
    const context = contextOf(lp);
    const result = toInteger(bits, size, integerBits, truncate, context);
    report(lp, context, result.flags);
    writeRegister(lp.state, insn.destination, integerBits / 8, result.bits);
  });

const asInteger32 =
  (size: FloatSize, truncate: boolean) =>
  (bits: bigint, context: SimdContext): SimdResult =>
    toInteger(bits, size, 32, truncate, context);
const fromInteger32 =
  (size: FloatSize) =>
  (bits: bigint, context: SimdContext): SimdResult =>
    fromInteger(BigInt.asIntN(32, bits), size, context);

// ---- Conversion with MMX registers -----------------------------------------------------------------------------------

/** CVTPS2PI, CVTPD2PI and the truncating ones: two integers of 32 bits. */
const toMmx = (size: FloatSize, truncate: boolean): InstructionHandler =>
  mmxOperation((registers, lp, insn) => {
    const source = readSource(lp, insn, size === 4 ? 8 : 16);
    const context = contextOf(lp);
    const results = [0, 1].map((n) =>
      toInteger(element(source, size, n), size, 32, truncate, context),
    );
    report(lp, context, flagsOf(results));
    registers.write(insn.destination, joinElements(4, bitsOf(results))[0]);
  }, "vector");

/** CVTPI2PS keeps the upper half of its destination. */
const cvtpi2ps = mmxOperation((_, lp, insn) => {
  const results = integersOf(lp, insn, 4);
  const [, high] = readVector(lp, insn.destination);
  writeVector(lp, insn.destination, [joinElements(4, bitsOf(results))[0], high]);
}, "vector");

/** CVTPI2PD; from memory it is no MMX instruction. */
const fromMmxToDoubles = mmxOperation((_, lp, insn) => {
  writeVector(lp, insn.destination, joinElements(8, bitsOf(integersOf(lp, insn, 8))));
}, "vector");
const cvtpi2pd: InstructionHandler = (lp, insn) => {
  if (!insn.isMemory) {
    return fromMmxToDoubles(lp, insn);
  }
  requireSimd(lp);
  writeVector(lp, insn.destination, joinElements(8, bitsOf(integersOf(lp, insn, 8))));
  return Outcome.Next;
};

function integersOf(lp: LogicalProcessor, insn: InstructionView, size: FloatSize): SimdResult[] {
  const source = readMmxSource(lp, insn, 8);
  const context = contextOf(lp);
  const results = [0n, 32n].map((shift) =>
    fromInteger(BigInt.asIntN(32, source >> shift), size, context),
  );
  report(lp, context, flagsOf(results));
  return results;
}

// ---- The table -------------------------------------------------------------------------------------------------------

/** By Code: string CMPSD has the mnemonic of the comparison. */
export const simdFloatInstructions: InstructionTable = {
  ...forms("Add", () => add),
  ...forms("Sub", () => subtract),
  ...forms("Mul", () => multiply),
  ...forms("Div", () => divide),
  ...forms("Min", () => minimum),
  ...forms("Max", () => maximum),
  ...forms("Sqrt", () => (_, b, size, context) => squareRoot(b, size, context)),
  ...forms("Cmp", (insn) => compareMask(Number(insn.immediate & 7n)), "_imm8"),
  Comiss_xmm_xmmm32: compareFlags(4, false),
  Comisd_xmm_xmmm64: compareFlags(8, false),
  Ucomiss_xmm_xmmm32: compareFlags(4, true),
  Ucomisd_xmm_xmmm64: compareFlags(8, true),
  Cvtsi2ss_xmm_rm32: integerToScalar(32, 4),
  Cvtsi2ss_xmm_rm64: integerToScalar(64, 4),
  Cvtsi2sd_xmm_rm32: integerToScalar(32, 8),
  Cvtsi2sd_xmm_rm64: integerToScalar(64, 8),
  Cvtss2si_r32_xmmm32: scalarToInteger(4, 32, false),
  Cvtss2si_r64_xmmm32: scalarToInteger(4, 64, false),
  Cvtsd2si_r32_xmmm64: scalarToInteger(8, 32, false),
  Cvtsd2si_r64_xmmm64: scalarToInteger(8, 64, false),
  Cvttss2si_r32_xmmm32: scalarToInteger(4, 32, true),
  Cvttss2si_r64_xmmm32: scalarToInteger(4, 64, true),
  Cvttsd2si_r32_xmmm64: scalarToInteger(8, 32, true),
  Cvttsd2si_r64_xmmm64: scalarToInteger(8, 64, true),
  Cvtss2sd_xmm_xmmm32: convertScalar(4, 8),
  Cvtsd2ss_xmm_xmmm64: convertScalar(8, 4),
  Cvtps2pd_xmm_xmmm64: convertPacked(4, 8, (bits, context) => convert(bits, 4, 8, context)),
  Cvtpd2ps_xmm_xmmm128: convertPacked(8, 4, (bits, context) => convert(bits, 8, 4, context)),
  Cvtdq2ps_xmm_xmmm128: convertPacked(4, 4, fromInteger32(4)),
  Cvtdq2pd_xmm_xmmm64: convertPacked(4, 8, fromInteger32(8)),
  Cvtps2dq_xmm_xmmm128: convertPacked(4, 4, asInteger32(4, false)),
  Cvttps2dq_xmm_xmmm128: convertPacked(4, 4, asInteger32(4, true)),
  Cvtpd2dq_xmm_xmmm128: convertPacked(8, 4, asInteger32(8, false)),
  Cvttpd2dq_xmm_xmmm128: convertPacked(8, 4, asInteger32(8, true)),
  Cvtps2pi_mm_xmmm64: toMmx(4, false),
  Cvttps2pi_mm_xmmm64: toMmx(4, true),
  Cvtpd2pi_mm_xmmm128: toMmx(8, false),
  Cvttpd2pi_mm_xmmm128: toMmx(8, true),
  Cvtpi2ps_xmm_mmm64: cvtpi2ps,
  Cvtpi2pd_xmm_mmm64: cvtpi2pd,
};
