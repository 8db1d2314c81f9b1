import type { Code, Mnemonic } from "iced-x86";
import type {
  FarPointer,
  MemoryOperand,
  Operand,
  Register8,
  Register16,
  Register32,
  Register64,
  RegisterOperand,
  SegmentRegister,
  Value,
} from "./assembler-operands.ts";

/**
 * The compile-time face of the assembler: which operands each mnemonic takes, read off the names of iced's instruction
 * forms (`Mov_r64_imm64` takes a 64-bit register and an immediate). The types may allow a little more than the machine
 * does (any 8-bit register where only CL fits); the run-time table then refuses it with a message.
 */
export type CodeName = Exclude<keyof typeof Code, "INVALID">;
type MnemonicName = Exclude<keyof typeof Mnemonic, "INVALID" | "Db" | "Dw" | "Dd" | "Dq">;

/** Other names in common use for the same instruction. */
export const aliases = {
  jz: "je",
  jnz: "jne",
  jc: "jb",
  jnc: "jae",
  setz: "sete",
  setnz: "setne",
  setc: "setb",
  setnc: "setae",
  cmovz: "cmove",
  cmovnz: "cmovne",
  cmovc: "cmovb",
  cmovnc: "cmovae",
} as const;

type SizedMemory<Bits extends number> = MemoryOperand<Bits> | MemoryOperand<0>;

/** What an operand of an instruction form's name stands for; names not listed here accept any operand. */
interface OperandOfToken {
  AL: Register8;
  CL: Register8;
  AX: Register16;
  DX: Register16;
  EAX: Register32;
  RAX: Register64;
  r8: Register8;
  r16: Register16;
  r32: Register32;
  r64: Register64;
  rm8: Register8 | SizedMemory<8>;
  rm16: Register16 | SizedMemory<16>;
  rm32: Register32 | SizedMemory<32>;
  rm64: Register64 | SizedMemory<64>;
  r32m8: Register32 | SizedMemory<8>;
  r64m8: Register64 | SizedMemory<8>;
  r32m16: Register32 | SizedMemory<16>;
  r64m16: Register64 | SizedMemory<16>;
  m: MemoryOperand;
  m8: SizedMemory<8>;
  m16: SizedMemory<16>;
  m32: SizedMemory<32>;
  m64: SizedMemory<64>;
  m128: SizedMemory<128>;
  m1616: SizedMemory<32>;
  m1632: SizedMemory<48>;
  m1664: SizedMemory<80>;
  moffs8: SizedMemory<8>;
  moffs16: SizedMemory<16>;
  moffs32: SizedMemory<32>;
  moffs64: SizedMemory<64>;
  imm8: Value;
  imm16: Value;
  imm32: Value;
  imm64: Value;
  "1": Value;
  Sreg: SegmentRegister;
  cr: RegisterOperand<"control">;
  dr: RegisterOperand<"debug">;
  /** The test registers of the 386 are not offered. */
  tr: never;
  ptr1616: FarPointer;
  ptr1632: FarPointer;
}

type OperandsOfTokens<Text extends string> = Text extends `rel${string}`
  ? [Value]
  : Text extends `${infer First}_${infer Rest}`
    ? [OperandOf<First>, ...OperandsOfTokens<Rest>]
    : [OperandOf<Text>];
type OperandOf<Token extends string> = Token extends keyof OperandOfToken
  ? OperandOfToken[Token]
  : Operand;

/** `Movzx_r32_rm8` is a form of `Movzx`; `Pushq_imm8` of `Push`, which carries its operand size in a letter. */
type Head<Form extends string> = Form extends `${infer First}_${string}` ? First : Form;
type MnemonicOf<First extends string> = First extends MnemonicName
  ? First
  : First extends `${infer M}${"w" | "d" | "q"}`
    ? M
    : never;
type OperandsOfForm<Form extends string> = Form extends `${string}_${infer Tokens}`
  ? OperandsOfTokens<Tokens>
  : [];
/** The operand lists of each mnemonic; forms of the same mnemonic become a union. */
type FormsByMnemonic = {
  [Form in CodeName as MnemonicOf<Head<Form>>]: OperandsOfForm<Form>;
};

/** String instructions name fixed registers and addresses only: nothing is written. */
type StringInstruction =
  `${"Movs" | "Stos" | "Lods" | "Scas" | "Cmps" | "Ins" | "Outs"}${"b" | "w" | "d" | "q"}`;

/** Mnemonics without a form of their name (RET, all of AVX) take any operands: the run-time table judges. */
type OperandsOf<M extends MnemonicName> =
  | (M extends keyof FormsByMnemonic ? FormsByMnemonic[M] : Operand[])
  | (M extends StringInstruction ? [] : never);

type ByMnemonic = {
  readonly [M in MnemonicName as Lowercase<M>]: (...operands: OperandsOf<M>) => void;
};
type ByAlias = { readonly [A in keyof typeof aliases]: ByMnemonic[(typeof aliases)[A]] };

/** One method per mnemonic, in lower case. */
export type MnemonicMethods = ByMnemonic & ByAlias;
