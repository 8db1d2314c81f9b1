import { statusFlag } from "../../execution/flags.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { type I32, i32, i64 } from "../../wasm/expression.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";

/** Not 0 when one of them is not. */
export function any(first: I32, ...others: readonly I32[]): I32 {
  return others.reduce((sum, other) => i32.or(sum, other), first);
}

const one = i32.const(1);
const bit = (value: I32, number: number): I32 => i32.and(i32.shrU(value, i32.const(number)), one);
const bitNumber = (flag: number): number => 31 - Math.clz32(flag);
const placed = (isSet: I32, flag: number): I32 => i32.shl(isSet, i32.const(bitNumber(flag)));

/** As `readStatusFlags`. */
export function readStatusFlags(f: FunctionBuilder, window: I32): I32 {
  const result = f.let(i64.load(window, lpOffset.flagResult));
  const low = f.let(i32.load(window, lpOffset.flagCarries));
  const high = f.let(i32.load(window, lpOffset.flagCarries + 4));
  const top = i32.wrap(i64.shrU(result, i64.const(63)));
  const byte = i32.and(i32.xor(i32.wrap(result), i32.shrU(low, i32.const(8))), i32.const(0xff));
  return any(
    bit(high, 31),
    placed(i32.xor(i32.and(i32.popcnt(byte), one), one), statusFlag.PF),
    placed(bit(low, 3), statusFlag.AF),
    placed(i64.eqz(result), statusFlag.ZF),
    placed(i32.xor(top, i32.and(low, one)), statusFlag.SF),
    placed(i32.xor(bit(high, 31), bit(high, 30)), statusFlag.OF),
  );
}

/** As `writeStatusFlags`. */
export function writeStatusFlags(f: FunctionBuilder, window: I32, flags: I32): void {
  const flag = (which: number): I32 => bit(flags, bitNumber(which));
  const low = any(
    flag(statusFlag.SF),
    i32.shl(flag(statusFlag.AF), i32.const(3)),
    i32.shl(i32.xor(flag(statusFlag.PF), flag(statusFlag.ZF)), i32.const(8)),
  );
  const high = i32.or(
    i32.shl(flag(statusFlag.CF), i32.const(31)),
    i32.shl(i32.xor(flag(statusFlag.CF), flag(statusFlag.OF)), i32.const(30)),
  );
  const carries = i64.or(i64.extendU(low), i64.shl(i64.extendU(high), i64.const(32)));
  f.store(8, window, i64.extendU(i32.xor(flag(statusFlag.ZF), one)), lpOffset.flagResult);
  f.store(8, window, carries, lpOffset.flagCarries);
}
