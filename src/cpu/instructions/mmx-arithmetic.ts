/**
 * Arithmetic of MMX, and what SSE and SSE2 added to its registers: every operation is a function of two 64-bit values, which
 * it sees as lanes.
 */
import { lpOffset } from "../../execution/lp-window.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionHandler, InstructionTable } from "../logical-processor.ts";
import { mmxOperation, readMmxSource } from "./mmx.ts";

type Binary = (a: bigint, b: bigint) => bigint;
/** Lane widths in bits. */
type Width = 8 | 16 | 32 | 64;

const laneOf = (value: bigint, width: Width, n: number): bigint =>
  BigInt.asUintN(width, value >> BigInt(n * width));
const signedLane = (value: bigint, width: Width, n: number): bigint =>
  BigInt.asIntN(width, value >> BigInt(n * width));
/** Puts lanes together, the first one lowest; only their low bits count. */
function joinLanes(width: Width, lanes: readonly bigint[]): bigint {
  return lanes.reduce(
    (all, lane, n) => all | (BigInt.asUintN(width, lane) << BigInt(n * width)),
    0n,
  );
}
const count = (width: Width): readonly number[] => Array.from({ length: 64 / width }, (_, n) => n);

/** The same on each pair of lanes, taken as unsigned or signed numbers. */
const unsignedLanes =
  (width: Width, operate: Binary): Binary =>
  (a, b) =>
    joinLanes(
      width,
      count(width).map((n) => operate(laneOf(a, width, n), laneOf(b, width, n))),
    );
const signedLanes =
  (width: Width, operate: Binary): Binary =>
  (a, b) =>
    joinLanes(
      width,
      count(width).map((n) => operate(signedLane(a, width, n), signedLane(b, width, n))),
    );

const clamp = (value: bigint, least: bigint, most: bigint): bigint =>
  value < least ? least : value > most ? most : value;
const clampUnsigned = (width: Width, value: bigint): bigint =>
  clamp(value, 0n, (1n << BigInt(width)) - 1n);
const clampSigned = (width: Width, value: bigint): bigint =>
  clamp(value, -(1n << BigInt(width - 1)), (1n << BigInt(width - 1)) - 1n);

const sum: Binary = (a, b) => a + b;
const difference: Binary = (a, b) => a - b;
const equal: Binary = (a, b) => (a === b ? -1n : 0n);
const greater: Binary = (a, b) => (a > b ? -1n : 0n);
const choose =
  (prefersFirst: (a: bigint, b: bigint) => boolean): Binary =>
  (a, b) =>
    prefersFirst(a, b) ? a : b;
const least = choose((a, b) => a < b);
const most = choose((a, b) => a > b);
const average: Binary = (a, b) => (a + b + 1n) >> 1n;

const saturated = (
  lanes: typeof signedLanes,
  width: Width,
  limit: typeof clampSigned,
  operate: Binary,
): Binary => lanes(width, (a, b) => limit(width, operate(a, b)));

/** Lanes of half the width: those of the first operand, then those of the second, as far as they fit. */
const pack =
  (width: 16 | 32, limit: (value: bigint) => bigint): Binary =>
  (a, b) =>
    joinLanes(width === 32 ? 16 : 8, [
      ...count(width).map((n) => limit(signedLane(a, width, n))),
      ...count(width).map((n) => limit(signedLane(b, width, n))),
    ]);
/** Lanes of the low or high halves, by turns. */
const interleave =
  (width: 8 | 16 | 32, half: "low" | "high"): Binary =>
  (a, b) => {
    const all = count(width);
    const lanes = half === "low" ? all.slice(0, all.length / 2) : all.slice(all.length / 2);
    return joinLanes(
      width,
      lanes.flatMap((n) => [laneOf(a, width, n), laneOf(b, width, n)]),
    );
  };

/** Shifts by a count that the second operand is as a whole. */
const shift =
  (width: Width, operate: (lane: bigint, by: bigint) => bigint, lanes = unsignedLanes): Binary =>
  (a, by) =>
    lanes(width, (lane) => operate(lane, by))(a, 0n);
const shiftLeft = (width: Width): Binary =>
  shift(width, (lane, by) => (by >= BigInt(width) ? 0n : lane << by));
const shiftRight = (width: Width): Binary =>
  shift(width, (lane, by) => (by >= BigInt(width) ? 0n : lane >> by));
const shiftArithmetic = (width: Width): Binary =>
  shift(width, (lane, by) => lane >> clamp(by, 0n, BigInt(width - 1)), signedLanes);

const multiplyAndAdd: Binary = (a, b) =>
  joinLanes(
    32,
    [0, 2].map(
      (n) =>
        signedLane(a, 16, n) * signedLane(b, 16, n) +
        signedLane(a, 16, n + 1) * signedLane(b, 16, n + 1),
    ),
  );
const sumOfDifferences: Binary = (a, b) =>
  count(8).reduce((total, n) => {
    const distance = laneOf(a, 8, n) - laneOf(b, 8, n);
    return total + (distance < 0n ? -distance : distance);
  }, 0n);

/** By mnemonic; the second operand is an MMX register or memory of 64 bits. */
const binaryOperations: Readonly<Record<string, Binary>> = {
  Paddb: unsignedLanes(8, sum),
  Paddw: unsignedLanes(16, sum),
  Paddd: unsignedLanes(32, sum),
  Paddq: unsignedLanes(64, sum),
  Psubb: unsignedLanes(8, difference),
  Psubw: unsignedLanes(16, difference),
  Psubd: unsignedLanes(32, difference),
  Psubq: unsignedLanes(64, difference),
  Paddsb: saturated(signedLanes, 8, clampSigned, sum),
  Paddsw: saturated(signedLanes, 16, clampSigned, sum),
  Paddusb: saturated(unsignedLanes, 8, clampUnsigned, sum),
  Paddusw: saturated(unsignedLanes, 16, clampUnsigned, sum),
  Psubsb: saturated(signedLanes, 8, clampSigned, difference),
  Psubsw: saturated(signedLanes, 16, clampSigned, difference),
  Psubusb: saturated(unsignedLanes, 8, clampUnsigned, difference),
  Psubusw: saturated(unsignedLanes, 16, clampUnsigned, difference),
  Pmullw: unsignedLanes(16, (a, b) => a * b),
  Pmulhw: signedLanes(16, (a, b) => (a * b) >> 16n),
  Pmulhuw: unsignedLanes(16, (a, b) => (a * b) >> 16n),
  Pmuludq: (a, b) => laneOf(a, 32, 0) * laneOf(b, 32, 0),
  Pmaddwd: multiplyAndAdd,
  Psadbw: sumOfDifferences,
  Pavgb: unsignedLanes(8, average),
  Pavgw: unsignedLanes(16, average),
  Pminub: unsignedLanes(8, least),
  Pmaxub: unsignedLanes(8, most),
  Pminsw: signedLanes(16, least),
  Pmaxsw: signedLanes(16, most),
  Pcmpeqb: unsignedLanes(8, equal),
  Pcmpeqw: unsignedLanes(16, equal),
  Pcmpeqd: unsignedLanes(32, equal),
  Pcmpgtb: signedLanes(8, greater),
  Pcmpgtw: signedLanes(16, greater),
  Pcmpgtd: signedLanes(32, greater),
  Pand: (a, b) => a & b,
  Pandn: (a, b) => BigInt.asUintN(64, ~a) & b,
  Por: (a, b) => a | b,
  Pxor: (a, b) => a ^ b,
  Packsswb: pack(16, (value) => clampSigned(8, value)),
  Packuswb: pack(16, (value) => clampUnsigned(8, value)),
  Packssdw: pack(32, (value) => clampSigned(16, value)),
  Punpckhbw: interleave(8, "high"),
  Punpckhwd: interleave(16, "high"),
  Punpckhdq: interleave(32, "high"),
};
/** The second operand has 32 bits in memory. */
const lowOperations: Readonly<Record<string, Binary>> = {
  Punpcklbw: interleave(8, "low"),
  Punpcklwd: interleave(16, "low"),
  Punpckldq: interleave(32, "low"),
};
/** By a register, by memory or by an immediate. */
const shiftOperations: Readonly<Record<string, Binary>> = {
  Psllw: shiftLeft(16),
  Pslld: shiftLeft(32),
  Psllq: shiftLeft(64),
  Psrlw: shiftRight(16),
  Psrld: shiftRight(32),
  Psrlq: shiftRight(64),
  Psraw: shiftArithmetic(16),
  Psrad: shiftArithmetic(32),
};

const immediateByte = (insn: InstructionView): number => Number(insn.immediate & 0xffn);

const binary = (operate: Binary, size: 4 | 8 = 8): InstructionHandler =>
  mmxOperation((registers, lp, insn) => {
    const b = readMmxSource(lp, insn, size);
    registers.write(insn.destination, operate(registers.read(insn.destination), b));
  });
const byImmediate = (operate: Binary): InstructionHandler =>
  mmxOperation((registers, _, insn) => {
    const by = BigInt(immediateByte(insn));
    registers.write(insn.destination, operate(registers.read(insn.destination), by));
  });

/** PSHUFW—Shuffle Packed Words. */
const pshufw = mmxOperation((registers, lp, insn) => {
  const source = readMmxSource(lp, insn, 8);
  const order = immediateByte(insn);
  const lanes = count(16).map((n) => laneOf(source, 16, (order >> (n * 2)) & 3));
  registers.write(insn.destination, joinLanes(16, lanes));
});

/** PINSRW—Insert Word. */
const pinsrw = mmxOperation((registers, lp, insn) => {
  const word = insn.isMemory ? readMmxSource(lp, insn, 2) : lp.state.gpr(insn.source);
  const old = registers.read(insn.destination);
  const at = immediateByte(insn) & 3;
  const lanes = count(16).map((n) => (n === at ? word : laneOf(old, 16, n)));
  registers.write(insn.destination, joinLanes(16, lanes));
});

/** PEXTRW—Extract Word. */
const pextrw = mmxOperation((registers, { state }, insn) => {
  const word = laneOf(registers.read(insn.source), 16, immediateByte(insn) & 3);
  state.setGpr(insn.destination, word);
});

/** PMOVMSKB—Move Byte Mask. */
const pmovmskb = mmxOperation((registers, { state }, insn) => {
  const source = registers.read(insn.source);
  const mask = count(8).reduce((bits, n) => bits | ((laneOf(source, 8, n) >> 7n) << BigInt(n)), 0n);
  state.setGpr(insn.destination, mask);
});

/** Where XMM0 would be among registers of 8 bytes: the numbers of operands count from RAX. */
const firstVector = (lpOffset.xmm - lpOffset.gpr) / 8;
const vectorOffset = (operand: number): number => lpOffset.xmm + (operand - firstVector) * 8;

/** MOVQ2DQ and MOVDQ2Q: between an MMX and an XMM register. */
const movq2dq = mmxOperation((registers, { state }, insn) => {
  const to = vectorOffset(insn.destination);
  state.write64(to, registers.read(insn.source));
  state.write64(to + 8, 0n);
}, "vector");
const movdq2q = mmxOperation((registers, { state }, insn) => {
  registers.write(insn.destination, state.read64(vectorOffset(insn.source)));
}, "vector");

const coded = (
  suffix: string,
  operations: Readonly<Record<string, Binary>>,
  make: (operate: Binary) => InstructionHandler,
): InstructionTable =>
  Object.fromEntries(
    Object.entries(operations).map(([name, operate]) => [`${name}_${suffix}`, make(operate)]),
  );

/** By Code: the mnemonics are those of SSE2 too. */
export const mmxArithmeticInstructions: InstructionTable = {
  ...coded("mm_mmm64", { ...binaryOperations, ...shiftOperations }, (operate) => binary(operate)),
  ...coded("mm_mmm32", lowOperations, (operate) => binary(operate, 4)),
  ...coded("mm_imm8", shiftOperations, byImmediate),
  Pshufw_mm_mmm64_imm8: pshufw,
  Pinsrw_mm_r32m16_imm8: pinsrw,
  Pinsrw_mm_r64m16_imm8: pinsrw,
  Pextrw_r32_mm_imm8: pextrw,
  Pextrw_r64_mm_imm8: pextrw,
  Pmovmskb_r32_mm: pmovmskb,
  Pmovmskb_r64_mm: pmovmskb,
  Movq2dq_xmm_mm: movq2dq,
  Movdq2q_mm_xmm: movdq2q,
};
