import { lpOffset, Segment } from "../execution/lp-window.ts";
import { AccessClass } from "./address-space.ts";
import { isCanonical } from "./canonical.ts";
import { highHalf, joinHalves, lowHalf } from "./halves.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import { rightsBit } from "./register-bits.ts";
import { baseOf, type Descriptor, limitOf, rightsOf } from "./segmentation.ts";
import { stackFault } from "./trap.ts";

/** What of a stack segment matters. */
export interface StackSegment {
  readonly rights: number;
  readonly limit: number;
  /** u32 */
  readonly base: number;
}

const rsp = lpOffset.gpr + 4 * 8;
const narrow = 0xffff;
const wide = 0xffff_ffff;

/**
 * A stack that values are pushed on or popped off before SS and RSP are committed: nothing of the processor's state changes
 * until the caller knows that the whole transfer succeeds.
 */
export class Stack {
  readonly #lp: LogicalProcessor;
  readonly #as: AccessClass;
  /** Undefined: flat, with a 64-bit pointer. */
  readonly #segment: StackSegment | undefined;
  /** Bits of the pointer's low half that count. */
  readonly #mask: number;
  /** Error code of #SS when the stack is too small or not canonical. */
  readonly #errorCode: number;
  #low: number;
  #high: number;
  // Linear address of the access in progress.
  #linearLow = 0;
  #linearHigh = 0;

  constructor(
    lp: LogicalProcessor,
    as: AccessClass,
    segment: StackSegment | undefined,
    pointerLow: number,
    pointerHigh: number,
    errorCode: number,
  ) {
    this.#lp = lp;
    this.#as = as;
    this.#segment = segment;
    this.#errorCode = errorCode;
    const isNarrow = segment !== undefined && (segment.rights & rightsBit.big) === 0;
    this.#mask = isNarrow ? narrow : wide;
    this.#low = (pointerLow & this.#mask) >>> 0;
    this.#high = segment === undefined ? pointerHigh : 0;
  }

  // ——— pushing

  /** @param value u32, zero-extended to `size` bytes or cut */
  pushNumber(value: number, size: number): void {
    this.#push(value, 0, size);
  }
  push(value: bigint, size: number): void {
    this.#push(lowHalf(value), highHalf(value), size);
  }
  /** Pushes a 64-bit register. @param offset of it in the window */
  pushRegister(offset: number, size: number): void {
    const { state } = this.#lp;
    this.#push(state.read32(offset), state.readHigh32(offset), size);
  }
  #push(valueLow: number, valueHigh: number, size: number): void {
    this.skip(-size);
    this.#locate(0, size);
    const { linear } = this.#lp;
    if (size === 8) {
      linear.write64At(this.#linearLow, this.#linearHigh, valueLow, valueHigh, this.#as);
    } else if (size === 4) {
      linear.write32At(this.#linearLow, this.#linearHigh, valueLow, this.#as);
    } else {
      linear.write16At(this.#linearLow, this.#linearHigh, valueLow, this.#as);
    }
  }

  // ——— popping

  pop(size: number): bigint {
    const value = this.peek(0, size);
    this.skip(size);
    return value;
  }
  /** Low 32 bits of what is popped. */
  popNumber(size: number): number {
    this.#locate(0, size);
    const value = this.#read(size);
    this.skip(size);
    return value;
  }
  popSelector(size: number): number {
    return this.popNumber(size) & 0xffff;
  }
  /** Value at `offset` bytes above the top. */
  peek(offset: number, size: number): bigint {
    this.#locate(offset, size);
    const low = this.#read(size);
    return size === 8 ? joinHalves(low, this.#lp.linear.highHalf) : BigInt(low);
  }
  /** Low half of what lies at the linear address. */
  #read(size: number): number {
    const { linear } = this.#lp;
    switch (size) {
      case 2:
        return linear.read16At(this.#linearLow, this.#linearHigh, this.#as);
      case 4:
        return linear.read32At(this.#linearLow, this.#linearHigh, this.#as);
      default:
        return linear.read64At(this.#linearLow, this.#linearHigh, this.#as);
    }
  }

  // ——— the pointer

  set pointer(value: bigint) {
    this.#low = (lowHalf(value) & this.#mask) >>> 0;
    this.#high = this.#segment === undefined ? highHalf(value) : 0;
  }
  /** Makes the pointer RSP: a 16-bit stack leaves the rest of it alone. */
  commit(): void {
    const { state } = this.#lp;
    if (this.#mask === narrow) {
      state.write16(rsp, this.#low);
    } else {
      state.write32(rsp, this.#low);
      state.write32(rsp + 4, this.#high);
    }
  }

  /** Moves the pointer. @param bytes upwards; may be negative */
  skip(bytes: number): void {
    const moved = this.#low + bytes;
    this.#low = (moved & this.#mask) >>> 0;
    if (this.#segment === undefined && (moved < 0 || moved > wide)) {
      this.#high = (this.#high + (moved < 0 ? -1 : 1)) >>> 0;
    }
  }

  /** Leaves the linear address of `size` bytes at `offset` above the pointer. @throws #SS */
  #locate(offset: number, size: number): void {
    const at = this.#low + offset;
    if (this.#segment === undefined) {
      this.#linearLow = at >>> 0;
      this.#linearHigh = at > wide ? (this.#high + 1) >>> 0 : this.#high;
      const lastHigh = at + size - 1 > wide ? (this.#high + 1) >>> 0 : this.#high;
      if (!isCanonical(this.#linearHigh) || !isCanonical(lastHigh)) {
        throw stackFault(this.#errorCode);
      }
      return;
    }
    const first = (at & this.#mask) >>> 0;
    if (!isWithin(this.#segment, first, first + size - 1, this.#mask)) {
      throw stackFault(this.#errorCode);
    }
    this.#linearLow = (this.#segment.base + first) >>> 0;
    this.#linearHigh = 0;
  }
}

function isWithin(segment: StackSegment, first: number, last: number, mask: number): boolean {
  const { rights, limit } = segment;
  if ((rights & rightsBit.unusable) !== 0) {
    return false;
  }
  return (rights & rightsBit.expandDown) !== 0
    ? first > limit && last <= mask >>> 0
    : last <= limit;
}

/** The stack in use. @param errorCode of #SS when it has no room */
export function currentStack(lp: LogicalProcessor, errorCode = 0): Stack {
  const { state } = lp;
  const segment = lp.is64Bit
    ? undefined
    : {
        rights: state.rights(Segment.SS),
        limit: state.limit(Segment.SS),
        base: lowHalf(state.segmentBase(Segment.SS)),
      };
  const low = state.read32(rsp);
  return new Stack(lp, AccessClass.Current, segment, low, state.readHigh32(rsp), errorCode);
}

/** The stack of an inner level, outside IA-32e mode. */
export function innerStack(
  lp: LogicalProcessor,
  d: Descriptor,
  pointer: bigint,
  errorCode: number,
): Stack {
  const segment = { rights: rightsOf(d), limit: limitOf(d), base: baseOf(d) };
  return new Stack(lp, AccessClass.Supervisor, segment, lowHalf(pointer), 0, errorCode);
}

/** A stack of IA-32e mode's flat kind. */
export function flatStack(
  lp: LogicalProcessor,
  as: AccessClass,
  pointerLow: number,
  pointerHigh: number,
  errorCode: number,
): Stack {
  return new Stack(lp, as, undefined, pointerLow, pointerHigh, errorCode);
}
