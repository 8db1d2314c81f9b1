import { privateOffset } from "../../cpu/lp-private.ts";
import { flagBit, flagsDefined, rightsBit } from "../../cpu/register-bits.ts";
import { codeMode } from "../../execution/code-mode.ts";
import { Assistance } from "../../execution/core-host.ts";
import { statusFlagsMask } from "../../execution/flags.ts";
import {
  lpOffset,
  Pending,
  Segment,
  segmentOffset,
  segmentStride,
} from "../../execution/lp-window.ts";
import { atomicOr32, callValue, type I32, i32, i64 } from "../../wasm/expression.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { any, readStatusFlags, writeStatusFlags } from "./emit.ts";
import {
  isCanonical,
  isLevel0Code,
  isLevel0Stack,
  isRestricted,
  type LinearAccess,
  missed,
  selectorOf,
} from "./linear.ts";

const rsp = lpOffset.gpr + 4 * 8;
/** Flags that make more of it than a change of words, before or after. */
const special = flagBit.TF | flagBit.RF | flagBit.NT | flagBit.VM;
const loadable = ~(flagBit.VM | flagBit.fixed);

/**
 * IRETQ within privilege level 0, to the code and stack segments that are loaded already. Anything else is left to
 * `interruptReturn`, which is the authority.
 */
export function iretqAssistant(window: I32, { readable, isLoaded }: LinearAccess): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  const giveUpIf = (condition: I32): void =>
    f.if(condition, () => f.return(i32.const(Assistance.None)));
  f.scope(() => {
    const mode = i32.and(i32.load(window, lpOffset.codeMode), i32.const(codeMode.sizeMask));
    const system = f.let(i32.load(window, lpOffset.systemFlags));
    giveUpIf(
      any(
        i32.ne(mode, i32.const(codeMode.bits64)),
        isRestricted(window),
        i32.load(window, lpOffset.interruptibility),
        i32.and(system, i32.const(special)),
      ),
    );
    const frame = f.let(callValue("i32", readable, i64.load(window, rsp), i32.const(39)));
    giveUpIf(i32.eq(frame, missed));
    const rip = f.let(i64.load(frame));
    const flags = f.let(i32.load(frame, 16));
    giveUpIf(
      any(
        i32.and(i32.xor(flags, system), i32.const(flagBit.AC)),
        i32.and(flags, i32.const(special & ~flagBit.VM)),
        i32.eqz(isCanonical(rip)),
        i32.eqz(isLevel0Code(window)),
      ),
    );
    const code = i32.load16u(frame, 8);
    giveUpIf(i32.eqz(callValue("i32", isLoaded, code, i32.const(Segment.CS))));
    const stack = f.let(i32.load16u(frame, 32));
    giveUpIf(i32.eqz(isSameStack(window, stack, isLoaded)));
    f.store(8, window, i64.load(frame, 24), rsp);
    f.store(8, window, rip, lpOffset.rip);
    const old = f.let(i32.or(system, readStatusFlags(f, window)));
    const changed = f.let(i32.and(i32.xor(old, flags), i32.const(loadable & flagsDefined)));
    f.set(flags, i32.xor(old, changed));
    writeStatusFlags(f, window, flags);
    f.store32(window, i32.and(flags, i32.const(~statusFlagsMask)), lpOffset.systemFlags);
    const mayUnmask = i32.ne(i32.and(changed, i32.const(flagBit.IF | flagBit.VIF)), i32.const(0));
    const isHeldBack = i32.ne(i32.load(window, privateOffset.eventsHeldBack), i32.const(0));
    f.if(i32.and(mayUnmask, isHeldBack), () => {
      f.drop(atomicOr32(window, i32.const(Pending.Events), lpOffset.pending));
    });
    f.return(i32.const(Assistance.Jump));
  });
  f.unreachable();
  return f;
}

/** Loading SS with the selector changes nothing: its descriptor is in it, or it is null and stays so. */
function isSameStack(window: I32, selector: I32, isLoaded: number): I32 {
  const loaded = callValue("i32", isLoaded, selector, i32.const(Segment.SS));
  const isSegment = i32.and(i32.ne(loaded, i32.const(0)), isLevel0Stack(window));
  return i32.or(isSegment, isNullStack(window, selector));
}

/** SS is null, as a change of level leaves it, and the selector is that one. */
function isNullStack(window: I32, selector: I32): I32 {
  const at = lpOffset.segment + Segment.SS * segmentStride;
  const differs = any(
    selector,
    selectorOf(window, Segment.SS),
    i32.xor(i32.load(window, at + segmentOffset.rights), i32.const(rightsBit.unusable)),
    i32.load(window, at + segmentOffset.limit),
    i64.ne(i64.load(window, at + segmentOffset.base), i64.const(0)),
  );
  return i32.eqz(differs);
}
