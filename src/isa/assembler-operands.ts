import { Register } from "iced-x86";

/**
 * What an assembled instruction may name: registers, immediates, labels, memory and far pointers. Sizes are in bits.
 * Registers and sized memory carry their size in their type, so a mismatch is found by the compiler.
 */
export type RegisterClass =
  | "r8"
  | "r16"
  | "r32"
  | "r64"
  | "segment"
  | "control"
  | "debug"
  | "st"
  | "mm"
  | "xmm"
  | "ymm"
  | "zmm";

export interface RegisterOperand<C extends RegisterClass = RegisterClass> {
  readonly kind: "register";
  readonly class: C;
  readonly register: Register;
}

/** A place in the program; it has an address once it is placed (`Assembler.here`). */
export class Label {
  readonly kind = "label";
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  plus(addend: number | bigint): Expression {
    return new Expression(this, undefined, BigInt(addend));
  }

  /** The distance in bytes from `start` to this label. */
  minus(start: Label): Expression {
    return new Expression(this, start, 0n);
  }
}

/** label − label + constant, known when the program is laid out. */
export class Expression {
  readonly kind = "expression";
  readonly label: Label;
  readonly subtracted: Label | undefined;
  readonly addend: bigint;

  constructor(label: Label, subtracted: Label | undefined, addend: bigint) {
    this.label = label;
    this.subtracted = subtracted;
    this.addend = addend;
  }

  plus(addend: number | bigint): Expression {
    return new Expression(this.label, this.subtracted, this.addend + BigInt(addend));
  }
}

/** An immediate, a branch target or a displacement. */
export type Value = number | bigint | Label | Expression;

/** Memory operand of a size in bits; size 0 leaves the size to the instruction (LEA, LGDT, `mov rax, [rdi]`). */
export interface MemoryOperand<Bits extends number = number> {
  readonly kind: "memory";
  readonly bits: Bits;
  readonly base: AddressRegister | undefined;
  readonly index: AddressRegister | VectorRegister | undefined;
  readonly scale: 1 | 2 | 4 | 8;
  readonly displacement: Value;
  readonly segment: SegmentRegister | undefined;
}

/** selector:offset, the operand of a direct far jump or call. */
export interface FarPointer {
  readonly kind: "far";
  readonly selector: number;
  readonly offset: Value;
}

export type Operand = RegisterOperand | MemoryOperand | FarPointer | Value;

export type Register8 = RegisterOperand<"r8">;
export type Register16 = RegisterOperand<"r16">;
export type Register32 = RegisterOperand<"r32">;
export type Register64 = RegisterOperand<"r64">;
export type SegmentRegister = RegisterOperand<"segment">;
export type VectorRegister = RegisterOperand<"xmm" | "ymm" | "zmm">;
export type AddressRegister = Register16 | Register32 | Register64;

export interface AddressParts {
  readonly disp?: Value;
  readonly index?: AddressRegister | VectorRegister;
  readonly scale?: 1 | 2 | 4 | 8;
  readonly segment?: SegmentRegister;
}

export function far(selector: number, offset: Value): FarPointer {
  return { kind: "far", selector, offset };
}

function isRegister(start: AddressRegister | Value): start is AddressRegister {
  return typeof start === "object" && start.kind === "register";
}

function sum(left: Value, right: number | bigint): Value {
  return typeof left === "number" || typeof left === "bigint"
    ? BigInt(left) + BigInt(right)
    : left.plus(right);
}

function displacementOf(start: AddressRegister | Value, disp: Value): Value {
  if (isRegister(start)) {
    return disp;
  }
  if (typeof disp === "number" || typeof disp === "bigint") {
    return sum(start, disp);
  }
  if (typeof start === "number" || typeof start === "bigint") {
    return sum(disp, start);
  }
  throw new TypeError("an address can hold one label only");
}

/**
 * Makes the constructor of memory operands of one size. The address starts at a register, a label or a number and may
 * have an index, a displacement and a segment: `mem64(rdi, { index: rcx, scale: 8, disp: 16 })`. In 64-bit code an
 * address that is a label alone becomes RIP-relative.
 */
function memory<Bits extends number>(bits: Bits) {
  return (start: AddressRegister | Value, parts: AddressParts = {}): MemoryOperand<Bits> => ({
    kind: "memory",
    bits,
    base: isRegister(start) ? start : undefined,
    index: parts.index,
    scale: parts.scale ?? 1,
    displacement: displacementOf(start, parts.disp ?? 0),
    segment: parts.segment,
  });
}

export const mem = memory(0);
export const mem8 = memory(8);
export const mem16 = memory(16);
export const mem32 = memory(32);
/** A far pointer 16:32 or a 6-byte operand. */
export const mem48 = memory(48);
export const mem64 = memory(64);
export const mem80 = memory(80);
export const mem128 = memory(128);
export const mem256 = memory(256);
export const mem512 = memory(512);

type Eight<C extends RegisterClass> = readonly [
  RegisterOperand<C>,
  RegisterOperand<C>,
  RegisterOperand<C>,
  RegisterOperand<C>,
  RegisterOperand<C>,
  RegisterOperand<C>,
  RegisterOperand<C>,
  RegisterOperand<C>,
];

/** Eight registers in the order of their numbers, which is also the order of iced's enumeration. */
function eightFrom<C extends RegisterClass>(registerClass: C, first: Register): Eight<C> {
  const nth = (offset: number): RegisterOperand<C> => ({
    kind: "register",
    class: registerClass,
    register: first + offset,
  });
  return [nth(0), nth(1), nth(2), nth(3), nth(4), nth(5), nth(6), nth(7)];
}

export const [al, cl, dl, bl, ah, ch, dh, bh] = eightFrom("r8", Register.AL);
export const [spl, bpl, sil, dil] = eightFrom("r8", Register.SPL);
export const [r8b, r9b, r10b, r11b, r12b, r13b, r14b, r15b] = eightFrom("r8", Register.R8L);
export const [ax, cx, dx, bx, sp, bp, si, di] = eightFrom("r16", Register.AX);
export const [r8w, r9w, r10w, r11w, r12w, r13w, r14w, r15w] = eightFrom("r16", Register.R8W);
export const [eax, ecx, edx, ebx, esp, ebp, esi, edi] = eightFrom("r32", Register.EAX);
export const [r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d] = eightFrom("r32", Register.R8D);
export const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi] = eightFrom("r64", Register.RAX);
export const [r8, r9, r10, r11, r12, r13, r14, r15] = eightFrom("r64", Register.R8);
export const [es, cs, ss, ds, fs, gs] = eightFrom("segment", Register.ES);
export const [cr0, , cr2, cr3, cr4] = eightFrom("control", Register.CR0);
export const [cr8] = eightFrom("control", Register.CR8);
export const [dr0, dr1, dr2, dr3, , , dr6, dr7] = eightFrom("debug", Register.DR0);
export const [st0, st1, st2, st3, st4, st5, st6, st7] = eightFrom("st", Register.ST0);
export const [mm0, mm1, mm2, mm3, mm4, mm5, mm6, mm7] = eightFrom("mm", Register.MM0);
export const [xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7] = eightFrom("xmm", Register.XMM0);
export const [xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15] = eightFrom(
  "xmm",
  Register.XMM8,
);
export const [ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7] = eightFrom("ymm", Register.YMM0);
