/**
 * The segment registers as they lie in the window: loading a cached descriptor, the range that generated code checks, and
 * the same check for accesses that TypeScript makes.
 */
import { lpOffset, Segment, segmentOffset, segmentStride } from "../execution/lp-window.ts";
import { isCanonicalAddress } from "./canonical.ts";
import { highHalf, lowHalf } from "./halves.ts";
import type { LpState } from "./lp-state.ts";
import { cr0Bit, flagBit, rightsBit } from "./register-bits.ts";
import { generalProtection, stackFault } from "./trap.ts";

const readable = 1;
const writable = 2;

const place = (segment: number): number => lpOffset.segment + segment * segmentStride;

/**
 * Loads a segment register's hidden part as it is, with no checks.
 * @param rights in the layout of `segmentOffset.rights`
 * @param limit in bytes, u32
 */
export function setSegment(
  state: LpState,
  segment: number,
  selector: number,
  rights: number,
  limit: number,
  base: bigint,
): void {
  setSegmentBelow4G(state, segment, selector, rights, limit, lowHalf(base));
  state.write32(place(segment) + segmentOffset.base + 4, highHalf(base));
}

/** The same with a base of 32 bits, as code and data descriptors have. */
export function setSegmentBelow4G(
  state: LpState,
  segment: number,
  selector: number,
  rights: number,
  limit: number,
  base: number,
): void {
  const at = place(segment);
  state.write16(at + segmentOffset.selector, selector);
  state.write32(at + segmentOffset.rights, rights);
  state.write32(at + segmentOffset.limit, limit);
  state.write32(at + segmentOffset.base, base);
  state.write32(at + segmentOffset.base + 4, 0);
  deriveSegment(state, segment);
}

/** Recomputes what generated code checks, after rights or limit were written by other means. */
export function deriveSegment(state: LpState, segment: number): void {
  const at = place(segment);
  const rights = state.read32(at + segmentOffset.rights);
  const limit = state.read32(at + segmentOffset.limit);
  let lowest = 0;
  let highest = limit;
  let access = accessOf(state, segment, rights);
  const growsDown = (rights & (rightsBit.code | rightsBit.expandDown)) === rightsBit.expandDown;
  if (growsDown && segment < Segment.LDTR) {
    lowest = limit + 1;
    highest = (rights & rightsBit.big) !== 0 ? 0xffff_ffff : 0xffff;
    if (lowest > highest) {
      lowest = 0;
      access = 0;
    }
  }
  state.write32(at + segmentOffset.access, access);
  state.write32(at + segmentOffset.lowest, lowest);
  state.write32(at + segmentOffset.highest, highest);
}

function accessOf(state: LpState, segment: number, rights: number): number {
  if ((rights & rightsBit.unusable) !== 0) {
    return 0;
  }
  if ((rights & rightsBit.code) === 0) {
    return (rights & rightsBit.writable) !== 0 ? readable | writable : readable;
  }
  // In real and virtual-8086 mode a code segment is like any other.
  if (segment === Segment.CS && !isProtectedMode(state)) {
    return readable | writable;
  }
  return (rights & rightsBit.readable) !== 0 ? readable : 0;
}

/** Protected mode proper: neither real nor virtual-8086. */
export function isProtectedMode(state: LpState): boolean {
  return (
    (state.read32(lpOffset.cr0) & cr0Bit.PE) !== 0 &&
    (state.read32(lpOffset.systemFlags) & flagBit.VM) === 0
  );
}

/** A null selector: the register is unusable. */
export function setNullSegment(state: LpState, segment: number, selector: number): void {
  setSegment(state, segment, selector, rightsBit.unusable, 0, 0n);
}

/** Real and virtual-8086 mode: selector and base; virtual-8086 mode also fixes limit and rights. */
export function setRealModeSegment(state: LpState, segment: number, selector: number): void {
  const base = BigInt(selector << 4);
  const virtual = (state.read32(lpOffset.systemFlags) & flagBit.VM) !== 0;
  if (virtual) {
    setSegment(state, segment, selector, 0xf3, 0xffff, base);
  } else {
    const kept = state.rights(segment) & ~(rightsBit.unusable | rightsBit.dpl);
    const rights = segment === Segment.CS ? (kept & ~0x1f) | 0x93 : kept | 0x90;
    setSegment(state, segment, selector, rights, state.limit(segment), base);
  }
}

/**
 * Linear address of an access through a segment, after the checks of limit, type and canonical form.
 * @param is64 64-bit code
 * @throws #SS(0) for SS, #GP(0) for the others
 */
export function segmentLinear(
  state: LpState,
  is64: boolean,
  segment: number,
  offset: bigint,
  size: number,
  isWrite: boolean,
): bigint {
  const at = place(segment);
  if (is64) {
    const base = segment >= Segment.FS ? state.read64(at + segmentOffset.base) : 0n;
    const linear = BigInt.asUintN(64, base + offset);
    if (!isCanonicalAddress(linear) || !isCanonicalAddress(linear + BigInt(size - 1))) {
      throw segment === Segment.SS ? stackFault() : generalProtection();
    }
    return linear;
  }
  const last = offset + BigInt(size - 1);
  const need = isWrite ? writable : readable;
  const bad =
    (state.read32(at + segmentOffset.access) & need) === 0 ||
    offset < BigInt(state.read32(at + segmentOffset.lowest)) ||
    last > BigInt(state.read32(at + segmentOffset.highest));
  if (bad) {
    throw segment === Segment.SS ? stackFault() : generalProtection();
  }
  return BigInt.asUintN(32, state.read64(at + segmentOffset.base) + offset);
}
