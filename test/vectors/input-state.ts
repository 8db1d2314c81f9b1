/**
 * Input states of the recorded instruction vectors.
 *
 * A vector file does not store input registers and memory: it stores a seed per case (the case's
 * ordinal in the file) and the few values that matter, and the rest is derived here. The recorder in
 * `scripts/record-vectors` and the reader share this module, so it must never change while vector files made
 * with it exist; that is also why it has its own generator instead of using one of the simulator's.
 */

/** Bytes in the memory operand area of a case. */
export const MEMORY_BYTES = 256;

/** Bytes in sixteen XMM registers. */
export const XMM_BYTES = 256;

/** CF, PF, AF, ZF, SF, DF and OF: the flags a case sets freely and a vector reports. */
export const REPORTED_FLAGS = 0xcd5n;

/** What RFLAGS holds besides the reported flags: the always-one bit and IF. */
export const FIXED_FLAGS = 0x202n;

export type Mode = 32 | 64;

/**
 * How the memory area starts out: independent words, runs of one byte value broken by another, or floating-point numbers of
 * either width (the XMM registers then as well).
 */
export type MemoryFill = "words" | "runs" | "floats";

/** Registers, flags and memory operand area of one case; the recorder changes them in place. */
export interface MachineState {
  /** Sixteen registers in encoding order (RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 …). */
  gpr: bigint[];
  rflags: bigint;
  /** XMM0 to XMM15, 16 bytes each. */
  xmm: Uint8Array;
  /** The memory operand area, `MEMORY_BYTES` long. */
  memory: Uint8Array;
}

/** A source of 32-bit words; the same seed gives the same words for ever. */
export type Random = () => number;

/** Small fast counter generator (sfc32) with a 32-bit seed. */
export function createRandom(seed: number): Random {
  let a = seed | 0;
  let b = 0x9e3779b9 | 0;
  let c = 0x243f6a88 | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}

const EDGES_8 = [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] as const;
const EDGES_16 = [0x0000, 0x0001, 0x00ff, 0x0100, 0x7fff, 0x8000, 0xff80, 0xffff] as const;
const EDGES_32 = [
  0x00000000, 0x00000001, 0x00007fff, 0x0000ffff, 0x00010000, 0x7fffffff, 0x80000000, 0xffff8000,
  0xfffffffe, 0xffffffff,
] as const;

function pick(values: readonly number[], random: Random): number {
  return values[random() % values.length] ?? 0;
}

/** Writes one 64-bit word: random, small, or put together from edge values of one operand size. */
function writeWord(view: DataView, offset: number, random: Random): void {
  const kind = random() % 8;
  if (kind < 3) {
    view.setUint32(offset, random(), true);
    view.setUint32(offset + 4, random(), true);
  } else if (kind === 3) {
    const small = random() % 128;
    view.setBigInt64(offset, BigInt(small < 64 ? small : 63 - small), true);
  } else if (kind === 4) {
    const sign = random() % 2 === 0 ? 0x7fffffff : 0x80000000;
    const low = random() % 2 === 0 ? 0xffffffff : 0;
    view.setUint32(offset, low, true);
    view.setUint32(offset + 4, sign, true);
  } else if (kind === 5) {
    for (let i = 0; i < 8; i += 4) view.setUint32(offset + i, pick(EDGES_32, random), true);
  } else if (kind === 6) {
    for (let i = 0; i < 8; i += 2) view.setUint16(offset + i, pick(EDGES_16, random), true);
  } else {
    for (let i = 0; i < 8; i++) view.setUint8(offset + i, pick(EDGES_8, random));
  }
}

function wordBytes(length: number, random: Random): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  for (let offset = 0; offset < length; offset += 8) writeWord(view, offset, random);
  return bytes;
}

function runBytes(length: number, random: Random): Uint8Array {
  const usual = random() & 0xff;
  const other = random() & 0xff;
  return Uint8Array.from({ length }, () => (random() % 12 === 0 ? other : usual));
}

const SINGLES = [
  0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x3f000000, 0x40200000, 0x7f800000, 0xff800000,
  0x7fc00000, 0xffc12345, 0x7f800001, 0xffa54321, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff,
  0x4effffff, 0x4f000000, 0xcf000000, 0xcf000001, 0x5f000000, 0xdf000000, 0x4b000001, 0x33800000,
] as const;
/** Upper and lower halves. */
const DOUBLES = [
  [0x00000000, 0],
  [0x80000000, 0],
  [0x3ff00000, 0],
  [0xbff80000, 0],
  [0x3fe00000, 0],
  [0x40040000, 0],
  [0x7ff00000, 0],
  [0xfff00000, 0],
  [0x7ff80000, 0],
  [0xfff81234, 0x56789abc],
  [0x7ff00000, 1],
  [0xfff54321, 0xdeadbeef],
  [0x00000000, 1],
  [0x800fffff, 0xffffffff],
  [0x00100000, 0],
  [0x7fefffff, 0xffffffff],
  [0x41dfffff, 0xffc00000],
  [0x41dfffff, 0xffe00000],
  [0x41e00000, 0],
  [0xc1e00000, 0],
  [0xc1e00000, 0x00200000],
  [0x43e00000, 0],
  [0xc3e00000, 0],
  [0xc3e00000, 1],
  [0x47efffff, 0xe0000000],
  [0x47efffff, 0xf0000000],
  [0x36a00000, 0],
  [0x380fffff, 0xffffffff],
] as const;

/** One single or double: an edge value, or any sign and fraction with an exponent near that of 1. */
function writeFloatWord(view: DataView, offset: number, random: Random): void {
  const kind = random() % 4;
  if (kind === 0) {
    const [high, low] = DOUBLES[random() % DOUBLES.length] ?? [0, 0];
    view.setUint32(offset, low, true);
    view.setUint32(offset + 4, high, true);
  } else if (kind === 1) {
    const exponent = 0x3ff - 40 + (random() % 110);
    view.setUint32(offset, random(), true);
    view.setUint32(offset + 4, ((random() & 0x800fffff) | (exponent << 20)) >>> 0, true);
  } else {
    for (let i = 0; i < 8; i += 4) {
      const exponent = 0x7f - 30 + (random() % 70);
      const single =
        kind === 2 ? pick(SINGLES, random) : (random() & 0x807fffff) | (exponent << 23);
      view.setUint32(offset + i, single >>> 0, true);
    }
  }
}

function floatBytes(length: number, random: Random): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  for (let offset = 0; offset < length; offset += 8) writeFloatWord(view, offset, random);
  return bytes;
}

/** The state before any explicit value of the case is applied. In 32-bit mode registers are 32 bits and eight. */
export function deriveInputState(seed: number, mode: Mode, fill: MemoryFill): MachineState {
  const random = createRandom(seed);
  const flags = BigInt(random()) & REPORTED_FLAGS;
  const registers = new DataView(wordBytes(128, random).buffer);
  const gpr = Array.from({ length: 16 }, (_, i) => {
    if (mode === 64) return registers.getBigUint64(i * 8, true);
    return i < 8 ? BigInt(registers.getUint32(i * 8, true)) : 0n;
  });
  const xmm = (fill === "floats" ? floatBytes : wordBytes)(XMM_BYTES, random);
  const memory = { words: wordBytes, runs: runBytes, floats: floatBytes }[fill](
    MEMORY_BYTES,
    random,
  );
  return { gpr, rflags: FIXED_FLAGS | flags, xmm, memory };
}
