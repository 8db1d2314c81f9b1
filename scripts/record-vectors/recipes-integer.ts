import type { CaseBuilder } from "./case-builder.ts";
import type { Recipe } from "./recipe.ts";
import { RAX, RBX, RCX, RDX } from "./registers.ts";

const DIVIDE_ERROR = 0;
const OVERFLOW = 4;
const BOUND_RANGE = 5;

const CASES = 40;

/** Two-operand arithmetic and logic: now and then both operands are equal. */
export const arithmetic: Recipe = {
  cases: CASES,
  adjust(builder) {
    const source = builder.operandValue(1);
    if (source === undefined || !builder.choose.onceIn(8)) return;
    if (builder.bitsOf(0) === builder.bitsOf(1)) builder.setOperandValue(0, source);
  },
};

/** Moves, extensions, one-operand arithmetic: any operands will do. */
export const simple: Recipe = { cases: CASES };

/** The sixteen conditions of CMOVcc and SETcc: flags are random in every case. */
export const conditional: Recipe = { cases: CASES };

/** No visible effect (multi-byte NOP, prefetches, fences, PAUSE). */
export const noEffect: Recipe = { cases: 8, noPageFaults: true };

export const loadEffectiveAddress: Recipe = { cases: 60, freeAddress: true };

/**
 * Half the time the accumulator equals the destination. Processors differ in whether a failing exchange clears the upper
 * half of a 32-bit destination register, so it is clear from the start.
 */
export const compareExchange: Recipe = {
  cases: CASES,
  reserved: [RAX],
  adjust(builder) {
    const destination = builder.place(0);
    if (destination?.bits === 32 && destination.number !== RAX && builder.form.mode === 64) {
      builder.setLow(destination.number, 64, builder.low(destination.number, 32));
    }
    const value = builder.operandValue(0);
    if (value === undefined || builder.choose.onceIn(2)) return;
    builder.setLow(RAX, builder.operandBits, value);
  },
};

/** CMPXCHG8B and CMPXCHG16B; half the time the register pair equals the memory operand. */
function compareExchangePair(alignment: number): Recipe {
  return {
    cases: 48,
    reserved: [RAX, RBX, RCX, RDX],
    alignment,
    adjust(builder) {
      const value = builder.operandValue(0);
      if (value === undefined || builder.choose.onceIn(2)) return;
      const half = builder.operandBits / 2;
      builder.setLow(RAX, half, value);
      builder.setLow(RDX, half, value >> BigInt(half));
    },
  };
}

export const compareExchange8 = compareExchangePair(1);
export const compareExchange16 = compareExchangePair(16);

/**
 * BSF and BSR leave the destination alone when the source is zero; processors differ in whether its upper half survives
 * with a 32-bit operand, so it is zero in those cases.
 */
export const bitScan: Recipe = {
  cases: CASES,
  operandsReserved: true,
  adjust(builder) {
    if (builder.choose.onceIn(6)) builder.setOperandValue(1, 0n);
    if (builder.operandValue(1) !== 0n || builder.operandBits !== 32) return;
    const destination = builder.place(0);
    if (destination === undefined || builder.form.mode === 32) return;
    builder.setLow(destination.number, 64, builder.low(destination.number, 32));
  },
};

/** BEXTR and BZHI: sensible start, length and index half of the time. */
export const bitField: Recipe = {
  cases: CASES,
  operandsReserved: true,
  adjust(builder) {
    if (builder.choose.onceIn(3)) return;
    const [start, length] = [builder.choose.below(72), builder.choose.below(72)];
    builder.setOperandValue(2, BigInt(start | (length << 8)));
  },
};

function shiftCounts(bits: number): number[] {
  return [0, 1, 2, 7, bits - 1, bits, bits + 1, 31, 32, 33, 63, 64, 65, 255];
}

function chooseCount(builder: CaseBuilder): bigint {
  const bits = builder.operandBits;
  const { choose } = builder;
  const count = choose.onceIn(2) ? choose.oneOf(shiftCounts(bits)) : choose.below(bits);
  return BigInt(count);
}

/** Shifts and rotates, counts from an immediate or CL. */
export const shift: Recipe = {
  cases: CASES,
  reserved: [RCX],
  immediate: chooseCount,
  adjust(builder) {
    if (builder.form.operands[1] === "cl") builder.setLow(RCX, 8, chooseCount(builder));
  },
};

/** SHLD and SHRD: a masked count above 16 leaves 16-bit results undefined, so those are left out. */
function chooseDoubleCount(builder: CaseBuilder): bigint {
  for (;;) {
    const count = chooseCount(builder);
    if (builder.operandBits !== 16 || (count & 31n) <= 16n) return count;
  }
}

export const doubleShift: Recipe = {
  cases: CASES,
  reserved: [RCX],
  immediate: chooseDoubleCount,
  adjust(builder) {
    if (builder.form.operands[2] === "cl") builder.setLow(RCX, 8, chooseDoubleCount(builder));
  },
};

/** BT, BTS, BTR, BTC with a register offset reach before and behind the addressed operand in memory. */
export const bitTest: Recipe = {
  cases: 48,
  operandsReserved: true,
  memoryTarget(builder, size) {
    const offsetRegister = builder.place(1);
    if (offsetRegister === undefined) return undefined;
    const bits = size * 8;
    const touched = builder.offsetFor(size);
    const units = builder.choose.oneOf([0, 0, 1, -1, builder.choose.between(-20, 20)]);
    const bitOffset = BigInt(units * bits + builder.choose.below(bits));
    builder.setLow(offsetRegister.number, bits, bitOffset);
    return touched - units * size;
  },
};

function writeDividend(builder: CaseBuilder, bits: number, dividend: bigint): void {
  if (bits === 8) {
    builder.setLow(RAX, 16, dividend);
    return;
  }
  builder.setLow(RAX, bits, dividend);
  builder.setLow(RDX, bits, dividend >> BigInt(bits));
}

/** A dividend whose quotient fits, including the largest and smallest quotients. */
function fittingDividend(builder: CaseBuilder, divisor: bigint, signed: boolean): bigint {
  const bits = builder.operandBits;
  const raw = builder.choose.value(bits);
  const quotient = signed ? BigInt.asIntN(bits, raw) : raw;
  const by = signed ? BigInt.asIntN(bits, divisor) : divisor;
  const magnitude = by < 0n ? -by : by;
  const rest = builder.choose.value(bits) % magnitude;
  const product = quotient * by;
  return BigInt.asUintN(bits * 2, product < 0n ? product - rest : product + rest);
}

/** DIV and IDIV: most quotients fit; divisors of zero and quotients too large raise #DE. */
function divide(signed: boolean): Recipe {
  return {
    cases: 48,
    reserved: [RAX, RDX],
    adjust(builder) {
      builder.allowFault(DIVIDE_ERROR);
      if (builder.choose.onceIn(10)) builder.setOperandValue(0, 0n);
      const divisor = builder.operandValue(0);
      const place = builder.place(0);
      const aliased = place !== undefined && (place.number === RAX || place.number === RDX);
      if (divisor === undefined || divisor === 0n || aliased || builder.choose.onceIn(8)) return;
      writeDividend(builder, builder.operandBits, fittingDividend(builder, divisor, signed));
    },
  };
}

export const unsignedDivide = divide(false);
export const signedDivide = divide(true);

/** AAM divides by its immediate. */
export const asciiAdjustMultiply: Recipe = {
  cases: CASES,
  immediate: (builder) => (builder.choose.onceIn(2) ? 10n : undefined),
  adjust(builder) {
    if (builder.instruction.immediate8 === 0) builder.expectFault(DIVIDE_ERROR);
  },
};

export const interruptOnOverflow: Recipe = {
  cases: CASES,
  adjust(builder) {
    if (builder.state.rflags & 0x800n) builder.expectFault(OVERFLOW);
  },
};

/** BOUND: bounds around the index, exactly at it, and random ones. */
export const bound: Recipe = {
  cases: 48,
  noPageFaults: true,
  operandsReserved: true,
  adjust(builder) {
    builder.allowFault(BOUND_RANGE);
    const bits = builder.bitsOf(0);
    const index = builder.operandValue(0);
    const offset = builder.memoryOffset;
    if (index === undefined || offset === undefined || builder.choose.onceIn(3)) return;
    const near = () => BigInt.asUintN(bits, index + BigInt(builder.choose.between(-1, 1)));
    builder.setMemory(offset, near(), bits / 8);
    builder.setMemory(offset + bits / 8, near(), bits / 8);
  },
};

/** XLAT: the table starts so that AL selects a byte of the memory area. */
export const translate: Recipe = {
  cases: CASES,
  begin(builder) {
    const byte = builder.offsetFor(1);
    builder.setPointer(RBX, byte - Number(builder.low(RAX, 8)), builder.addressBits);
  },
};
