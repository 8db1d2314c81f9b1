/**
 * Host and guest as VM entries and exits find them again and again: what is derived from control registers, segment registers
 * and flags is kept for each side, and put back as long as nothing that it is derived from has changed.
 */
import { codeMode } from "../../execution/code-mode.ts";
import { lpOffset, segmentOffset, segmentStride } from "../../execution/lp-window.ts";
import { contextModeBits } from "../../execution/tlb.ts";
import { type I32, i32, i64 } from "../../wasm/expression.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";

const segmentCount = 8;

/** Words of the window that a side keeps: 4 or 8 bytes each. IA32_EFER is among them, since it may be nobody's field. */
const derived: readonly (readonly [offset: number, bytes: 4 | 8])[] = [
  [lpOffset.codeMode, 4],
  [lpOffset.walkFlags, 4],
  [lpOffset.cpl, 4],
  [lpOffset.efer, 8],
  [lpOffset.codeBase, 8],
  [lpOffset.linearMask, 8],
  [lpOffset.walkReserved, 8],
  [lpOffset.tlbContext, 8],
];
/** Behind them: the segment registers as they lie in the window. */
const segments = derived.length * 8;

/** Where a side keeps one of its words. */
function keptAt(offset: number): number {
  return derived.findIndex(([kept]) => kept === offset) * 8;
}
export const keptEfer = keptAt(lpOffset.efer);
const keptContext = keptAt(lpOffset.tlbContext);

/** (address of a side): the side is as the window is now. */
export function keeping(window: I32): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], []);
  const side = f.parameter(0, "i32");
  derived.forEach(([offset, bytes], n) => {
    const value = bytes === 4 ? i64.load32u(window, offset) : i64.load(window, offset);
    // Single-stepping is a matter of how the code is run, not of the side.
    const isMode = offset === lpOffset.codeMode;
    f.store(8, side, isMode ? i64.and(value, i64.const(~codeMode.single)) : value, n * 8);
  });
  for (let at = 0; at < segmentCount * segmentStride; at += 8) {
    f.store(8, side, i64.load(window, lpOffset.segment + at), segments + at);
  }
  return f;
}

/** Puts the derived words of a side into the window; a new address-space id (or 0) takes the place of the old one. */
export function restoreDerived(f: FunctionBuilder, window: I32, side: I32, newId: I32): void {
  derived.forEach(([offset, bytes], n) => {
    f.store(bytes, window, i64.load(side, n * 8), offset);
  });
  f.if(newId, () => {
    const modes = i32.and(i32.load(side, keptContext), i32.const((1 << contextModeBits) - 1));
    const space = i32.shl(newId, i32.const(contextModeBits));
    f.store32(window, i32.or(space, modes), lpOffset.tlbContext);
  });
}

/** The ranges that generated code checks; what they come from is the VMCS's to load. */
export function restoreRanges(f: FunctionBuilder, window: I32, side: I32): void {
  for (let n = 0; n < segmentCount; n++) {
    const access = n * segmentStride + segmentOffset.access;
    f.store32(window, i32.load(side, segments + access), lpOffset.segment + access);
    const range = n * segmentStride + segmentOffset.lowest;
    f.store(8, window, i64.load(side, segments + range), lpOffset.segment + range);
  }
}
/** The segment registers whole. */
export function restoreSegments(f: FunctionBuilder, window: I32, side: I32): void {
  for (let at = 0; at < segmentCount * segmentStride; at += 8) {
    f.store(8, window, i64.load(side, segments + at), lpOffset.segment + at);
  }
}
