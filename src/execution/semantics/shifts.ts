import { type I64, i64, select } from "../../wasm/expression.ts";
import type { Semantics } from "./arithmetic.ts";
import type { InstructionEmitter } from "./instruction-emitter.ts";

const one = i64.const(1);
const bitAt = (value: I64, place: I64): I64 => i64.and(i64.shrU(value, place), one);

/** The count: the source operand's low byte, modulo 32 (64 for 64-bit operands). */
function maskedCount(c: InstructionEmitter): I64 {
  return c.let(i64.and(c.source(1), i64.const(c.size === 8 ? 63 : 31)));
}

/** Emits `shift` when the count is not zero; a zero count changes nothing but a 32-bit register's upper half. */
function counted(shift: (c: InstructionEmitter, a: I64, count: I64) => I64): Semantics {
  return (c) => {
    const count = maskedCount(c);
    c.update((a) => {
      const r = c.let(a);
      c.f.if(i64.ne(count, i64.const(0)), () => c.f.set(r, shift(c, a, count)));
      return r;
    });
  };
}

export const SHL: Semantics = counted((c, a, count) => {
  // Counts beyond the operand size shift everything out: the wide shift does it, for at most 31 or 63.
  const wide = c.let(i64.shl(a, i64.sub(count, one)));
  const carry = c.let(c.signOf(wide));
  const r = c.let(c.truncate(i64.shl(wide, one)));
  c.flagsOfResult(r, carry, c.let(i64.xor(c.signOf(r), carry)));
  return r;
});

export const SHR: Semantics = counted((c, a, count) => {
  const almost = c.let(i64.shrU(a, i64.sub(count, one)));
  const r = c.let(i64.shrU(almost, one));
  const overflow = c.let(i64.and(i64.extendU(i64.eq(count, one)), c.signOf(a)));
  c.flagsOfResult(r, c.let(i64.and(almost, one)), overflow);
  return r;
});

export const SAR: Semantics = counted((c, a, count) => {
  const almost = c.let(i64.shrS(c.signExtend(a), i64.sub(count, one)));
  const r = c.let(c.truncate(i64.shrS(almost, one)));
  c.flagsOfResult(r, c.let(i64.and(almost, one)), i64.const(0));
  return r;
});

/** Rotate within the operand size; `count` below the size. */
function rotateLeft(c: InstructionEmitter, a: I64, count: I64): I64 {
  if (c.size === 8) {
    return i64.rotl(a, count);
  }
  // For a count of 0 the right part is shifted by the size: a truncated value leaves nothing wrong.
  return c.truncate(i64.or(i64.shl(a, count), i64.shrU(a, i64.sub(i64.const(c.bits), count))));
}

export const ROL: Semantics = counted((c, a, count) => {
  const r = c.let(rotateLeft(c, a, c.let(i64.and(count, i64.const(c.bits - 1)))));
  const carry = c.let(i64.and(r, one));
  c.setCarryOverflow(carry, c.let(i64.xor(c.signOf(r), carry)));
  return r;
});

export const ROR: Semantics = counted((c, a, count) => {
  const left = c.let(i64.and(i64.sub(i64.const(c.bits), count), i64.const(c.bits - 1)));
  const r = c.let(rotateLeft(c, a, left));
  const carry = c.let(c.signOf(r));
  const second = i64.and(i64.shrU(r, i64.const(c.bits - 2)), one);
  c.setCarryOverflow(carry, c.let(i64.xor(carry, second)));
  return r;
});

/** Rotates through CF: a rotation of bits + 1 places. */
function throughCarryCount(c: InstructionEmitter, count: I64): I64 {
  return c.size <= 2 ? c.let(i64.remU(count, i64.const(c.bits + 1))) : count;
}

export const RCL: Semantics = counted((c, a, masked) => {
  const count = throughCarryCount(c, masked);
  const carryIn = c.let(c.carry());
  const r = c.let(a);
  const carry = c.let(carryIn);
  c.f.if(i64.ne(count, i64.const(0)), () => {
    const fromCarry = i64.shl(carryIn, i64.sub(count, one));
    const right = c.let(i64.sub(i64.const(c.bits + 1), count));
    // A right part shifted by the whole width (count 1) is empty; the host would take the count modulo 64.
    const fromTop = select(i64.eq(count, one), i64.const(0), i64.shrU(a, right));
    c.f.set(carry, bitAt(a, i64.sub(i64.const(c.bits), count)));
    c.f.set(r, c.truncate(i64.or(i64.or(i64.shl(a, count), fromCarry), fromTop)));
  });
  c.setCarryOverflow(carry, c.let(i64.xor(c.signOf(r), carry)));
  return r;
});

export const RCR: Semantics = counted((c, a, masked) => {
  const count = throughCarryCount(c, masked);
  const carryIn = c.let(c.carry());
  const r = c.let(a);
  const carry = c.let(carryIn);
  c.f.if(i64.ne(count, i64.const(0)), () => {
    const left = c.let(i64.sub(i64.const(c.bits + 1), count));
    const fromLow = select(i64.eq(count, one), i64.const(0), i64.shl(a, left));
    const fromCarry = i64.shl(carryIn, i64.sub(i64.const(c.bits), count));
    c.f.set(carry, bitAt(a, i64.sub(count, one)));
    c.f.set(r, c.truncate(i64.or(i64.or(i64.shrU(a, count), fromCarry), fromLow)));
  });
  const second = i64.and(i64.shrU(r, i64.const(c.bits - 2)), one);
  c.setCarryOverflow(carry, c.let(i64.xor(c.signOf(r), second)));
  return r;
});

/** SHLD and SHRD: destination, register source in `third`, count in `source`. */
function doubleShift(left: boolean): Semantics {
  return (c) => {
    const count = maskedCount(c);
    const filler = c.let(c.third());
    c.update((a) => {
      const r = c.let(a);
      c.f.if(i64.ne(count, i64.const(0)), () => {
        const width = i64.const(c.bits);
        if (c.size === 2) {
          // Counts of 17..31 are undefined for words: processors shift the 48-bit string a:filler:a.
          const wide = c.let(
            left
              ? i64.or(i64.or(i64.shl(a, i64.const(32)), i64.shl(filler, i64.const(16))), a)
              : i64.or(i64.or(i64.shl(a, i64.const(32)), i64.shl(filler, i64.const(16))), a),
          );
          if (left) {
            const shifted = c.let(i64.shl(wide, i64.sub(count, one)));
            const carry = c.let(bitAt(shifted, i64.const(47)));
            c.f.set(r, c.truncate(i64.shrU(shifted, i64.const(31))));
            c.flagsOfResult(r, carry, c.let(i64.xor(c.signOf(r), carry)));
          } else {
            const shifted = c.let(i64.shrU(wide, i64.sub(count, one)));
            c.f.set(r, c.truncate(i64.shrU(shifted, one)));
            c.flagsOfResult(
              r,
              c.let(i64.and(shifted, one)),
              c.let(i64.xor(c.signOf(r), c.signOf(a))),
            );
          }
          return;
        }
        const back = c.let(i64.sub(width, count));
        if (left) {
          const carry = c.let(bitAt(a, back));
          c.f.set(r, c.truncate(i64.or(i64.shl(a, count), i64.shrU(filler, back))));
          c.flagsOfResult(r, carry, c.let(i64.xor(c.signOf(r), carry)));
        } else {
          const carry = c.let(bitAt(a, i64.sub(count, one)));
          c.f.set(r, c.truncate(i64.or(i64.shrU(a, count), i64.shl(filler, back))));
          c.flagsOfResult(r, carry, c.let(i64.xor(c.signOf(r), c.signOf(a))));
        }
      });
      return r;
    });
  };
}
export const SHLD = doubleShift(true);
export const SHRD = doubleShift(false);
