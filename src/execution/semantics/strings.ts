import { type I32, type I64, i32, i64, select } from "../../wasm/expression.ts";
import type { Local } from "../../wasm/function-builder.ts";
import { AccessKind } from "../core-host.ts";
import { prefixBit, recordOffset } from "../instruction-record.ts";
import { Iteration, lpOffset, Segment, segmentOffset, segmentStride } from "../lp-window.ts";
import type { Semantics } from "./arithmetic.ts";
import type { InstructionEmitter } from "./instruction-emitter.ts";

const accumulator = 0;
const counter = 1;
const sourceIndex = 6;
const destinationIndex = 7;

const directionFlag = 1 << 10;
/** A repeated instruction goes on at most about this many elements before events have their chance. */
const elementsPerGo = 1024;
/** A run of elements copied at once counts as this fraction (a power of two) of its length. */
const runDiscount = 3;
const zero = i64.const(0);
const one = i64.const(1);

/** One side of a string operation: the element at rSI or rDI. */
interface Side {
  readonly register: number;
  readonly offset: Local<"i64">;
  readonly linear: Local<"i64">;
  /** Highest offset that the segment and the address size allow. */
  readonly lastOffset: Local<"i64">;
  readonly kind: typeof AccessKind.Read | typeof AccessKind.Write;
}

/** What a string instruction does with its elements. */
interface StringOperation {
  readonly source: boolean;
  readonly destination: typeof AccessKind.Read | typeof AccessKind.Write | undefined;
  /** One element, by linear addresses. */
  one(addresses: readonly Local<"i64">[]): void;
  /**
   * A run of `count` elements upwards within a page on either side, by addresses in the shared memory (which are consumed).
   * @returns number of elements done, at least 1
   */
  run?(addresses: readonly Local<"i32">[], count: Local<"i64">): I64;
  /** A repeated comparison ends here. */
  ends?(): I32;
  /** Sets the flags, when all is done and there was at least one element. */
  flags?(): void;
}

function isLong(c: InstructionEmitter): I32 {
  return i32.eq(i32.and(i32.load(c.around.window, lpOffset.codeMode), i32.const(3)), i32.const(2));
}

function side(
  c: InstructionEmitter,
  register: number,
  segment: I32,
  mask: I64,
  kind: Side["kind"],
): Side {
  const offset = c.let(i64.and(c.gpr(register, 8), mask));
  const linear = c.let(c.around.segmentAddress(segment, offset, c.size, kind === AccessKind.Write));
  const highest = i64.load32u(
    i32.add(c.around.window, i32.mul(segment, i32.const(segmentStride))),
    lpOffset.segment + segmentOffset.highest,
  );
  const limit = c.let(highest);
  const narrow = select(i64.ltU(mask, limit), mask, limit);
  return { register, offset, linear, lastOffset: c.let(select(isLong(c), mask, narrow)), kind };
}

/** Elements from the side's first that lie in its page and below the last offset; none when the first crosses the page. */
function elementsInReach(c: InstructionEmitter, { linear, offset, lastOffset }: Side): I64 {
  const shift = i64.const(Math.log2(c.size));
  const inPage = c.let(i64.shrU(i64.sub(i64.const(4096), i64.and(linear, i64.const(4095))), shift));
  const inSegment = c.let(i64.shrU(i64.sub(lastOffset, offset), shift));
  return select(i64.ltU(inPage, inSegment), inPage, inSegment);
}

/** Does a run at once when every side is a page that the TLB knows; leaves the number of elements done in `done`. */
function tryRun(
  c: InstructionEmitter,
  operation: StringOperation,
  sides: readonly Side[],
  count: Local<"i64">,
  done: Local<"i64">,
): void {
  const { f } = c;
  const addresses = sides.map((s) => c.let(c.directAddress(s.linear, c.size, s.kind)));
  const known = addresses.map((a): I32 => i32.ne(a, i32.const(-1)));
  f.if(known.reduce(i32.and), () => {
    const length = c.let(count);
    for (const s of sides) {
      const reach = c.let(elementsInReach(c, s));
      f.set(length, select(i64.ltU(reach, length), reach, length));
    }
    f.if(i64.ne(length, zero), () => {
      f.set(done, operation.run?.(addresses, length) ?? zero);
    });
  });
}

/**
 * A string instruction with any repeat prefix. Registers are brought up to date after each element or run, so that a fault
 * finds them at the element that faults; flags are set at the end, as a fault in the middle must find the old ones.
 */
function stringInstruction(make: (c: InstructionEmitter) => StringOperation): Semantics {
  return (c) => {
    const { f } = c;
    const operation = make(c);
    const mask = c.let(c.addressMask());
    const repeats = prefixBit.rep | prefixBit.repne;
    const repeated = c.let(
      i32.and(i32.load8u(c.around.record, recordOffset.prefixes), i32.const(repeats)),
    );
    const backward = c.let(
      i32.and(i32.load(c.around.window, lpOffset.systemFlags), i32.const(directionFlag)),
    );
    const count = c.let(select(repeated, i64.and(c.gpr(counter, 8), mask), one));
    const stops = c.let(
      i32.eq(i32.load(c.around.window, lpOffset.iteration), i32.const(Iteration.Stop)),
    );
    const budget = c.let(select(stops, zero, i64.const(elementsPerGo)));
    const done = c.let(zero);
    f.if(i64.ne(count, zero), () => {
      f.block((end) => {
        f.loop((next) => {
          const sides = sidesOf(c, operation, mask);
          f.set(done, zero);
          if (operation.run) {
            const atOnce = i32.eqz(i32.or(backward, stops));
            const worthwhile = i32.and(atOnce, i64.gtU(count, i64.const(3)));
            f.if(worthwhile, () => tryRun(c, operation, sides, count, done));
          }
          f.if(i64.eqz(done), () => {
            operation.one(sides.map((s) => s.linear));
            f.set(done, one);
          });
          const bytes = c.let(i64.mul(done, i64.const(c.size)));
          const distance = c.let(select(backward, i64.sub(zero, bytes), bytes));
          for (const { register, offset } of sides) {
            c.setAddressRegister(register, c.let(i64.add(offset, distance)), mask);
          }
          f.branchIf(end, i32.eqz(repeated));
          f.set(count, i64.sub(count, done));
          c.setAddressRegister(counter, count, mask);
          f.branchIf(end, i64.eqz(count));
          if (operation.ends) {
            f.branchIf(end, operation.ends());
          }
          const spent = i64.add(i64.shrU(done, i64.const(runDiscount)), one);
          f.set(budget, i64.sub(budget, spent));
          f.branchIf(next, i64.gtS(budget, zero));
          c.around.again();
        });
      });
      operation.flags?.();
    });
  };
}

function sidesOf(c: InstructionEmitter, operation: StringOperation, mask: I64): Side[] {
  const sides: Side[] = [];
  if (operation.source) {
    const segment = c.let(i32.load8u(c.around.record, recordOffset.segment));
    sides.push(side(c, sourceIndex, segment, mask, AccessKind.Read));
  }
  if (operation.destination !== undefined) {
    sides.push(side(c, destinationIndex, i32.const(Segment.ES), mask, operation.destination));
  }
  return sides;
}

/** Emits `step` for addresses from `from` while `bytes` more fit before `to`. */
function whileFits(
  c: InstructionEmitter,
  from: Local<"i32">,
  to: I32,
  bytes: number,
  step: () => void,
): void {
  const { f } = c;
  f.block((end) => {
    f.loop((next) => {
      f.branchIf(end, i32.gtU(i32.add(from, i32.const(bytes)), to));
      step();
      f.set(from, i32.add(from, i32.const(bytes)));
      f.branch(next);
    });
  });
}

const bytesOf = (c: InstructionEmitter, count: I64): I32 =>
  i32.wrap(i64.mul(count, i64.const(c.size)));

function two<T>([first, second]: readonly T[]): readonly [T, T] {
  if (first === undefined || second === undefined) {
    throw new Error("the operation has two sides");
  }
  return [first, second];
}
function only<T>([first]: readonly T[]): T {
  if (first === undefined) {
    throw new Error("the operation has a side");
  }
  return first;
}

export const MOVS = stringInstruction((c) => ({
  source: true,
  destination: AccessKind.Write,
  one(linear) {
    const [from, to] = two(linear);
    c.store(to, c.load(from));
  },
  /** Eight bytes at a time, unless the destination overlaps so closely that elements just written are read again. */
  run(addresses, count) {
    const { f } = c;
    const [from, to] = two(addresses);
    const end = c.let(i32.add(to, bytesOf(c, count)));
    const back = c.let(i32.sub(to, from));
    const copy = (size: 1 | 2 | 4 | 8) => () =>
      f.store(size, to, c.readAt(i32.sub(to, back), size));
    if (c.size < 8) {
      f.if(i32.geU(back, i32.const(8)), () => whileFits(c, to, end, 8, copy(8)));
    }
    whileFits(c, to, end, c.size, copy(c.size));
    return count;
  },
}));

export const STOS = stringInstruction((c) => {
  const pattern = {
    1: 0x0101_0101_0101_0101n,
    2: 0x0001_0001_0001_0001n,
    4: 0x1_0000_0001n,
    8: 1n,
  };
  const value = c.let(c.gpr(accumulator));
  const eight = c.let(i64.mul(value, i64.const(pattern[c.size])));
  return {
    source: false,
    destination: AccessKind.Write,
    one: (linear) => c.store(only(linear), value),
    run(addresses, count) {
      const to = only(addresses);
      const end = c.let(i32.add(to, bytesOf(c, count)));
      whileFits(c, to, end, 8, () => c.f.store(8, to, eight));
      if (c.size < 8) {
        whileFits(c, to, end, c.size, () => c.f.store(c.size, to, value));
      }
      return count;
    },
  };
});

export const LODS = stringInstruction((c) => ({
  source: true,
  destination: undefined,
  one: (linear) => c.setGpr(accumulator, c.load(only(linear))),
}));

/** A repeated comparison ends at the first difference (REPE) or equality (REPNE). */
function comparisonEnds(c: InstructionEmitter, a: I64, b: I64): I32 {
  const wantsEqual = i32.and(
    i32.load8u(c.around.record, recordOffset.prefixes),
    i32.const(prefixBit.rep),
  );
  return i32.eq(i64.ne(a, b), i32.ne(wantsEqual, i32.const(0)));
}
function comparisonFlags(c: InstructionEmitter, a: I64, b: I64): void {
  c.flagsOfSub(a, b, c.let(c.truncate(i64.sub(a, b))));
}

export const SCAS = stringInstruction((c) => {
  const a = c.let(c.gpr(accumulator));
  const b = c.let(zero);
  return {
    source: false,
    destination: AccessKind.Read,
    one: (linear) => c.f.set(b, c.load(only(linear))),
    run(addresses, count) {
      const at = only(addresses);
      return compareRun(c, at, count, () => c.f.set(b, c.readAt(at)), comparisonEnds(c, a, b));
    },
    ends: () => comparisonEnds(c, a, b),
    flags: () => comparisonFlags(c, a, b),
  };
});

export const CMPS = stringInstruction((c) => {
  const a = c.let(zero);
  const b = c.let(zero);
  return {
    source: true,
    destination: AccessKind.Read,
    one(linear) {
      const [first, second] = two(linear);
      c.f.set(a, c.load(first));
      c.f.set(b, c.load(second));
    },
    run(addresses, count) {
      const [first, second] = two(addresses);
      const apart = c.let(i32.sub(second, first));
      const load = (): void => {
        c.f.set(a, c.readAt(first));
        c.f.set(b, c.readAt(i32.add(first, apart)));
      };
      return compareRun(c, first, count, load, comparisonEnds(c, a, b));
    },
    ends: () => comparisonEnds(c, a, b),
    flags: () => comparisonFlags(c, a, b),
  };
});

/** Compares elements from `at` up to `count` of them or the end of the comparison. @returns the number compared */
function compareRun(
  c: InstructionEmitter,
  at: Local<"i32">,
  count: I64,
  load: () => void,
  ends: I32,
): I64 {
  const { f } = c;
  const start = c.let(at);
  const end = c.let(i32.add(at, bytesOf(c, count)));
  f.block((found) => {
    f.loop((next) => {
      load();
      f.set(at, i32.add(at, i32.const(c.size)));
      f.branchIf(found, ends);
      f.branchIf(next, i32.ltU(at, end));
    });
  });
  return i64.shrU(i64.extendU(i32.sub(at, start)), i64.const(Math.log2(c.size)));
}
