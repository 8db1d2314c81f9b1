import { type I64, i64, select } from "../../wasm/expression.ts";
import { product, type Semantics } from "./arithmetic.ts";
import type { InstructionEmitter } from "./instruction-emitter.ts";

const zero = i64.const(0);
const one = i64.const(1);
const not = (value: I64): I64 => i64.xor(value, i64.const(-1));
const isZero = (value: I64): I64 => i64.extendU(i64.eqz(value));

/** ANDN: the inverted first source is the third operand of the record. */
export const ANDN: Semantics = (c) => {
  const r = c.let(i64.and(not(c.third()), c.source()));
  c.flagsOfLogic(r);
  c.write(r);
};

/** BLSI, BLSR, BLSMSK: CF tells a zero (or, BLSI, a non-zero) source. */
function lowestBit(operation: (value: I64) => I64, carry: (value: I64) => I64): Semantics {
  return (c) => {
    const value = c.let(c.source());
    const r = c.let(c.truncate(operation(value)));
    c.flagsOfResult(r, c.let(carry(value)), zero);
    c.write(r);
  };
}
export const BLSI = lowestBit(
  (value) => i64.and(value, i64.sub(zero, value)),
  (value) => i64.extendU(i64.ne(value, zero)),
);
export const BLSR = lowestBit((value) => i64.and(value, i64.sub(value, one)), isZero);
export const BLSMSK = lowestBit((value) => i64.xor(value, i64.sub(value, one)), isZero);

/** The low `count` bits set; `count` may be anything, 64 and more give all ones. */
function lowMask(count: I64): I64 {
  return select(i64.geU(count, i64.const(64)), i64.const(-1), i64.sub(i64.shl(one, count), one));
}

/** BEXTR: start in bits 7:0 and length in bits 15:8 of the third operand. */
export const BEXTR: Semantics = (c) => {
  const control = c.let(c.third());
  const start = c.let(i64.and(control, i64.const(0xff)));
  const length = c.let(i64.and(i64.shrU(control, i64.const(8)), i64.const(0xff)));
  const value = c.let(c.source());
  const shifted = select(i64.geU(start, i64.const(64)), zero, i64.shrU(value, start));
  const r = c.let(i64.and(shifted, lowMask(length)));
  c.flagsOfLogic(r);
  c.write(r);
};

/** BZHI: zeroes the bits from the one whose number is in the third operand's low byte; CF tells that there are none. */
export const BZHI: Semantics = (c) => {
  const index = c.let(i64.and(c.third(), i64.const(0xff)));
  const r = c.let(i64.and(c.source(), lowMask(index)));
  c.flagsOfResult(r, c.let(i64.extendU(i64.gtU(index, i64.const(c.bits - 1)))), zero);
  c.write(r);
};

/** MULX: the third operand gets the low half, then the destination the high half. */
export const MULX: Semantics = (c) => {
  const { low, high } = product(c, c.let(c.gpr(2)), c.let(c.source()), false);
  c.setThird(low);
  c.write(high);
};

/** Visits the set bits of the mask from the lowest; `visit` gets that bit and a bit that counts them: 1, 2, 4 … */
function forMaskBits(
  c: InstructionEmitter,
  mask: I64,
  visit: (maskBit: I64, counter: I64) => void,
): void {
  const { f } = c;
  const left = c.let(mask);
  const counter = c.let(one);
  const lowest = c.let(zero);
  f.block((done) => {
    f.loop((again) => {
      f.branchIf(done, i64.eqz(left));
      f.set(lowest, i64.and(left, i64.sub(zero, left)));
      visit(lowest, counter);
      f.set(left, i64.xor(left, lowest));
      f.set(counter, i64.shl(counter, one));
      f.branch(again);
    });
  });
}
/** PDEP and PEXT: the value is the third operand, the mask the source. */
function gatherScatter(deposit: boolean): Semantics {
  return (c) => {
    const mask = c.source();
    const value = c.let(c.third());
    const r = c.let(zero);
    forMaskBits(c, mask, (maskBit, counter) => {
      const [from, to] = deposit ? [counter, maskBit] : [maskBit, counter];
      c.f.if(i64.ne(i64.and(value, from), zero), () => c.f.set(r, i64.or(r, to)));
    });
    c.write(r);
  };
}
export const PDEP = gatherScatter(true);
export const PEXT = gatherScatter(false);

export const RORX: Semantics = (c) => {
  const count = c.let(i64.and(c.immediate(), i64.const(c.bits - 1)));
  const value = c.let(c.source());
  if (c.size === 8) {
    c.write(i64.rotr(value, count));
    return;
  }
  c.write(
    c.truncate(i64.or(i64.shrU(value, count), i64.shl(value, i64.sub(i64.const(c.bits), count)))),
  );
};

/** SARX, SHLX, SHRX: shifts without flags, the count in the third operand. */
function shiftWithoutFlags(
  operation: (c: InstructionEmitter, value: I64, count: I64) => I64,
): Semantics {
  return (c) => {
    const count = c.let(i64.and(c.third(), i64.const(c.bits - 1)));
    c.write(c.truncate(operation(c, c.source(), count)));
  };
}
export const SARX = shiftWithoutFlags((c, value, count) => i64.shrS(c.signExtend(value), count));
export const SHLX = shiftWithoutFlags((_, value, count) => i64.shl(value, count));
export const SHRX = shiftWithoutFlags((_, value, count) => i64.shrU(value, count));
