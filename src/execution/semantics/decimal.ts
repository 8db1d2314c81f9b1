import { type I64, i32, i64 } from "../../wasm/expression.ts";
import type { Semantics } from "./arithmetic.ts";
import { exceptionCode, type InstructionEmitter } from "./instruction-emitter.ts";

const zero = i64.const(0);
const low4 = (value: I64): I64 => i64.and(value, i64.const(15));

/** SF, ZF, PF by a result byte; CF and AF given as 0/1, OF cleared. */
function setFlags(c: InstructionEmitter, byte: I64, carry: I64, auxiliary: I64): void {
  c.flagsOfResult(byte, carry, zero);
  c.setAuxiliary(auxiliary);
}

/** DAA and DAS: each digit that overflowed ten is brought back by six, upwards or downwards. */
function adjustPacked(step: (a: I64, b: I64) => I64): Semantics {
  return (c) => {
    const { f } = c;
    const old = c.let(c.gpr(0, 1));
    const result = c.let(old);
    const auxiliary = c.let(
      i64.extendU(i32.or(i64.gtU(low4(old), i64.const(9)), i64.ne(c.auxiliary(), zero))),
    );
    const carry = c.let(
      i64.extendU(i32.or(i64.gtU(old, i64.const(0x99)), i64.ne(c.carry(), zero))),
    );
    // The low digit's correction can itself borrow or carry out of the byte.
    const wrapped = c.let(zero);
    f.if(i64.ne(auxiliary, zero), () => {
      f.set(result, step(result, i64.const(6)));
      f.set(wrapped, i64.extendU(i64.gtU(result, i64.const(0xff))));
    });
    f.if(i64.ne(carry, zero), () => f.set(result, step(result, i64.const(0x60))));
    f.set(carry, i64.or(carry, wrapped));
    f.set(result, c.truncate(result, 1));
    c.setGpr(0, result, 1);
    setFlags(c, result, carry, auxiliary);
  };
}
export const DAA = adjustPacked(i64.add);
export const DAS = adjustPacked(i64.sub);

/** AAA and AAS: AX is corrected by 0106h when the low digit overflowed ten; AL keeps the digit. */
function adjustUnpacked(step: (a: I64, b: I64) => I64): Semantics {
  return (c) => {
    const { f } = c;
    const word = c.let(c.gpr(0, 2));
    const adjust = c.let(
      i64.extendU(i32.or(i64.gtU(low4(word), i64.const(9)), i64.ne(c.auxiliary(), zero))),
    );
    f.if(i64.ne(adjust, zero), () => f.set(word, step(word, i64.const(0x106))));
    c.setGpr(0, i64.and(word, i64.const(0xff0f)), 2);
    setFlags(c, c.let(low4(word)), adjust, adjust);
  };
}
export const AAA = adjustUnpacked(i64.add);
export const AAS = adjustUnpacked(i64.sub);

/** AAM: AL into quotient (AH) and remainder (AL) by the immediate, usually ten. */
export const AAM: Semantics = (c) => {
  const base = c.let(c.truncate(c.immediate(), 1));
  c.raiseIf(i64.eqz(base), exceptionCode.divide);
  const value = c.let(c.gpr(0, 1));
  const rest = c.let(i64.remU(value, base));
  c.setGpr(0, i64.or(i64.shl(i64.divU(value, base), i64.const(8)), rest), 2);
  setFlags(c, rest, zero, zero);
};

/** AAD: AL + AH × immediate into AX. */
export const AAD: Semantics = (c) => {
  const word = c.let(c.gpr(0, 2));
  const high = i64.mul(i64.shrU(word, i64.const(8)), c.truncate(c.immediate(), 1));
  const value = c.let(c.truncate(i64.add(word, high), 1));
  c.setGpr(0, value, 2);
  setFlags(c, value, zero, zero);
};

/** SALC: AL becomes all ones or zero by CF. */
export const SALC: Semantics = (c) => c.setGpr(0, i64.sub(zero, c.carry()), 1);
