import { Segment } from "../execution/lp-window.ts";
import { AccessClass } from "./address-space.ts";
import { isCanonicalAddress } from "./canonical.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import { rightsBit } from "./register-bits.ts";
import { baseOf, type Descriptor, limitOf, rightsOf } from "./segmentation.ts";
import { stackFault } from "./trap.ts";

const mask16 = 0xffffn;
const mask32 = 0xffff_ffffn;
const mask64 = 0xffff_ffff_ffff_ffffn;

/**
 * A stack that values are pushed on or popped off before SS and RSP are committed: nothing of the processor's state changes
 * until the caller knows that the whole transfer succeeds.
 */
export class Stack {
  readonly #lp: LogicalProcessor;
  readonly #as: AccessClass;
  readonly #base: bigint;
  /** Which bits of RSP are the pointer. */
  readonly mask: bigint;
  readonly #lowest: bigint;
  readonly #highest: bigint;
  readonly #usable: boolean;
  /** Error code of #SS when the stack is too small or not canonical. */
  readonly #errorCode: number;
  pointer: bigint;

  constructor(
    lp: LogicalProcessor,
    as: AccessClass,
    segment: { readonly rights: number; readonly limit: number; readonly base: bigint } | undefined,
    pointer: bigint,
    errorCode: number,
  ) {
    this.#lp = lp;
    this.#as = as;
    this.#errorCode = errorCode;
    if (segment === undefined) {
      this.mask = mask64;
      this.#base = 0n;
      this.#lowest = 0n;
      this.#highest = mask64;
      this.#usable = true;
    } else {
      const { rights, limit } = segment;
      const big = (rights & rightsBit.big) !== 0;
      const growsDown = (rights & rightsBit.expandDown) !== 0;
      this.mask = big ? mask32 : mask16;
      this.#base = segment.base;
      this.#lowest = growsDown ? BigInt(limit) + 1n : 0n;
      this.#highest = growsDown ? this.mask : BigInt(limit);
      this.#usable = (rights & rightsBit.unusable) === 0;
    }
    this.pointer = pointer & this.mask;
  }

  push(value: bigint, size: number): void {
    const at = (this.pointer - BigInt(size)) & this.mask;
    const linear = this.#linear(at, size);
    const { linear: memory } = this.#lp;
    if (size === 8) {
      memory.write64(linear, value, this.#as);
    } else if (size === 4) {
      memory.write32(linear, Number(value & mask32), this.#as);
    } else {
      memory.write16(linear, Number(value & mask16), this.#as);
    }
    this.pointer = at;
  }

  pop(size: number): bigint {
    const value = this.peek(0, size);
    this.skip(size);
    return value;
  }

  /** Value at `offset` bytes above the top. */
  peek(offset: number, size: number): bigint {
    const linear = this.#linear((this.pointer + BigInt(offset)) & this.mask, size);
    const { linear: memory } = this.#lp;
    if (size === 8) {
      return memory.read64(linear, this.#as);
    }
    return BigInt(size === 4 ? memory.read32(linear, this.#as) : memory.read16(linear, this.#as));
  }

  skip(bytes: number): void {
    this.pointer = (this.pointer + BigInt(bytes)) & this.mask;
  }

  /** Makes the pointer RSP: a 16-bit stack leaves the rest of it alone. */
  commit(): void {
    const { state } = this.#lp;
    const kept = this.mask === mask16 ? state.gpr(4) & ~mask16 : 0n;
    state.setGpr(4, kept | this.pointer);
  }

  #linear(offset: bigint, size: number): bigint {
    const last = offset + BigInt(size - 1);
    if (this.mask === mask64) {
      if (!isCanonicalAddress(offset) || !isCanonicalAddress(last)) {
        throw stackFault(this.#errorCode);
      }
      return offset;
    }
    if (!this.#usable || offset < this.#lowest || last > this.#highest) {
      throw stackFault(this.#errorCode);
    }
    return (this.#base + offset) & mask32;
  }
}

/** The stack in use. @param errorCode of #SS when it has no room */
export function currentStack(lp: LogicalProcessor, errorCode = 0): Stack {
  const { state } = lp;
  const segment = lp.is64Bit
    ? undefined
    : {
        rights: state.rights(Segment.SS),
        limit: state.limit(Segment.SS),
        base: state.segmentBase(Segment.SS),
      };
  return new Stack(lp, AccessClass.Current, segment, state.gpr(4), errorCode);
}

/** The stack of an inner level, outside IA-32e mode. */
export function innerStack(
  lp: LogicalProcessor,
  d: Descriptor,
  pointer: bigint,
  errorCode: number,
): Stack {
  const segment = { rights: rightsOf(d), limit: limitOf(d), base: baseOf(d) };
  return new Stack(lp, AccessClass.Supervisor, segment, pointer, errorCode);
}

/** A stack of IA-32e mode's flat kind. */
export function flatStack(
  lp: LogicalProcessor,
  as: AccessClass,
  pointer: bigint,
  errorCode: number,
): Stack {
  return new Stack(lp, as, undefined, pointer, errorCode);
}
