import type { Semantics } from "./arithmetic.ts";
import * as arithmetic from "./arithmetic.ts";
import * as bits from "./bits.ts";
import * as transfer from "./control-transfer.ts";
import { all, binary, type Family, hotSizes, plain, words } from "./family.ts";
import * as logic from "./logic.ts";
import * as moves from "./moves.ts";
import * as shifts from "./shifts.ts";
import * as stack from "./stack.ts";

const alu = (
  mnemonic: string,
  semantics: Semantics,
  hot: readonly string[] | undefined,
): Family => ({
  mnemonic,
  sizes: all,
  patterns: binary,
  semantics,
  lock: "allowed",
  ...(hot ? { hot: { sizes: hotSizes, patterns: hot } } : {}),
});
const unaryAlu = (mnemonic: string, semantics: Semantics): Family => ({
  mnemonic,
  sizes: all,
  patterns: ["r-", "m-"],
  semantics,
  lock: "allowed",
  hot: { sizes: hotSizes, patterns: ["r-", "m-"] },
});
const shift = (mnemonic: string, semantics: Semantics, hot: boolean): Family => ({
  mnemonic,
  sizes: all,
  patterns: ["ri", "rr", "mi", "mr"],
  semantics,
  ...(hot ? { hot: { sizes: hotSizes, patterns: ["ri", "rr"] } } : {}),
});
const conditionNames = [
  "o",
  "no",
  "b",
  "ae",
  "e",
  "ne",
  "be",
  "a",
  "s",
  "ns",
  "p",
  "np",
  "l",
  "ge",
  "le",
  "g",
];
/** General-purpose integer instructions. */
export const integerFamilies: readonly Family[] = [
  alu("Add", arithmetic.ADD, binary),
  alu("Or", logic.OR, binary),
  alu("Adc", arithmetic.ADC, undefined),
  alu("Sbb", arithmetic.SBB, undefined),
  alu("And", logic.AND, binary),
  alu("Sub", arithmetic.SUB, binary),
  alu("Xor", logic.XOR, binary),
  {
    mnemonic: "Cmp",
    sizes: all,
    patterns: binary,
    semantics: arithmetic.CMP,
    hot: { sizes: all, patterns: binary },
  },
  {
    mnemonic: "Test",
    sizes: all,
    patterns: ["rr", "ri", "mr", "mi"],
    semantics: logic.TEST,
    hot: { sizes: all, patterns: ["rr", "ri", "mi"] },
  },
  {
    mnemonic: "Mov",
    sizes: all,
    patterns: binary,
    semantics: moves.MOV,
    hot: { sizes: all, patterns: binary },
  },
  unaryAlu("Inc", arithmetic.INC),
  unaryAlu("Dec", arithmetic.DEC),
  unaryAlu("Neg", arithmetic.NEG),
  unaryAlu("Not", logic.NOT),
  // SAL is the undocumented encoding of SHL.
  { ...shift("Shl", shifts.SHL, true), aliases: ["Sal"] },
  shift("Shr", shifts.SHR, true),
  shift("Sar", shifts.SAR, true),
  shift("Rol", shifts.ROL, true),
  shift("Ror", shifts.ROR, false),
  shift("Rcl", shifts.RCL, false),
  shift("Rcr", shifts.RCR, false),
  ...(["Shld", "Shrd"] as const).map(
    (mnemonic): Family => ({
      mnemonic,
      sizes: words,
      patterns: ["ri", "rr", "mi", "mr"],
      semantics: mnemonic === "Shld" ? shifts.SHLD : shifts.SHRD,
      roles: ["destination", "third", "source"],
    }),
  ),
  { mnemonic: "Mul", sizes: all, patterns: ["r-", "m-"], semantics: arithmetic.MUL },
  {
    mnemonic: "Imul",
    sizes: all,
    patterns: ["r-", "m-"],
    semantics: arithmetic.IMUL1,
    operands: 1,
  },
  {
    mnemonic: "Imul",
    sizes: words,
    patterns: ["rr", "rm"],
    semantics: arithmetic.IMUL2,
    operands: 2,
    hot: { sizes: hotSizes, patterns: ["rr", "rm"] },
  },
  {
    mnemonic: "Imul",
    sizes: words,
    patterns: ["rr", "rm"],
    semantics: arithmetic.IMUL3,
    operands: 3,
    hot: { sizes: hotSizes, patterns: ["rr"] },
  },
  { mnemonic: "Div", sizes: all, patterns: ["r-", "m-"], semantics: arithmetic.DIV },
  { mnemonic: "Idiv", sizes: all, patterns: ["r-", "m-"], semantics: arithmetic.IDIV },
  {
    mnemonic: "Xadd",
    sizes: all,
    patterns: ["rr", "mr"],
    semantics: arithmetic.XADD,
    lock: "allowed",
  },
  { mnemonic: "Adcx", sizes: hotSizes, patterns: ["rr", "rm"], semantics: arithmetic.ADCX },
  { mnemonic: "Adox", sizes: hotSizes, patterns: ["rr", "rm"], semantics: arithmetic.ADOX },
  {
    mnemonic: "Lea",
    sizes: words,
    patterns: ["rm"],
    semantics: moves.LEA,
    hot: { sizes: hotSizes, patterns: ["rm"] },
  },
  ...([1, 2] as const).map(
    (sourceSize): Family => ({
      mnemonic: "Movzx",
      sizes: words,
      patterns: ["rr", "rm"],
      semantics: moves.moveZeroExtended(sourceSize),
      sourceSize,
      hot: { sizes: [4], patterns: ["rr", "rm"] },
    }),
  ),
  ...([1, 2] as const).map(
    (sourceSize): Family => ({
      mnemonic: "Movsx",
      sizes: words,
      patterns: ["rr", "rm"],
      semantics: moves.moveSignExtended(sourceSize),
      sourceSize,
    }),
  ),
  {
    mnemonic: "Movsxd",
    sizes: words,
    patterns: ["rr", "rm"],
    semantics: (c) => (c.size === 2 ? c.write(c.source()) : moves.moveSignExtended(4)(c)),
    hot: { sizes: [8], patterns: ["rr", "rm"] },
  },
  {
    mnemonic: "Xchg",
    sizes: all,
    patterns: ["rr", "mr"],
    semantics: moves.XCHG,
    lock: "always",
    hot: { sizes: hotSizes, patterns: ["rr"] },
  },
  { mnemonic: "Movnti", sizes: hotSizes, patterns: ["mr"], semantics: moves.MOV },
  { mnemonic: "Bswap", sizes: words, patterns: ["r-"], semantics: moves.BSWAP },
  { mnemonic: "Movbe", sizes: words, patterns: ["rm", "mr"], semantics: moves.MOVBE },
  {
    mnemonic: "Cmpxchg",
    sizes: all,
    patterns: ["rr", "mr"],
    semantics: moves.CMPXCHG,
    lock: "allowed",
  },
  {
    mnemonic: "Cmpxchg8b",
    sizes: [8],
    patterns: ["m-"],
    semantics: moves.CMPXCHG8B,
    lock: "allowed",
  },
  {
    mnemonic: "Xlatb",
    sizes: [1],
    patterns: ["-m"],
    semantics: moves.XLAT,
    sizeFrom: "suffix",
    roles: ["source"],
  },
  ...conditionNames.map(
    (name, code): Family => ({
      mnemonic: `Cmov${name}`,
      sizes: words,
      patterns: ["rr", "rm"],
      semantics: moves.conditionalMove(code),
    }),
  ),
  ...conditionNames.map(
    (name, code): Family => ({
      mnemonic: `Set${name}`,
      sizes: [1],
      patterns: ["r-", "m-"],
      semantics: moves.setOnCondition(code),
    }),
  ),
  ...(
    [
      ["Cbw", 2],
      ["Cwde", 4],
      ["Cdqe", 8],
    ] as const
  ).map(
    ([mnemonic, size]): Family => ({
      mnemonic,
      sizes: [size],
      patterns: ["--"],
      semantics: moves.CONVERT_ACCUMULATOR,
      hot: { sizes: [8], patterns: ["--"] },
      sizeFrom: "suffix",
    }),
  ),
  ...(
    [
      ["Cwd", 2],
      ["Cdq", 4],
      ["Cqo", 8],
    ] as const
  ).map(
    ([mnemonic, size]): Family => ({
      mnemonic,
      sizes: [size],
      patterns: ["--"],
      semantics: moves.CONVERT_DOUBLE,
      sizeFrom: "suffix",
    }),
  ),
  plain("Lahf", moves.LAHF),
  plain("Sahf", moves.SAHF),
  plain("Clc", moves.CLC),
  plain("Stc", moves.STC),
  plain("Cmc", moves.CMC),
  plain("Cld", moves.CLD),
  plain("Std", moves.STD),
];

/** Near control transfers and the stack. */
export const transferFamilies: readonly Family[] = [
  ...conditionNames.map(
    (name, code): Family => ({
      mnemonic: `J${name}`,
      sizes: [8],
      patterns: ["--"],
      semantics: transfer.conditionalJump(code),
      sizeFrom: "suffix",
      transfer: true,
      hot: { sizes: [8], patterns: ["--"] },
    }),
  ),
  {
    mnemonic: "Jmp",
    sizes: [8],
    patterns: ["--"],
    semantics: transfer.JMP,
    sizeFrom: "suffix",
    transfer: true,
    hot: { sizes: [8], patterns: ["--"] },
  },
  {
    mnemonic: "Jmp",
    sizes: words,
    patterns: ["r-", "m-"],
    semantics: transfer.JMP_INDIRECT,
    transfer: true,
    hot: { sizes: [8], patterns: ["r-", "m-"] },
  },
  {
    mnemonic: "Call",
    sizes: words,
    patterns: ["--"],
    semantics: transfer.CALL,
    sizeFrom: "stack",
    stack: true,
    transfer: true,
    hot: { sizes: [8], patterns: ["--"] },
  },
  {
    mnemonic: "Call",
    sizes: words,
    patterns: ["r-", "m-"],
    semantics: transfer.CALL_INDIRECT,
    sizeFrom: "stack",
    stack: true,
    transfer: true,
    hot: { sizes: [8], patterns: ["r-", "m-"] },
  },
  {
    mnemonic: "Ret",
    sizes: words,
    patterns: ["--"],
    semantics: transfer.RET,
    roles: ["immediate"],
    sizeFrom: "suffix",
    stack: true,
    transfer: true,
    hot: { sizes: [8], patterns: ["--"] },
  },
  ...(
    [
      ["Loop", undefined],
      ["Loope", true],
      ["Loopne", false],
    ] as const
  ).map(
    ([mnemonic, zero]): Family => ({
      mnemonic,
      sizes: [8],
      patterns: ["--"],
      semantics: transfer.loopInstruction(zero),
      sizeFrom: "suffix",
      transfer: true,
      ...(mnemonic === "Loop" ? { hot: { sizes: [8], patterns: ["--"] } as const } : {}),
    }),
  ),
  ...["Jcxz", "Jecxz", "Jrcxz"].map(
    (mnemonic): Family => ({
      mnemonic,
      sizes: [8],
      patterns: ["--"],
      semantics: transfer.JCXZ,
      sizeFrom: "suffix",
      transfer: true,
    }),
  ),
  {
    mnemonic: "Push",
    sizes: words,
    patterns: ["-r", "-m", "-i"],
    semantics: stack.PUSH,
    roles: ["source"],
    sizeFrom: "stack",
    stack: true,
    hot: { sizes: [8], patterns: ["-r", "-m", "-i"] },
  },
  {
    mnemonic: "Pop",
    sizes: words,
    patterns: ["r-", "m-"],
    semantics: stack.POP,
    sizeFrom: "stack",
    stack: true,
    hot: { sizes: [8], patterns: ["r-"] },
  },
  {
    mnemonic: "Pusha",
    sizes: [2],
    patterns: ["--"],
    semantics: stack.PUSHA,
    sizeFrom: "suffix",
    stack: true,
  },
  {
    mnemonic: "Pushad",
    sizes: [4],
    patterns: ["--"],
    semantics: stack.PUSHA,
    sizeFrom: "suffix",
    stack: true,
  },
  {
    mnemonic: "Popa",
    sizes: [2],
    patterns: ["--"],
    semantics: stack.POPA,
    sizeFrom: "suffix",
    stack: true,
  },
  {
    mnemonic: "Popad",
    sizes: [4],
    patterns: ["--"],
    semantics: stack.POPA,
    sizeFrom: "suffix",
    stack: true,
  },
  {
    mnemonic: "Leave",
    sizes: words,
    patterns: ["--"],
    semantics: stack.LEAVE,
    sizeFrom: "suffix",
    stack: true,
    hot: { sizes: [8], patterns: ["--"] },
  },
  {
    mnemonic: "Enter",
    sizes: words,
    patterns: ["--"],
    semantics: stack.ENTER,
    sizeFrom: "suffix",
    stack: true,
    roles: ["immediate", "skip"],
  },
];

/** Instructions without effect on what the simulator models: hints, prefetches, fences among ordered accesses. */
const hintNames = [
  "Nop",
  "Endbr64",
  "Endbr32",
  "Prefetchnta",
  "Prefetcht0",
  "Prefetcht1",
  "Prefetcht2",
  "Prefetchw",
  "Prefetchwt1",
  "Prefetch",
  "Lfence",
  "Sfence",
  "Cldemote",
];
export const hintFamilies: readonly Family[] = [
  ...hintNames.map(
    (mnemonic): Family => ({
      mnemonic,
      sizes: [1],
      patterns: ["--"],
      semantics: moves.NOP,
      sizeFrom: "suffix",
      roles: ["skip", "skip"],
      ...(mnemonic === "Nop" ? { hot: { sizes: [1], patterns: ["--"] } as const } : {}),
    }),
  ),
  { mnemonic: "Mfence", sizes: [1], patterns: ["--"], semantics: bits.MFENCE },
  ...["Clflush", "Clflushopt", "Clwb"].map(
    (mnemonic): Family => ({
      mnemonic,
      sizes: [1],
      patterns: ["-m"],
      semantics: bits.CACHE_LINE,
      roles: ["source"],
    }),
  ),
];
