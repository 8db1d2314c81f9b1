import { type I64, i32, i64 } from "../../wasm/expression.ts";
import { lpOffset, Segment, segmentOffset, segmentStride } from "../lp-window.ts";
import type { Semantics } from "./arithmetic.ts";
import { exceptionCode, type InstructionEmitter } from "./instruction-emitter.ts";

const codeLimit = lpOffset.segment + Segment.CS * segmentStride + segmentOffset.limit;

/**
 * A 64-bit branch target must be canonical, a narrower one (it has been cut to the operand size) lie within CS.limit; the
 * fault is the branch's own. Direct branches have been checked when they were decoded.
 */
function checkTarget(c: InstructionEmitter, target: I64): I64 {
  const to = c.let(target);
  const canonical = i64.shrS(i64.shl(to, i64.const(16)), i64.const(16));
  const limit = i64.load32u(c.around.window, codeLimit);
  const isBad = c.size === 8 ? i64.ne(canonical, to) : i64.gtU(to, limit);
  c.raiseIf(isBad, exceptionCode.generalProtection);
  return to;
}

export const conditionalJump =
  (code: number): Semantics =>
  (c) => {
    c.f.if(c.condition(code), () => c.around.jumpDirect());
    c.around.jumpNext();
  };

export const JMP: Semantics = (c) => c.around.jumpDirect();

export const JMP_INDIRECT: Semantics = (c) => c.around.jumpTo(checkTarget(c, c.destination()));

export const CALL: Semantics = (c) => {
  c.push(c.nextRip());
  c.around.jumpDirect();
};

export const CALL_INDIRECT: Semantics = (c) => {
  const to = checkTarget(c, c.destination());
  c.push(c.nextRip());
  c.around.jumpTo(to);
};

/** RET and RET imm16: the immediate (0 without) is dropped from the stack as well. */
export const RET: Semantics = (c) => {
  const to = checkTarget(c, c.top());
  c.drop(i64.add(c.immediate(), i64.const(c.size)));
  c.around.jumpTo(to);
};

/** LOOP, LOOPE, LOOPNE: `zero` is the ZF wanted, or undefined. */
export const loopInstruction =
  (zero: boolean | undefined): Semantics =>
  (c) => {
    const mask = c.let(c.addressMask());
    const left = c.let(i64.and(i64.sub(c.gpr(1, 8), i64.const(1)), mask));
    c.setAddressRegister(1, left, mask);
    const wanted = zero === undefined ? i32.const(1) : c.condition(zero ? 4 : 5);
    c.f.if(i32.and(i64.ne(left, i64.const(0)), wanted), () => c.around.jumpDirect());
    c.around.jumpNext();
  };

/** JCXZ, JECXZ, JRCXZ. */
export const JCXZ: Semantics = (c) => {
  c.f.if(i64.eqz(i64.and(c.gpr(1, 8), c.addressMask())), () => c.around.jumpDirect());
  c.around.jumpNext();
};
