/** Linear addresses as assistants reach them: through the TLB, at privilege level 0, where implicit and explicit accesses have the same rights. */
import {
  lpOffset,
  Segment,
  segmentOffset,
  segmentStride,
  tlbEntryOffset,
} from "../../execution/lp-window.ts";
import { contextModeBits } from "../../execution/tlb.ts";
import { callValue, type I32, type I64, i32, i64 } from "../../wasm/expression.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { any } from "./emit.ts";

/** What the functions answer where the TLB has no answer. No RAM address has this value. */
export const missed = i32.const(-1);

/** Indexes of functions of the module. */
export interface LinearAccess {
  /** (linear address, bytes - 1) → host address, or `missed`. The bytes lie in one page. */
  readonly readable: number;
  readonly writable: number;
  /** (selector, segment register) → not 0 when loading the register at level 0 with a descriptor of the GDT would change nothing. */
  readonly isLoaded: number;
}

/** Functions of `LinearAccess`. @param tag of a TLB entry, by what is allowed */
export function lookingUp(window: I32, tag: number): FunctionBuilder {
  const f = new FunctionBuilder(["i64", "i32"], ["i32"]);
  const linear = f.parameter(0, "i64");
  const last = f.parameter(1, "i32");
  const low = i32.wrap(linear);
  f.scope(() => {
    const entry = f.let(
      i32.add(i32.and(i32.shrU(low, i32.const(7)), i32.const(4095 << 5)), window),
    );
    const page = i64.or(i64.and(linear, i64.const(-4096)), i64.load(window, lpOffset.tlbContext));
    const isOther = i64.ne(i64.load(entry, lpOffset.tlb + tag), page);
    const end = i32.add(i32.and(low, i32.const(4095)), last);
    f.if(i32.or(isOther, i32.gtU(end, i32.const(4095))), () => f.return(missed));
    f.return(i32.add(low, i32.load(entry, lpOffset.tlb + tlbEntryOffset.addend)));
  });
  f.unreachable();
  return f;
}

export function comparingDescriptor(window: I32, readable: number): FunctionBuilder {
  const f = new FunctionBuilder(["i32", "i32"], ["i32"]);
  const selector = f.parameter(0, "i32");
  const register = f.parameter(1, "i32");
  const none = i32.const(0);
  f.scope(() => {
    const held = f.let(i32.add(window, i32.mul(register, i32.const(segmentStride))));
    const offset = f.let(i32.and(selector, i32.const(0xfff8)));
    const isElsewhere = any(
      i32.eqz(offset),
      i32.and(selector, i32.const(7)),
      i32.gtU(i32.add(offset, i32.const(7)), i32.load(window, lpOffset.gdtrLimit)),
      i32.ne(selector, i32.load16u(held, lpOffset.segment + segmentOffset.selector)),
    );
    f.if(isElsewhere, () => f.return(none));
    const linear = i64.add(i64.load(window, lpOffset.gdtrBase), i64.extendU(offset));
    const at = f.let(callValue("i32", readable, linear, i32.const(7)));
    f.if(i32.eq(at, missed), () => f.return(none));
    const low = f.let(i32.load(at));
    const high = f.let(i32.load(at, 4));
    const base = any(
      i32.shrU(low, i32.const(16)),
      i32.shl(i32.and(high, i32.const(0xff)), i32.const(16)),
      i32.and(high, i32.const(0xff00_0000)),
    );
    const field = f.let(
      i32.or(i32.and(high, i32.const(0xf_0000)), i32.and(low, i32.const(0xffff))),
    );
    f.if(i32.and(high, i32.const(0x80_0000)), () => {
      f.set(field, i32.or(i32.shl(field, i32.const(12)), i32.const(0xfff)));
    });
    const rights = i32.and(i32.shrU(high, i32.const(8)), i32.const(0xf0ff));
    const differs = any(
      i32.xor(rights, i32.load(held, lpOffset.segment + segmentOffset.rights)),
      i32.xor(field, i32.load(held, lpOffset.segment + segmentOffset.limit)),
      i64.ne(i64.extendU(base), i64.load(held, lpOffset.segment + segmentOffset.base)),
    );
    f.return(i32.eqz(differs));
  });
  f.unreachable();
  return f;
}

/** Not 0 unless the program is at privilege level 0 and its accesses are like any supervisor's. */
export function isRestricted(window: I32): I32 {
  const modes = i32.const((1 << contextModeBits) - 1);
  return i32.or(
    i32.load(window, lpOffset.cpl),
    i32.and(i32.load(window, lpOffset.tlbContext), modes),
  );
}

/** A word of a segment register. */
export const segmentWord = (window: I32, segment: number, offset: number): I32 =>
  i32.load(window, lpOffset.segment + segment * segmentStride + offset);
export const selectorOf = (window: I32, segment: number): I32 =>
  i32.load16u(window, lpOffset.segment + segment * segmentStride + segmentOffset.selector);

const codeMask = 0x40f8 | 0x2000;
/** Present, 64-bit code of level 0. */
export function isLevel0Code(window: I32): I32 {
  const rights = segmentWord(window, Segment.CS, segmentOffset.rights);
  return i32.eq(i32.and(rights, i32.const(codeMask)), i32.const(0x2098));
}
/** Present, writable data of level 0. */
export function isLevel0Stack(window: I32): I32 {
  const rights = segmentWord(window, Segment.SS, segmentOffset.rights);
  return i32.eq(i32.and(rights, i32.const(0x1_00fa)), i32.const(0x92));
}

/** An address of 48 bits. */
export function isCanonical(address: I64): I32 {
  const top = i64.shrS(address, i64.const(47));
  return i64.ltU(i64.add(top, i64.const(1)), i64.const(2));
}
