/**
 * The x87 FPU's registers as they lie in the LP's window: control, status and tag words, and the stack of eight 80-bit
 * registers. The tag word always holds the full two-bit tags that the registers' contents call for.
 */
import { lpOffset } from "../../execution/lp-window.ts";
import type { LpState } from "../lp-state.ts";
import {
  classify,
  type Extended,
  type FpContext,
  FpFlag,
  type Rounding,
  zero,
} from "./extended.ts";

/** Bits of the status word beside the exception flags. */
export const statusBit = {
  errorSummary: 0x80,
  c0: 0x100,
  c1: 0x200,
  c2: 0x400,
  top: 0x3800,
  c3: 0x4000,
  busy: 0x8000,
} as const;
const allFlags = 0x7f;
const exceptionFlags = 0x3f;

const Tag = { Valid: 0, Zero: 1, Special: 2, Empty: 3 } as const;

const initialControl = 0x37f;
/** Bit 6 always reads as one; bits 7 and 15:13 as zero. */
const controlWritable = 0x1f3f;
const controlFixed = 0x40;

const precisions = [24, 64, 53, 64] as const;

/** FNINIT. The registers keep their contents, and are empty. */
export function initializeFpu(state: LpState): void {
  state.write16(lpOffset.fcw, initialControl);
  state.write16(lpOffset.fsw, 0);
  state.write16(lpOffset.ftw, 0xffff);
  state.write16(lpOffset.fop, 0);
  state.write64(lpOffset.fip, 0n);
  state.write64(lpOffset.fdp, 0n);
}

/** The initial configuration of the x87 state component: as FNINIT leaves it, with all registers zero. */
export function resetFpu(state: LpState): void {
  initializeFpu(state);
  for (let register = 0; register < 8; register++) {
    writePhysical(state, register, zero);
  }
  state.write16(lpOffset.ftw, 0xffff);
}

/** Is the x87 state in its initial configuration? */
export function isFpuInitial(state: LpState): boolean {
  const words = [lpOffset.fsw, lpOffset.fop].every((offset) => state.read16(offset) === 0);
  const pointers = state.read64(lpOffset.fip) === 0n && state.read64(lpOffset.fdp) === 0n;
  const isControl = state.read16(lpOffset.fcw) === initialControl;
  return (
    words &&
    pointers &&
    isControl &&
    state.read16(lpOffset.ftw) === 0xffff &&
    areRegistersZero(state)
  );
}

function areRegistersZero(state: LpState): boolean {
  for (let register = 0; register < 8; register++) {
    const { signExponent, significand } = readPhysical(state, register);
    if (signExponent !== 0 || significand !== 0n) {
      return false;
    }
  }
  return true;
}

// ---- Control and status ----------------------------------------------------------------------------------------------

export function readControl(state: LpState): number {
  return state.read16(lpOffset.fcw);
}
export function writeControl(state: LpState, value: number): void {
  state.write16(lpOffset.fcw, (value & controlWritable) | controlFixed);
  refreshSummary(state);
}

export function readStatus(state: LpState): number {
  return state.read16(lpOffset.fsw);
}
/** Error summary and busy follow from the flags and masks, whatever the image says. */
export function writeStatus(state: LpState, value: number): void {
  state.write16(lpOffset.fsw, value);
  refreshSummary(state);
}

function refreshSummary(state: LpState): void {
  const status = readStatus(state);
  const isPending = (status & exceptionFlags & ~readControl(state)) !== 0;
  const summary = statusBit.errorSummary | statusBit.busy;
  state.write16(lpOffset.fsw, isPending ? status | summary : status & ~summary);
}

/** FNCLEX. */
export function clearExceptions(state: LpState): void {
  state.write16(
    lpOffset.fsw,
    readStatus(state) & ~(allFlags | statusBit.errorSummary | statusBit.busy),
  );
}

/** How results are to be rounded. */
export function roundingContext(state: LpState): FpContext {
  const control = readControl(state);
  return {
    rounding: ((control >> 10) & 3) as Rounding,
    precision: precisions[((control >> 8) & 3) as 0 | 1 | 2 | 3],
    masked: control & exceptionFlags,
  };
}

/**
 * Records what an operation met, and C1.
 * @param flags bits of `FpFlag`
 */
export function report(state: LpState, flags: number, c1: boolean): void {
  const status = readStatus(state) & ~statusBit.c1;
  state.write16(lpOffset.fsw, status | flags | (c1 ? statusBit.c1 : 0));
  refreshSummary(state);
}

/** Would these flags, of which none is masked, keep an operation from delivering its result to a register? */
export function stopsOperation(state: LpState, flags: number): boolean {
  const before = FpFlag.Invalid | FpFlag.Denormal | FpFlag.ZeroDivide;
  return (flags & before & ~readControl(state)) !== 0;
}
/** The same for a store to memory. */
export function stopsStore(state: LpState, flags: number): boolean {
  return (flags & exceptionFlags & ~FpFlag.Precision & ~readControl(state)) !== 0;
}

/** C3, C2 and C0. */
export function setConditions(state: LpState, conditions: number): void {
  const mask = statusBit.c0 | statusBit.c2 | statusBit.c3;
  state.write16(lpOffset.fsw, (readStatus(state) & ~mask) | conditions);
}

// ---- The stack -------------------------------------------------------------------------------------------------------

export function stackTop(state: LpState): number {
  return (readStatus(state) >> 11) & 7;
}
function setStackTop(state: LpState, top: number): void {
  state.write16(lpOffset.fsw, (readStatus(state) & ~statusBit.top) | ((top & 7) << 11));
}
/** Moves the top by one register; contents and tags stay. */
export function rotateStack(state: LpState, distance: 1 | -1): void {
  setStackTop(state, stackTop(state) + distance);
}

const physicalOf = (state: LpState, n: number): number => (stackTop(state) + n) & 7;

export function isEmpty(state: LpState, n: number): boolean {
  return ((state.read16(lpOffset.ftw) >> (physicalOf(state, n) * 2)) & 3) === Tag.Empty;
}
export function markEmpty(state: LpState, n: number): void {
  const shift = physicalOf(state, n) * 2;
  state.write16(lpOffset.ftw, state.read16(lpOffset.ftw) | (Tag.Empty << shift));
}

/** ST(n), empty or not. */
export function readStack(state: LpState, n: number): Extended {
  return readPhysical(state, physicalOf(state, n));
}
/** Writes ST(n), which is then not empty. */
export function writeStack(state: LpState, n: number, value: Extended): void {
  writePhysical(state, physicalOf(state, n), value);
}
export function push(state: LpState, value: Extended): void {
  rotateStack(state, -1);
  writeStack(state, 0, value);
}
export function pop(state: LpState): void {
  markEmpty(state, 0);
  rotateStack(state, 1);
}

function readPhysical(state: LpState, register: number): Extended {
  const offset = lpOffset.x87 + register * 16;
  return { signExponent: state.read16(offset + 8), significand: state.read64(offset) };
}
function writePhysical(state: LpState, register: number, value: Extended): void {
  const offset = lpOffset.x87 + register * 16;
  state.write64(offset, value.significand);
  state.write64(offset + 8, BigInt(value.signExponent));
  const shift = register * 2;
  state.write16(
    lpOffset.ftw,
    (state.read16(lpOffset.ftw) & ~(3 << shift)) | (tagOf(value) << shift),
  );
}

function tagOf(value: Extended): number {
  switch (classify(value)) {
    case "zero":
      return Tag.Zero;
    case "normal":
      return Tag.Valid;
    default:
      return Tag.Special;
  }
}

// ---- Images ----------------------------------------------------------------------------------------------------------

/** One bit per physical register, 1 = not empty: the form of FXSAVE. */
export function readAbridgedTags(state: LpState): number {
  const tags = state.read16(lpOffset.ftw);
  let abridged = 0;
  for (let register = 0; register < 8; register++) {
    if (((tags >> (register * 2)) & 3) !== Tag.Empty) {
      abridged |= 1 << register;
    }
  }
  return abridged;
}
/** Takes over which registers are empty; the tags of the others follow from their contents. */
export function writeAbridgedTags(state: LpState, abridged: number): void {
  let tags = 0;
  for (let register = 0; register < 8; register++) {
    const isHeld = (abridged & (1 << register)) !== 0;
    tags |= (isHeld ? tagOf(readPhysical(state, register)) : Tag.Empty) << (register * 2);
  }
  state.write16(lpOffset.ftw, tags);
}
/** The same from a full tag word. */
export function writeTags(state: LpState, tags: number): void {
  let abridged = 0;
  for (let register = 0; register < 8; register++) {
    if (((tags >> (register * 2)) & 3) !== Tag.Empty) {
      abridged |= 1 << register;
    }
  }
  writeAbridgedTags(state, abridged);
}

// ---- MMX -------------------------------------------------------------------------------------------------------------

/** Any MMX instruction but EMMS: the top of stack becomes 0, no register is empty. */
export function enterMmx(state: LpState): void {
  setStackTop(state, 0);
  writeAbridgedTags(state, 0xff);
}
/** MM(n) is the significand of physical register n; a write sets sign and exponent to ones. */
export function readMmx(state: LpState, register: number): bigint {
  return readPhysical(state, register).significand;
}
export function writeMmx(state: LpState, register: number, value: bigint): void {
  writePhysical(state, register, { signExponent: 0xffff, significand: value });
}
