import type { Recipe } from "./recipe.ts";
import * as integer from "./recipes-integer.ts";
import * as sse from "./recipes-sse.ts";
import * as stack from "./recipes-stack.ts";
import * as string from "./recipes-string.ts";

function table(rows: readonly (readonly [Recipe, string])[]): ReadonlyMap<string, Recipe> {
  return new Map(rows.flatMap(([recipe, names]) => names.split(" ").map((name) => [name, recipe])));
}

const CONDITIONS = "o no b ae e ne be a s ns p np l ge le g".split(" ");

function forConditions(prefix: string): string {
  return CONDITIONS.map((condition) => prefix + condition).join(" ");
}

/** Which mnemonics are recorded, and how. Names as iced-x86 spells them. */
const INTEGER = table([
  [integer.arithmetic, "Add Or Adc Sbb And Sub Xor Cmp Test Xadd Adcx Adox Andn"],
  [integer.simple, "Not Neg Inc Dec Mul Imul Mulx Mov Movzx Movsx Movsxd Movbe Movnti Xchg Bswap"],
  [integer.simple, "Cbw Cwde Cdqe Cwd Cdq Cqo Lahf Sahf Clc Stc Cmc Cld Std"],
  [integer.simple, "Popcnt Lzcnt Tzcnt Blsi Blsr Blsmsk Pdep Pext Rorx Crc32"],
  [integer.simple, "Daa Das Aaa Aas Aad"],
  [integer.asciiAdjustMultiply, "Aam"],
  [integer.conditional, `${forConditions("Cmov")} ${forConditions("Set")}`],
  [integer.noEffect, "Nop Pause Prefetchnta Prefetcht0 Prefetcht1 Prefetcht2 Prefetchw"],
  [integer.noEffect, "Clflush Lfence Mfence Sfence"],
  [integer.loadEffectiveAddress, "Lea"],
  [integer.compareExchange, "Cmpxchg"],
  [integer.compareExchange8, "Cmpxchg8b"],
  [integer.compareExchange16, "Cmpxchg16b"],
  [integer.bitScan, "Bsf Bsr"],
  [integer.bitField, "Bextr Bzhi"],
  [integer.shift, "Shl Sal Shr Sar Rol Ror Rcl Rcr"],
  [integer.bitField, "Sarx Shlx Shrx"],
  [integer.doubleShift, "Shld Shrd"],
  [integer.bitTest, "Bt Bts Btr Btc"],
  [integer.unsignedDivide, "Div"],
  [integer.signedDivide, "Idiv"],
  [integer.interruptOnOverflow, "Into"],
  [integer.bound, "Bound"],
  [integer.translate, "Xlatb"],
  [string.stringMove, "Movsb Movsw Movsd Movsq Stosb Stosw Stosd Stosq Lodsb Lodsw Lodsd Lodsq"],
  [string.stringCompare, "Cmpsb Cmpsw Cmpsd Cmpsq Scasb Scasw Scasd Scasq"],
  [stack.push, "Push Pusha Pushad Pushf Pushfd Pushfq"],
  [stack.pop, "Pop Popa Popad"],
  [stack.popFlags, "Popf Popfd Popfq"],
  [stack.enter, "Enter"],
  [stack.leave, "Leave"],
  [stack.relativeBranch, forConditions("J")],
  [stack.countedBranch, "Jcxz Jecxz Jrcxz Loop Loope Loopne"],
  [stack.jump, "Jmp"],
  [stack.call, "Call"],
  [stack.ret, "Ret"],
]);

const SSE = table([
  [sse.unaligned, "Movd Movq Movdqu Movups Movupd Movss Movsd Movhps Movlps Movhpd Movlpd"],
  [sse.unaligned, "Movhlps Movlhps Movmskps Movmskpd Pmovmskb Pinsrw Pextrw"],
  [sse.aligned, "Movdqa Movaps Movapd Movntdq Movntps Movntpd"],
  [sse.aligned, "Paddb Paddw Paddd Paddq Paddsb Paddsw Paddusb Paddusw"],
  [sse.aligned, "Psubb Psubw Psubd Psubq Psubsb Psubsw Psubusb Psubusw"],
  [sse.aligned, "Pmullw Pmulhw Pmulhuw Pmuludq Pmaddwd Psadbw Pavgb Pavgw"],
  [sse.aligned, "Pminub Pminsw Pmaxub Pmaxsw"],
  [sse.aligned, "Pcmpeqb Pcmpeqw Pcmpeqd Pcmpgtb Pcmpgtw Pcmpgtd Pand Pandn Por Pxor"],
  [sse.aligned, "Punpcklbw Punpcklwd Punpckldq Punpcklqdq"],
  [sse.aligned, "Punpckhbw Punpckhwd Punpckhdq Punpckhqdq"],
  [sse.aligned, "Packsswb Packssdw Packuswb Pshufd Pshuflw Pshufhw"],
  [sse.aligned, "Andps Andnps Orps Xorps Andpd Andnpd Orpd Xorpd"],
  [sse.aligned, "Shufps Shufpd Unpcklps Unpckhps Unpcklpd Unpckhpd"],
  [sse.packedShift, "Psllw Pslld Psllq Psrlw Psrld Psrlq Psraw Psrad Pslldq Psrldq"],
  [sse.maskedMove, "Maskmovdqu"],
]);

/** Without the reciprocal approximations, which are not the same on every processor. */
const FLOAT = table([
  [sse.packedFloat, "Addps Subps Mulps Divps Minps Maxps Sqrtps Cmpps"],
  [sse.packedFloat, "Addpd Subpd Mulpd Divpd Minpd Maxpd Sqrtpd Cmppd"],
  [sse.scalarFloat, "Addss Subss Mulss Divss Minss Maxss Sqrtss Cmpss Comiss Ucomiss"],
  [sse.scalarFloat, "Addsd Subsd Mulsd Divsd Minsd Maxsd Sqrtsd Cmpsd Comisd Ucomisd"],
  [sse.scalarFloat, "Cvtsi2ss Cvtsi2sd Cvtss2si Cvtsd2si Cvttss2si Cvttsd2si Cvtss2sd Cvtsd2ss"],
  [sse.scalarFloat, "Cvtps2pd Cvtdq2pd"],
  [sse.packedFloat, "Cvtpd2ps Cvtdq2ps Cvtpd2dq Cvttpd2dq Cvtps2dq Cvttps2dq"],
]);

function usesXmm(operands: readonly string[]): boolean {
  return operands.some((kind) => kind.startsWith("xmm"));
}

/** The recipe of an integer form; `undefined` if the form is not recorded. */
export function integerRecipe(mnemonic: string, operands: readonly string[]): Recipe | undefined {
  return usesXmm(operands) ? undefined : INTEGER.get(mnemonic);
}

/** The recipe of a moving or integer SSE or SSE2 form; `undefined` if the form is not recorded. */
export function sseRecipe(mnemonic: string, operands: readonly string[]): Recipe | undefined {
  return usesXmm(operands) ? SSE.get(mnemonic) : undefined;
}

/** The recipe of a floating-point SSE or SSE2 form; `undefined` if the form is not recorded. */
export function floatRecipe(mnemonic: string, operands: readonly string[]): Recipe | undefined {
  return usesXmm(operands) ? FLOAT.get(mnemonic) : undefined;
}
