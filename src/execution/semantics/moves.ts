import type { AccessSize } from "../../wasm/expression.ts";
import { choose, i32, i64 } from "../../wasm/expression.ts";
import { recordOffset } from "../instruction-record.ts";
import { lpOffset } from "../lp-window.ts";
import type { Semantics } from "./arithmetic.ts";

export const MOV: Semantics = (c) => c.write(c.source());

/** LEA: the offset, cut to the address size (simple addresses have 64 bits) and then to the operand size. */
export const LEA: Semantics = (c) => {
  if (c.form.source === "simple") {
    c.write(c.truncate(c.simpleAddress()));
    return;
  }
  c.write(c.truncate(i64.and(c.simpleAddress(), c.addressMask())));
};

/** MOVZX: the form's size is the destination's. */
export const moveZeroExtended =
  (from: AccessSize): Semantics =>
  (c) =>
    c.write(c.source(from));
/** MOVSX and MOVSXD. */
export const moveSignExtended =
  (from: AccessSize): Semantics =>
  (c) =>
    c.write(c.truncate(c.signExtend(c.let(c.source(from)), from)));

export const XCHG: Semantics = (c) => {
  const b = c.let(c.source());
  const seen = c.let(i64.const(0));
  c.update((a) => {
    c.f.set(seen, a);
    if (c.form.destination === "register") {
      c.writeSource(seen);
    }
    return b;
  });
  if (c.form.destination !== "register") {
    c.writeSource(seen);
  }
};

export const BSWAP: Semantics = (c) => {
  c.update((value) => {
    const bytes = Array.from({ length: c.size }, (_, n) => {
      const byte = i64.and(i64.shrU(value, i64.const(8 * n)), i64.const(0xff));
      return i64.shl(byte, i64.const(8 * (c.size - 1 - n)));
    });
    // A 16-bit operand is undefined; processors clear the word.
    return c.size === 2 ? i64.const(0) : bytes.reduce((all, one) => i64.or(all, one));
  });
};

export const MOVBE: Semantics = (c) => {
  const value = c.let(c.source());
  const bytes = Array.from({ length: c.size }, (_, n) => {
    const byte = i64.and(i64.shrU(value, i64.const(8 * n)), i64.const(0xff));
    return i64.shl(byte, i64.const(8 * (c.size - 1 - n)));
  });
  c.write(bytes.reduce((all, one) => i64.or(all, one)));
};

/** CMOVcc: the source is read either way, and a 32-bit destination is zero-extended either way. */
export const conditionalMove =
  (code: number): Semantics =>
  (c) => {
    const b = c.let(c.source());
    const a = c.let(c.destination());
    c.write(choose(c.condition(code), b, a));
  };

export const setOnCondition =
  (code: number): Semantics =>
  (c) =>
    c.write(i64.extendU(c.condition(code)));

/** CBW, CWDE, CDQE: the form's size is the result's. */
export const CONVERT_ACCUMULATOR: Semantics = (c) => {
  const half = (c.size / 2) as AccessSize;
  c.setGpr(0, c.truncate(c.signExtend(c.gpr(0, half), half)));
};
/** CWD, CDQ, CQO. */
export const CONVERT_DOUBLE: Semantics = (c) => {
  c.setGpr(2, c.truncate(i64.shrS(c.signExtend(c.gpr(0)), i64.const(63))));
};

export const CMPXCHG: Semantics = (c) => {
  const accumulator = c.let(c.gpr(0));
  const replacement = c.let(c.source());
  const seen = c.let(i64.const(0));
  c.update((a) => {
    c.f.set(seen, a);
    const r = c.let(c.truncate(i64.sub(accumulator, a)));
    c.flagsOfSub(accumulator, a, r);
    return choose(i64.eqz(r), replacement, a);
  });
  c.f.if(i64.ne(seen, accumulator), () => c.setGpr(0, seen));
};

/** CMPXCHG8B: EDX:EAX with m64, ECX:EBX on a match; only ZF changes. The form's size is 8. */
export const CMPXCHG8B: Semantics = (c) => {
  const pair = (high: number, low: number) =>
    c.let(i64.or(i64.shl(c.gpr(high, 4), i64.const(32)), c.gpr(low, 4)));
  const expected = pair(2, 0);
  const replacement = pair(1, 3);
  const seen = c.let(i64.const(0));
  c.update((a) => {
    c.f.set(seen, a);
    return choose(i64.eq(a, expected), replacement, a);
  });
  const others = i64.and(c.allFlags(), i64.const(~0x40n));
  const equal = c.let(i64.extendU(i64.eq(seen, expected)));
  c.setAllFlags(c.let(i64.or(others, i64.shl(equal, i64.const(6)))));
  c.f.if(i64.eqz(equal), () => {
    c.setGpr(0, i64.and(seen, i64.const(0xffff_ffffn)), 4);
    c.setGpr(2, i64.shrU(seen, i64.const(32)), 4);
  });
};

/** XLAT: AL = [rBX + AL]. */
export const XLAT: Semantics = (c) => {
  const offset = c.let(i64.and(i64.add(c.gpr(3, 8), c.gpr(0, 1)), c.addressMask()));
  const segment = i32.load8u(c.around.record, recordOffset.segment);
  c.setGpr(0, c.load(c.let(c.around.segmentAddress(segment, offset, 1, false)), 1), 1);
};

export const LAHF: Semantics = (c) => {
  const image = i64.or(i64.and(c.allFlags(), i64.const(0xd5)), i64.const(2));
  c.f.store(1, c.around.window, image, lpOffset.gpr + 1);
};
export const SAHF: Semantics = (c) => {
  const high = i64.load8u(c.around.window, lpOffset.gpr + 1);
  const kept = i64.shl(c.overflow(), i64.const(11));
  c.setAllFlags(c.let(i64.or(kept, i64.and(high, i64.const(0xd5)))));
};
export const CLC: Semantics = (c) => c.setCarry(i64.const(0));
export const STC: Semantics = (c) => c.setCarry(i64.const(1));
export const CMC: Semantics = (c) => c.setCarry(c.let(i64.xor(c.carry(), i64.const(1))));

const directionFlag = 1 << 10;
export const CLD: Semantics = (c) =>
  c.f.store32(
    c.around.window,
    i32.and(i32.load(c.around.window, lpOffset.systemFlags), i32.const(~directionFlag)),
    lpOffset.systemFlags,
  );
export const STD: Semantics = (c) =>
  c.f.store32(
    c.around.window,
    i32.or(i32.load(c.around.window, lpOffset.systemFlags), i32.const(directionFlag)),
    lpOffset.systemFlags,
  );

export const NOP: Semantics = () => undefined;

/** MFENCE. Ordered accesses need it only against the reordering of an own store with a later load. */
export const MFENCE: Semantics = (c) => c.f.fence();
