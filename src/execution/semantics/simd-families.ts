import type { Semantics } from "./arithmetic.ts";
import { type Family, hotSizes, type Role } from "./family.ts";
import * as float from "./simd-float.ts";
import * as integer from "./simd-integer.ts";
import * as moves from "./simd-moves.ts";

/** An SSE family. Its size is nominal: what is accessed is the semantics' business. */
const simd = (
  names: string,
  patterns: readonly string[],
  semantics: Semantics,
  roles?: readonly Role[],
): Family => {
  const [mnemonic = "", ...aliases] = names.split(" ");
  return {
    mnemonic,
    aliases,
    sizes: [8],
    patterns,
    semantics,
    simd: true,
    ...(roles ? { roles } : {}),
  };
};
/** Executed in the interpreter's own arms, all of it. */
const hot = (family: Family): Family => ({
  ...family,
  hot: { sizes: family.sizes, patterns: family.patterns },
});
const either = ["xx", "xm"];
const packed = (names: string, semantics: Semantics): Family => simd(names, either, semantics);
const lanes = (names: string, opcode: number): Family => packed(names, integer.lanes(opcode));
const interleave = (names: string, bytes: 1 | 2 | 4 | 8, half: "low" | "high"): Family =>
  packed(names, integer.packed(moves.interleave(bytes, half)));
const shifted = (names: string, semantics: Semantics): Family =>
  simd(names, ["xx", "xm", "xi"], semantics);

/** SSE and SSE2 moves. Only the names of many differ: single, double and integer kinds move alike. */
const moveFamilies: readonly Family[] = [
  hot(simd("Movups Movupd Movdqu Lddqu", ["xx", "xm", "mx"], moves.moveVector("any"))),
  hot(simd("Movaps Movapd Movdqa", ["xx", "xm", "mx"], moves.moveVector("aligned"))),
  simd("Movntps Movntpd Movntdq", ["mx"], moves.moveVector("aligned")),
  simd("Movss", ["xx"], moves.mergeLow(4)),
  hot(simd("Movss", ["xm"], moves.loadLow(4))),
  hot(simd("Movss", ["mx"], moves.storeLow(4))),
  simd("Movsd", ["xx"], moves.mergeLow(8)),
  hot(simd("Movsd", ["xm"], moves.loadLow(8))),
  hot(simd("Movsd", ["mx"], moves.storeLow(8))),
  simd("Movd", ["xr", "xm"], moves.loadLow(4)),
  simd("Movd", ["rx", "mx"], moves.storeLow(4)),
  simd("Movq", ["xx", "xm"], moves.loadLow(8)),
  simd("Movq", ["xr"], moves.loadLow(8)),
  simd("Movq", ["rx", "mx"], moves.storeLow(8)),
  simd("Movhlps", ["xx"], moves.moveHalf("high", "low")),
  simd("Movlhps", ["xx"], moves.moveHalf("low", "high")),
  simd("Movlps Movlpd", ["xm"], moves.moveHalf("low", "low")),
  simd("Movlps Movlpd", ["mx"], moves.storeLow(8)),
  simd("Movhps Movhpd", ["xm"], moves.moveHalf("low", "high")),
  simd("Movhps Movhpd", ["mx"], moves.storeHigh),
  simd("Movmskps", ["rx"], moves.signMask(0xa4)),
  simd("Movmskpd", ["rx"], moves.signMask(0xc4)),
  simd("Pmovmskb", ["rx"], moves.signMask(0x64)),
  simd("Maskmovdqu", ["xx"], moves.MASKMOVDQU, ["skip", "destination", "source"]),
  simd("Pinsrw", ["xr", "xm"], moves.PINSRW),
  simd("Pextrw", ["rx"], moves.PEXTRW),
  packed("Pshufd", moves.PSHUFD),
  packed("Pshuflw", moves.shuffleWords(0)),
  packed("Pshufhw", moves.shuffleWords(8)),
  packed("Shufps", moves.SHUFPS),
  packed("Shufpd", moves.SHUFPD),
  interleave("Punpcklbw", 1, "low"),
  interleave("Punpckhbw", 1, "high"),
  interleave("Punpcklwd", 2, "low"),
  interleave("Punpckhwd", 2, "high"),
  interleave("Punpckldq Unpcklps", 4, "low"),
  interleave("Punpckhdq Unpckhps", 4, "high"),
  interleave("Punpcklqdq Unpcklpd", 8, "low"),
  interleave("Punpckhqdq Unpckhpd", 8, "high"),
];

/** SSE2 integer operations, most of which the host has too: its opcodes. */
const integerVectorFamilies: readonly Family[] = [
  lanes("Pand Andps Andpd", 0x4e),
  packed("Pandn Andnps Andnpd", integer.PANDN),
  lanes("Por Orps Orpd", 0x50),
  lanes("Pxor Xorps Xorpd", 0x51),
  lanes("Paddb", 0x6e),
  lanes("Paddw", 0x8e),
  lanes("Paddd", 0xae),
  lanes("Paddq", 0xce),
  lanes("Paddsb", 0x6f),
  lanes("Paddsw", 0x8f),
  lanes("Paddusb", 0x70),
  lanes("Paddusw", 0x90),
  lanes("Psubb", 0x71),
  lanes("Psubw", 0x91),
  lanes("Psubd", 0xb1),
  lanes("Psubq", 0xd1),
  lanes("Psubsb", 0x72),
  lanes("Psubsw", 0x92),
  lanes("Psubusb", 0x73),
  lanes("Psubusw", 0x93),
  lanes("Pmullw", 0x95),
  packed("Pmulhw", integer.multiplyHigh(0xbc, 0xbd)),
  packed("Pmulhuw", integer.multiplyHigh(0xbe, 0xbf)),
  packed("Pmuludq", integer.PMULUDQ),
  lanes("Pmaddwd", 0xba),
  packed("Psadbw", integer.PSADBW),
  lanes("Pavgb", 0x7b),
  lanes("Pavgw", 0x9b),
  lanes("Pminub", 0x77),
  lanes("Pmaxub", 0x79),
  lanes("Pminsw", 0x96),
  lanes("Pmaxsw", 0x98),
  lanes("Pcmpeqb", 0x23),
  lanes("Pcmpeqw", 0x2d),
  lanes("Pcmpeqd", 0x37),
  lanes("Pcmpgtb", 0x27),
  lanes("Pcmpgtw", 0x31),
  lanes("Pcmpgtd", 0x3b),
  lanes("Packsswb", 0x65),
  lanes("Packuswb", 0x66),
  lanes("Packssdw", 0x85),
  shifted("Psllw", integer.shiftLogical(0x8b, 16)),
  shifted("Pslld", integer.shiftLogical(0xab, 32)),
  shifted("Psllq", integer.shiftLogical(0xcb, 64)),
  shifted("Psrlw", integer.shiftLogical(0x8d, 16)),
  shifted("Psrld", integer.shiftLogical(0xad, 32)),
  shifted("Psrlq", integer.shiftLogical(0xcd, 64)),
  shifted("Psraw", integer.shiftArithmetic(0x8c, 16)),
  shifted("Psrad", integer.shiftArithmetic(0xac, 32)),
  simd("Psrldq", ["xi"], integer.shiftBytes(0x6e)),
  simd("Pslldq", ["xi"], integer.shiftBytes(0x71)),
];

/** Suffixes of the four kinds of floating-point instructions, and what they work on. */
const floatKinds = [
  ["ps", float.packedFloat, "single"],
  ["pd", float.packedFloat, "double"],
  ["ss", float.scalarFloat, "single"],
  ["sd", float.scalarFloat, "double"],
] as const;
const arithmetic = (
  name: string,
  operation: Parameters<typeof float.packedFloat>[0],
  kinds: readonly (typeof floatKinds)[number][] = floatKinds,
): Family[] =>
  kinds.map(([suffix, width, type]) =>
    packed(name + suffix, width(operation)(float.elementTypes[type])),
  );
const singleKinds = floatKinds.filter(([, , type]) => type === "single");

/** Between an integer of 4 or 8 bytes in a general register or memory and the low element. */
const integerConversion = (
  name: string,
  patterns: readonly string[],
  sizeFrom: 0 | 1,
  semantics: Semantics,
): Family => ({ mnemonic: name, sizes: hotSizes, patterns, semantics, sizeFrom, simd: true });

/** SSE and SSE2 floating-point arithmetic. */
const floatFamilies: readonly Family[] = [
  ...arithmetic("Add", float.add),
  ...arithmetic("Sub", float.subtract),
  ...arithmetic("Mul", float.multiply),
  ...arithmetic("Div", float.divide),
  ...arithmetic("Min", float.minimum),
  ...arithmetic("Max", float.maximum),
  ...arithmetic("Sqrt", float.squareRoot),
  ...arithmetic("Cmp", float.compare),
  ...arithmetic("Rcp", float.reciprocal, singleKinds),
  ...arithmetic("Rsqrt", float.reciprocalSquareRoot, singleKinds),
  packed("Comiss Ucomiss", float.compareFlags(4)),
  packed("Comisd Ucomisd", float.compareFlags(8)),
  integerConversion("Cvtsi2ss", ["xr", "xm"], 1, float.fromInteger(4)),
  integerConversion("Cvtsi2sd", ["xr", "xm"], 1, float.fromInteger(8)),
  integerConversion("Cvtss2si", ["rx", "rm"], 0, float.toInteger(4, false)),
  integerConversion("Cvtsd2si", ["rx", "rm"], 0, float.toInteger(8, false)),
  integerConversion("Cvttss2si", ["rx", "rm"], 0, float.toInteger(4, true)),
  integerConversion("Cvttsd2si", ["rx", "rm"], 0, float.toInteger(8, true)),
  packed("Cvtss2sd", float.CVTSS2SD),
  packed("Cvtsd2ss", float.CVTSD2SS),
  packed("Cvtps2pd", float.CVTPS2PD),
  packed("Cvtpd2ps", float.CVTPD2PS),
  packed("Cvtdq2pd", float.CVTDQ2PD),
  packed("Cvtdq2ps", float.CVTDQ2PS),
  packed("Cvtpd2dq", float.doublesToIntegers(false)),
  packed("Cvttpd2dq", float.doublesToIntegers(true)),
  packed("Cvtps2dq", float.singlesToIntegers(false)),
  packed("Cvttps2dq", float.singlesToIntegers(true)),
];

export const simdFamilies: readonly Family[] = [
  ...moveFamilies,
  ...integerVectorFamilies,
  ...floatFamilies,
];
