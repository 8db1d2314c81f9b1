import { choose, type I64, i32, i64 } from "../../wasm/expression.ts";
import { exceptionCode, type InstructionEmitter } from "./instruction-emitter.ts";

/** One instruction's meaning, emitted for whatever form the emitter stands for. */
export type Semantics = (c: InstructionEmitter) => void;

const one = i64.const(1);

export const ADD: Semantics = (c) => {
  const b = c.let(c.source());
  c.update((a) => {
    const r = c.let(c.truncate(i64.add(a, b)));
    c.flagsOfAdd(a, b, r);
    return r;
  });
};

export const ADC: Semantics = (c) => {
  const b = c.let(c.source());
  const carryIn = c.let(c.carry());
  c.update((a) => {
    const r = c.let(c.truncate(i64.add(i64.add(a, b), carryIn)));
    c.flagsOfAdd(a, b, r);
    return r;
  });
};

export const SUB: Semantics = (c) => {
  const b = c.let(c.source());
  c.update((a) => {
    const r = c.let(c.truncate(i64.sub(a, b)));
    c.flagsOfSub(a, b, r);
    return r;
  });
};

export const SBB: Semantics = (c) => {
  const b = c.let(c.source());
  const borrowIn = c.let(c.carry());
  c.update((a) => {
    const r = c.let(c.truncate(i64.sub(i64.sub(a, b), borrowIn)));
    c.flagsOfSub(a, b, r);
    return r;
  });
};

export const CMP: Semantics = (c) => {
  const a = c.let(c.destination());
  const b = c.let(c.source());
  c.flagsOfSub(a, b, c.let(c.truncate(i64.sub(a, b))));
};

export const INC: Semantics = (c) => {
  c.update((a) => {
    const r = c.let(c.truncate(i64.add(a, one)));
    const overflow = i64.extendU(i64.eq(r, i64.const(1n << BigInt(c.bits - 1))));
    c.flagsKeepingCarry(r, c.let(overflow), i64.extendU(i64.eqz(i64.and(r, i64.const(15)))));
    return r;
  });
};

export const DEC: Semantics = (c) => {
  c.update((a) => {
    const r = c.let(c.truncate(i64.sub(a, one)));
    const overflow = i64.extendU(i64.eq(a, i64.const(1n << BigInt(c.bits - 1))));
    c.flagsKeepingCarry(r, c.let(overflow), i64.extendU(i64.eqz(i64.and(a, i64.const(15)))));
    return r;
  });
};

export const NEG: Semantics = (c) => {
  c.update((a) => {
    const zero = c.let(i64.const(0));
    const r = c.let(c.truncate(i64.sub(zero, a)));
    c.flagsOfSub(zero, a, r);
    return r;
  });
};

/** Low and high half of an unsigned or signed 64 × 64 product. */
function wideProduct(
  c: InstructionEmitter,
  a: I64,
  b: I64,
  signed: boolean,
): { low: I64; high: I64 } {
  const low32 = (v: I64): I64 => i64.and(v, i64.const(0xffff_ffffn));
  const high32 = (v: I64): I64 => i64.shrU(v, i64.const(32));
  const x = c.let(a);
  const y = c.let(b);
  const ll = c.let(i64.mul(low32(x), low32(y)));
  const hl = c.let(i64.add(i64.mul(high32(x), low32(y)), high32(ll)));
  const lh = c.let(i64.add(i64.mul(low32(x), high32(y)), low32(hl)));
  const unsignedHigh = i64.add(i64.add(i64.mul(high32(x), high32(y)), high32(hl)), high32(lh));
  const low = c.let(i64.mul(x, y));
  if (!signed) {
    return { low, high: c.let(unsignedHigh) };
  }
  const ifNegative = (v: I64, other: I64): I64 => i64.and(i64.shrS(v, i64.const(63)), other);
  return { low, high: c.let(i64.sub(i64.sub(unsignedHigh, ifNegative(x, y)), ifNegative(y, x))) };
}

/** Low and high half of the product of operand-sized values, each truncated. */
export function product(
  c: InstructionEmitter,
  a: I64,
  b: I64,
  signed: boolean,
): { low: I64; high: I64 } {
  if (c.size === 8) {
    return wideProduct(c, a, b, signed);
  }
  const whole = c.let(signed ? i64.mul(c.signExtend(a), c.signExtend(b)) : i64.mul(a, b));
  return {
    low: c.let(c.truncate(whole)),
    high: c.let(c.truncate(i64.shrU(whole, i64.const(c.bits)))),
  };
}

/** CF = OF = the high half is significant; the other flags follow the low half. */
function flagsOfProduct(c: InstructionEmitter, low: I64, high: I64, signed: boolean): void {
  const insignificant = signed
    ? c.truncate(i64.shrS(c.signExtend(low), i64.const(63)))
    : i64.const(0);
  const overflow = c.let(i64.extendU(i64.ne(high, insignificant)));
  c.flagsOfResult(low, overflow, overflow);
}

function writeProduct(c: InstructionEmitter, low: I64, high: I64): void {
  if (c.size === 1) {
    c.setGpr(0, i64.or(low, i64.shl(high, i64.const(8))), 2);
    return;
  }
  c.setGpr(0, low);
  c.setGpr(2, high);
}

function multiplyAccumulator(signed: boolean): Semantics {
  return (c) => {
    const operand = c.let(c.destination());
    const { low, high } = product(c, c.let(c.gpr(0)), operand, signed);
    writeProduct(c, low, high);
    flagsOfProduct(c, low, high, signed);
  };
}
/** MUL and one-operand IMUL: the operand is the destination operand of the form. */
export const MUL = multiplyAccumulator(false);
export const IMUL1: Semantics = multiplyAccumulator(true);

/** Two-operand IMUL. */
export const IMUL2: Semantics = (c) => {
  const b = c.let(c.source());
  const { low, high } = product(c, c.let(c.destination()), b, true);
  c.write(low);
  flagsOfProduct(c, low, high, true);
};

/** Three-operand IMUL: destination register, source, immediate. */
export const IMUL3: Semantics = (c) => {
  const a = c.let(c.source());
  const { low, high } = product(c, a, c.let(c.immediate()), true);
  c.write(low);
  flagsOfProduct(c, low, high, true);
};

/** DIV and IDIV of 8-, 16- and 32-bit operands: the dividend fits 64 bits. */
function divideNarrow(c: InstructionEmitter, divisor: I64, signed: boolean): void {
  const dividend =
    c.size === 1 ? c.gpr(0, 2) : i64.or(i64.shl(c.gpr(2), i64.const(c.bits)), c.gpr(0));
  const whole = c.let(
    signed && c.size !== 4 ? c.signExtend(dividend, (c.size * 2) as 2 | 4) : dividend,
  );
  const by = c.let(signed ? c.signExtend(divisor) : divisor);
  c.raiseIf(i64.eqz(by), exceptionCode.divide);
  if (signed) {
    // The one quotient the host's division cannot form either.
    const extreme = i32.and(i64.eq(whole, i64.const(-(1n << 63n))), i64.eq(by, i64.const(-1)));
    c.raiseIf(extreme, exceptionCode.divide);
  }
  const quotient = c.let(signed ? i64.divS(whole, by) : i64.divU(whole, by));
  const remainder = c.let(signed ? i64.remS(whole, by) : i64.remU(whole, by));
  const fits = signed ? c.signExtend(quotient) : c.truncate(quotient);
  c.raiseIf(i64.ne(fits, quotient), exceptionCode.divide);
  if (c.size === 1) {
    c.setGpr(0, i64.or(c.truncate(quotient), i64.shl(c.truncate(remainder), i64.const(8))), 2);
    return;
  }
  c.setGpr(0, c.truncate(quotient));
  c.setGpr(2, c.truncate(remainder));
}

/** Unsigned 128 / 64 → 64 for high < divisor, by shift and subtract where the high half is not zero. */
function divideWideUnsigned(
  c: InstructionEmitter,
  high: I64,
  low: I64,
  divisor: I64,
): { quotient: I64; remainder: I64 } {
  const { f } = c;
  const quotient = c.let(low);
  const remainder = c.let(high);
  f.if(
    i64.eqz(high),
    () => {
      f.set(remainder, i64.remU(low, divisor));
      f.set(quotient, i64.divU(low, divisor));
    },
    () => {
      const count = c.let(i64.const(64));
      f.loop((again) => {
        const out = c.let(i64.shrU(remainder, i64.const(63)));
        f.set(remainder, i64.or(i64.shl(remainder, one), i64.shrU(quotient, i64.const(63))));
        f.set(quotient, i64.shl(quotient, one));
        f.if(i32.or(i64.ne(out, i64.const(0)), i64.geU(remainder, divisor)), () => {
          f.set(remainder, i64.sub(remainder, divisor));
          f.set(quotient, i64.or(quotient, one));
        });
        f.set(count, i64.sub(count, one));
        f.branchIf(again, i64.ne(count, i64.const(0)));
      });
    },
  );
  return { quotient, remainder };
}

function divideWide(c: InstructionEmitter, operand: I64, signed: boolean): void {
  const divisor = c.let(operand);
  const high = c.let(c.gpr(2));
  const low = c.let(c.gpr(0));
  c.raiseIf(i64.eqz(divisor), exceptionCode.divide);
  if (!signed) {
    c.raiseIf(i64.geU(high, divisor), exceptionCode.divide);
    const { quotient, remainder } = divideWideUnsigned(c, high, low, divisor);
    c.setGpr(0, quotient);
    c.setGpr(2, remainder);
    return;
  }
  const { f } = c;
  const zero = i64.const(0);
  const negativeDividend = c.let(i64.shrU(high, i64.const(63)));
  const negative = c.let(i64.xor(negativeDividend, i64.shrU(divisor, i64.const(63))));
  f.if(i64.ne(negativeDividend, zero), () => {
    f.set(high, i64.sub(i64.sub(zero, high), i64.extendU(i64.ne(low, zero))));
    f.set(low, i64.sub(zero, low));
  });
  f.set(divisor, choose(i64.ltS(divisor, zero), i64.sub(zero, divisor), divisor));
  c.raiseIf(i64.geU(high, divisor), exceptionCode.divide);
  const { quotient, remainder } = divideWideUnsigned(c, high, low, divisor);
  // A magnitude of 2^63 fits only a negative quotient.
  c.raiseIf(
    i64.gtU(quotient, i64.add(i64.const(0x7fff_ffff_ffff_ffffn), negative)),
    exceptionCode.divide,
  );
  c.setGpr(0, choose(i64.ne(negative, zero), i64.sub(zero, quotient), quotient));
  c.setGpr(2, choose(i64.ne(negativeDividend, zero), i64.sub(zero, remainder), remainder));
}

function divide(signed: boolean): Semantics {
  return (c) => {
    const divisor = c.let(c.destination());
    if (c.size === 8) {
      divideWide(c, divisor, signed);
    } else {
      divideNarrow(c, divisor, signed);
    }
  };
}
export const DIV = divide(false);
export const IDIV = divide(true);

export const XADD: Semantics = (c) => {
  const b = c.let(c.source());
  const seen = c.let(i64.const(0));
  c.update((a) => {
    c.f.set(seen, a);
    const r = c.let(c.truncate(i64.add(a, b)));
    c.flagsOfAdd(a, b, r);
    // Register forms write the source first: XADD r, r leaves the sum.
    if (c.form.destination === "register") {
      c.writeSource(seen);
    }
    return r;
  });
  if (c.form.destination !== "register") {
    c.writeSource(seen);
  }
};

/** ADCX and ADOX: add with one of CF and OF, changing only it. */
export const ADCX: Semantics = (c) => {
  const overflow = c.let(c.overflow());
  const { r, carry } = addWithCarry(c, c.carry());
  c.setCarryOverflow(carry, overflow);
  c.write(r);
};
export const ADOX: Semantics = (c) => {
  const carryFlag = c.let(c.carry());
  const { r, carry } = addWithCarry(c, c.overflow());
  c.setCarryOverflow(carryFlag, carry);
  c.write(r);
};
function addWithCarry(c: InstructionEmitter, carryIn: I64): { r: I64; carry: I64 } {
  const b = c.let(c.source());
  const a = c.let(c.destination());
  const sum = c.let(i64.add(a, b));
  const r = c.let(c.truncate(i64.add(sum, carryIn)));
  const carries = i64.or(i64.and(a, b), i64.and(i64.or(a, b), i64.xor(r, i64.const(-1))));
  return { r, carry: c.let(c.signOf(carries)) };
}
