import fc from "fast-check";
import {
  Code,
  CodeExt,
  Decoder,
  DecoderOptions,
  EncodingKind,
  type Instruction,
  OpCodeOperandKind as Kind,
  MemorySizeExt,
  Mnemonic,
  type OpCodeInfo,
  OpKind,
  Register,
} from "iced-x86";
import { describe, expect, it } from "vitest";
import { createAssembler } from "../../src/isa/assembler.ts";
import * as language from "../../src/isa/assembler-operands.ts";

/**
 * For any form of any mnemonic and any operands that fit it: what is assembled, iced decodes to the same mnemonic with
 * the same operands. The operands are drawn from iced's own description of the form, not from the assembler's table.
 */
type Bits = 16 | 32 | 64;
type Operand = language.Operand;

interface Subject {
  readonly code: Code;
  readonly mnemonic: Mnemonic;
  readonly kinds: readonly Kind[];
  readonly memoryBits: number;
  readonly modes: readonly Bits[];
}

const origin = 0x4000;
const sizes = new Set([8, 16, 32, 48, 64, 80, 128, 256, 512]);

const registers = Object.values(language).filter((value) => typeof value === "object");

/** Registers of a class that code of this size can name together with any other operand. */
function registersOf(registerClass: string, bits: Bits): language.RegisterOperand[] {
  return registers.filter((one) => {
    const name = Register[one.register] ?? "";
    const needsRex = /^(R\d|[SD]IL|[SB]PL|[XY]MM\d\d|[XY]MM[89]|CR8)/.test(name);
    const excludesRex = /^[ABCD]H$/.test(name);
    return one.class === registerClass && (bits === 64 ? !excludesRex : !needsRex);
  });
}

function registerClassOf(kind: Kind): string | undefined {
  const match = /^(r8|r16|r32|r64|mm|xmm|ymm)(_or_mem|_reg|_rm|_opcode|_vvvv)$/.exec(
    Kind[kind] ?? "",
  );
  const others: Partial<Record<Kind, string>> = {
    [Kind.seg_reg]: "segment",
    [Kind.cr_reg]: "control",
    [Kind.dr_reg]: "debug",
    [Kind.sti_opcode]: "st",
  };
  return match?.[1] ?? others[kind];
}

/** CS cannot be loaded with MOV or POP. */
const anyRegister = (registerClass: string, bits: Bits) =>
  fc.constantFrom(...registersOf(registerClass, bits).filter((one) => one !== language.cs));

const signed = (bits: bigint) =>
  fc.bigInt({ min: -(1n << (bits - 1n)), max: (1n << (bits - 1n)) - 1n });
const either = (bits: bigint) => fc.bigInt({ min: -(1n << (bits - 1n)), max: (1n << bits) - 1n });

type Address = Omit<language.MemoryOperand, "bits">;

/** Code of 16 bits gets addresses of 32-bit registers here, or a plain 16-bit offset. */
function anyAddress(bits: Bits): fc.Arbitrary<Address> {
  const register = anyAddressRegister(bits === 64 ? "r64" : "r32", bits);
  const kind = fc.constant("memory" as const);
  const segment = fc.option(fc.constantFrom(language.fs, language.gs), { nil: undefined });
  const anyDisplacement = fc.oneof(fc.constant(0n), signed(8n), signed(32n));
  const isIndex = (one: language.AddressRegister) => one !== language.rsp && one !== language.esp;
  const plain = fc.record({
    kind,
    base: fc.constant(undefined),
    index: fc.constant(undefined),
    scale: fc.constant(1 as const),
    displacement: bits === 16 ? fc.bigInt({ min: 0n, max: 0xffffn }) : anyDisplacement,
    segment,
  });
  const based = fc.record({
    kind,
    base: register,
    index: fc.option(register.filter(isIndex), { nil: undefined }),
    scale: fc.constantFrom(1 as const, 2 as const, 4 as const, 8 as const),
    displacement: anyDisplacement,
    segment,
  });
  const indexed = fc.record({
    kind,
    base: fc.constant(undefined),
    index: register.filter(isIndex),
    scale: fc.constantFrom(1 as const, 2 as const, 4 as const, 8 as const),
    displacement: anyDisplacement,
    segment,
  });
  return fc.oneof(plain, based, indexed);
}

function anyAddressRegister(registerClass: "r32" | "r64", bits: Bits) {
  return fc.constantFrom(
    ...registersOf(registerClass, bits).filter((one) => one.class === "r32" || one.class === "r64"),
  ) as fc.Arbitrary<language.AddressRegister>;
}

const fixed: Partial<Record<Kind, language.RegisterOperand>> = {
  [Kind.es]: language.es,
  [Kind.cs]: language.cs,
  [Kind.ss]: language.ss,
  [Kind.ds]: language.ds,
  [Kind.fs]: language.fs,
  [Kind.gs]: language.gs,
  [Kind.al]: language.al,
  [Kind.cl]: language.cl,
  [Kind.ax]: language.ax,
  [Kind.dx]: language.dx,
  [Kind.eax]: language.eax,
  [Kind.rax]: language.rax,
  [Kind.st0]: language.st0,
};

const immediates: Partial<Record<Kind, fc.Arbitrary<bigint>>> = {
  [Kind.imm8]: either(8n),
  [Kind.imm8sex16]: signed(8n),
  [Kind.imm8sex32]: signed(8n),
  [Kind.imm8sex64]: signed(8n),
  [Kind.imm8_const_1]: fc.constant(1n),
  [Kind.imm16]: either(16n),
  [Kind.imm32]: either(32n),
  [Kind.imm32sex64]: signed(32n),
  [Kind.imm64]: either(64n),
};

/** Operands for one position; undefined where the language has no such operand. */
function operandFor(kind: Kind, subject: Subject, bits: Bits): fc.Arbitrary<Operand> | undefined {
  const name = Kind[kind] ?? "";
  const memory = () =>
    anyAddress(bits).map(
      (address): Operand => ({
        ...address,
        bits: sizes.has(subject.memoryBits) ? subject.memoryBits : 0,
      }),
    );
  const register = registerClassOf(kind);
  if (register !== undefined) {
    return name.endsWith("_or_mem")
      ? fc.oneof(anyRegister(register, bits), memory())
      : anyRegister(register, bits);
  }
  if (kind === Kind.mem) {
    return memory();
  }
  if (name.startsWith("br") && name.startsWith(`br${bits}_`)) {
    return fc.integer({ min: origin - 100, max: origin + 100 });
  }
  if (kind === Kind.farbr2_2 || kind === Kind.farbr4_2) {
    return fc
      .tuple(fc.nat(0xffff), fc.nat(0xffff))
      .map(([selector, offset]) => language.far(selector, offset));
  }
  return fixed[kind] === undefined ? immediates[kind] : fc.constant(fixed[kind]);
}

const isString = (kind: Kind) => kind === Kind.seg_rSI || kind === Kind.es_rDI;

function decodes(info: OpCodeInfo, bits: Bits): boolean {
  return { 16: info.intelDecoder16, 32: info.intelDecoder32, 64: info.intelDecoder64 }[bits];
}

/**
 * Left out: what iced decodes on request only, 3DNow!, FINIT and its like (two instructions: WAIT, FNINIT), reserved NOPs (they
 * share encodings), POP CS, VIA's MONTMUL (decoded with 32-bit addresses only), and forms whose operands must not be
 * drawn independently.
 */
function isWritable(info: OpCodeInfo): boolean {
  return (
    info.isInstruction &&
    info.decoderOption === 0 &&
    info.encoding !== EncodingKind.D3NOW &&
    !info.fwait &&
    !info.isReservedNop &&
    info.code !== Code.Popw_CS &&
    info.mnemonic !== Mnemonic.Montmul &&
    !info.requireOpMaskRegister &&
    !info.requiresUniqueDestRegNum
  );
}

function readSubjects(): Subject[] {
  const subjects: Subject[] = [];
  for (const code of Object.values(Code)) {
    if (typeof code !== "number") {
      continue;
    }
    const info = CodeExt.opCode(code);
    if (isWritable(info)) {
      subjects.push({
        code,
        mnemonic: info.mnemonic,
        kinds: Array.from({ length: info.opCount }, (_, operand) => info.opKind(operand)),
        memoryBits: 8 * MemorySizeExt.size(info.memorySize),
        modes: ([16, 32, 64] as const).filter(
          (bits) => decodes(info, bits) && (info.addressSize || bits) === bits,
        ),
      });
    }
    info.free();
  }
  return subjects;
}

interface Case {
  readonly subject: Subject;
  readonly bits: Bits;
  readonly operands: readonly Operand[];
}

/** All cases of a form in one mode; undefined if the language cannot write it. */
function casesOf(subject: Subject, bits: Bits): fc.Arbitrary<Case> | undefined {
  if (subject.kinds.some(isString)) {
    return fc.constant({ subject, bits, operands: [] });
  }
  const operands = subject.kinds.map((kind) => operandFor(kind, subject, bits));
  return operands.includes(undefined)
    ? undefined
    : fc
        .tuple(...operands.filter((one) => one !== undefined))
        .map((drawn) => ({ subject, bits, operands: drawn }));
}

function memoryOf(instruction: Instruction, bits: Bits) {
  return {
    base: instruction.memoryBase,
    index: instruction.memoryIndex,
    scale: instruction.memoryIndex === Register.None ? 1 : instruction.memoryIndexScale,
    displacement: BigInt.asUintN(bits === 64 ? 64 : 32, instruction.memoryDisplacement),
    segment: instruction.segmentPrefix,
  };
}

function memoryAsWritten(operand: language.MemoryOperand, bits: Bits) {
  return {
    base: operand.base?.register ?? Register.None,
    index: operand.index?.register ?? Register.None,
    scale: operand.index === undefined ? 1 : operand.scale,
    displacement: BigInt.asUintN(bits === 64 ? 64 : 32, BigInt(operand.displacement.toString())),
    segment: operand.segment?.register ?? Register.None,
  };
}

/** Widths in bits of immediates as the decoder reports them, sign extension included. */
const immediateWidths: ReadonlyMap<OpKind, number> = new Map([
  [OpKind.Immediate8, 8],
  [OpKind.Immediate8_2nd, 8],
  [OpKind.Immediate16, 16],
  [OpKind.Immediate8to16, 16],
  [OpKind.Immediate32, 32],
  [OpKind.Immediate8to32, 32],
  [OpKind.Immediate64, 64],
  [OpKind.Immediate8to64, 64],
  [OpKind.Immediate32to64, 64],
]);

function expectOperand(instruction: Instruction, position: number, operand: Operand, bits: Bits) {
  if (typeof operand === "number" || typeof operand === "bigint") {
    const width = immediateWidths.get(instruction.opKind(position));
    if (width === undefined) {
      expect(instruction.nearBranchTarget).toBe(BigInt(operand));
    } else {
      const immediate = BigInt.asUintN(width, instruction.immediate(position));
      expect(immediate).toBe(BigInt.asUintN(width, BigInt(operand)));
    }
  } else if (operand.kind === "register") {
    expect(instruction.opRegister(position)).toBe(operand.register);
  } else if (operand.kind === "memory") {
    expect(memoryOf(instruction, bits)).toEqual(memoryAsWritten(operand, bits));
  } else if (operand.kind === "far") {
    expect(instruction.farBranchSelector).toBe(operand.selector);
    expect(instruction.farBranch16 || instruction.farBranch32).toBe(operand.offset);
  } else {
    expect.unreachable("no labels are drawn");
  }
}

function assembled({ subject, bits, operands }: Case): Uint8Array {
  const asm = createAssembler({ origin, bits });
  try {
    asm.emit(subject.mnemonic, operands);
  } catch (error) {
    // Prefixes, address and immediate together may exceed what the processor decodes: not a case then.
    fc.pre(!String(error).includes("Instruction length > 15 bytes"));
    throw error;
  }
  return asm.assemble().bytes;
}

function expectRoundTrip(one: Case): void {
  const { subject, bits, operands } = one;
  const bytes = assembled(one);
  const decoder = new Decoder(bits, bytes, DecoderOptions.None);
  decoder.ip = BigInt(origin);
  const instruction = decoder.decode();
  expect(instruction.mnemonic).toBe(subject.mnemonic);
  expect(instruction.length).toBe(bytes.length);
  for (const [position, operand] of operands.entries()) {
    expectOperand(instruction, position, operand, bits);
  }
  instruction.free();
  decoder.free();
}

describe("what is assembled decodes to the same mnemonic and operands", () => {
  for (const bits of [16, 32, 64] as const) {
    it(`every form of ${bits}-bit code`, () => {
      let forms = 0;
      for (const subject of readSubjects()) {
        const cases = subject.modes.includes(bits) ? casesOf(subject, bits) : undefined;
        if (cases !== undefined) {
          forms++;
          fc.assert(fc.property(cases, expectRoundTrip), { numRuns: 3 });
        }
      }
      expect(forms).toBeGreaterThan(2900);
    });
  }
});
