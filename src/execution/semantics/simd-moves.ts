import { type AccessSize, i32, i64, type V128, v128 } from "../../wasm/expression.ts";
import { recordOffset } from "../instruction-record.ts";
import type { Semantics } from "./arithmetic.ts";
import type { InstructionEmitter } from "./instruction-emitter.ts";
import {
  type Alignment,
  copyVector,
  destinationAddress,
  immediateByte,
  sourceAddress,
  vectorBytes,
  vectorSource,
  writeHalves,
  writeLow,
} from "./simd-operands.ts";

const zero = i64.const(0);

/** Moves of 16 bytes: MOVAPS, MOVUPS and their kin. */
export const moveVector =
  (alignment: Alignment): Semantics =>
  (c) =>
    copyVector(c, alignment);

/** MOVSS and MOVSD between registers: the low element only. */
export const mergeLow =
  (size: AccessSize): Semantics =>
  (c) =>
    writeLow(c, size, c.source(size));

/** MOVSS, MOVSD, MOVD, MOVQ into a register: the rest becomes zero. */
export const loadLow =
  (size: AccessSize): Semantics =>
  (c) =>
    writeHalves(c, c.let(c.source(size)), zero);

/** The low element to memory or to a general register. */
export const storeLow =
  (size: AccessSize): Semantics =>
  (c) =>
    c.write(c.source(size), size);

/** The other half of a register stays: which half of the source, a register or 8 bytes of memory, goes to which. */
export const moveHalf =
  (from: "low" | "high", to: "low" | "high"): Semantics =>
  (c) => {
    const value =
      from === "high" ? i64.load(c.field32(recordOffset.source), 8) : c.let(c.source(8));
    c.f.store(8, destinationAddress(c), value, to === "high" ? 8 : 0);
  };
/** MOVHPS and MOVHPD to memory. */
export const storeHigh: Semantics = (c) => c.write(i64.load(c.field32(recordOffset.source), 8), 8);

/** MOVMSKPS, MOVMSKPD, PMOVMSKB: sign bits of the lanes, by the opcode that gathers them. */
export const signMask =
  (opcode: number): Semantics =>
  (c) =>
    c.write(i64.extendU(v128.bitmask(opcode, vectorSource(c))), 8);

/** Place of one of `2 ** (shift bits)` lanes of 16 or 32 bits, selected by two bits of the immediate. */
function selectedLane(c: InstructionEmitter, field: number, laneBytes: 2 | 4 | 8) {
  const selector = laneBytes === 8 ? 1 : 3;
  const bit = laneBytes === 8 ? field : field * 2;
  const lane = i32.and(i32.shrU(immediateByte(c), i32.const(bit)), i32.const(selector));
  return i32.shl(lane, i32.const(Math.log2(laneBytes)));
}

/**
 * Shuffles by an immediate: the lanes of the result from the lowest come from the addresses given, each by its field of the
 * immediate.
 */
function shuffle(
  c: InstructionEmitter,
  laneBytes: 2 | 4 | 8,
  from: readonly Parameters<typeof i32.add>[0][],
  to = 0,
): void {
  const lanes = from.map((address, field) =>
    c.let(c.readAt(i32.add(address, selectedLane(c, field, laneBytes)), laneBytes)),
  );
  const destination = destinationAddress(c);
  lanes.forEach((lane, n) => {
    c.f.store(laneBytes, destination, lane, to + n * laneBytes);
  });
}
export const PSHUFD: Semantics = (c) => {
  const source = sourceAddress(c);
  shuffle(c, 4, [source, source, source, source]);
};
export const SHUFPS: Semantics = (c) => {
  const source = sourceAddress(c);
  const destination = destinationAddress(c);
  shuffle(c, 4, [destination, destination, source, source]);
};
export const SHUFPD: Semantics = (c) => {
  const source = sourceAddress(c);
  shuffle(c, 8, [destinationAddress(c), source]);
};
/** PSHUFLW and PSHUFHW: words of one half are shuffled, the other half is copied. */
export const shuffleWords =
  (half: 0 | 8): Semantics =>
  (c) => {
    const source = sourceAddress(c);
    const from = c.let(i32.add(source, i32.const(half)));
    const other = c.let(i64.load(source, 8 - half));
    shuffle(c, 2, [from, from, from, from], half);
    c.f.store(8, destinationAddress(c), other, 8 - half);
  };

/** Byte offset of the word that PINSRW and PEXTRW mean. */
const wordPlace = (c: InstructionEmitter) =>
  i32.shl(i32.and(immediateByte(c), i32.const(7)), i32.const(1));
export const PINSRW: Semantics = (c) => {
  const value = c.let(c.source(2));
  c.f.store(2, i32.add(destinationAddress(c), wordPlace(c)), value);
};
export const PEXTRW: Semantics = (c) =>
  c.write(i64.load16u(i32.add(c.field32(recordOffset.source), wordPlace(c))), 8);

/** Interleaving: the elements of one half of destination and source, alternately. */
function interleaved(elementBytes: number, half: "low" | "high"): number[] {
  const elements = vectorBytes / elementBytes / 2;
  const first = half === "low" ? 0 : elements;
  return Array.from({ length: elements }, (_, n) => first + n).flatMap((n) => {
    const bytes = Array.from({ length: elementBytes }, (_, b) => n * elementBytes + b);
    return [...bytes, ...bytes.map((b) => b + vectorBytes)];
  });
}
export const interleave = (elementBytes: 1 | 2 | 4 | 8, half: "low" | "high") => {
  const lanes = interleaved(elementBytes, half);
  return (a: V128, b: V128): V128 => v128.shuffle(a, b, lanes);
};

/** MASKMOVDQU: bytes of the destination operand whose mask byte is negative go to DS:rDI. */
export const MASKMOVDQU: Semantics = (c) => {
  const { f } = c;
  const segment = i32.load8u(c.around.record, recordOffset.segment);
  const offset = c.let(i64.and(c.gpr(7, 8), c.addressMask()));
  const data = destinationAddress(c);
  const left = c.let(v128.bitmask(0x64, v128.load(c.field32(recordOffset.source))));
  const place = c.let(i32.const(0));
  f.if(left, () => {
    const linear = c.let(c.around.segmentAddress(segment, offset, vectorBytes, true));
    f.loop((next) => {
      f.if(i32.and(left, i32.const(1)), () => {
        const to = c.let(i64.add(linear, i64.extendU(place)));
        c.store(to, i64.load8u(i32.add(data, place)), 1);
      });
      f.set(place, i32.add(place, i32.const(1)));
      f.set(left, i32.shrU(left, i32.const(1)));
      f.branchIf(next, left);
    });
  });
};
