import {
  Code,
  CodeExt,
  CpuidFeature,
  Decoder,
  DecoderOptions,
  EncodingKind,
  Instruction,
  Mnemonic,
  OpCodeOperandKind,
} from "iced-x86";
import type { Mode } from "../../test/vectors/input-state.ts";
import type { Recipe } from "./recipe.ts";
import { floatRecipe, integerRecipe, sseRecipe } from "./recipe-table.ts";

/** How a form's r/m operand and prefixes are chosen. */
export interface Variant {
  readonly label: string;
  readonly memory: boolean;
  readonly lock: boolean;
  readonly repeat: "none" | "rep" | "repe" | "repne";
  /** Address size of a string instruction or XLAT; other forms choose one per case. */
  readonly addressBits: 16 | 32 | 64 | undefined;
}

export interface Form {
  readonly name: string;
  readonly code: Code;
  readonly codeName: string;
  readonly mnemonic: string;
  readonly mode: Mode;
  readonly operands: readonly string[];
  readonly variant: Variant;
  readonly recipe: Recipe;
  /** Bytes to record as they are, for encodings that no encoder makes because they must raise #UD. */
  readonly invalidBytes?: readonly number[];
}

const FEATURES = new Set([
  "INTEL8086",
  "INTEL186",
  "INTEL286",
  "INTEL386",
  "INTEL486",
  "X64",
  "CMOV",
  "BMI1",
  "BMI2",
  "ADX",
  "MOVBE",
  "POPCNT",
  "LZCNT",
  "CX8",
  "CMPXCHG16B",
  "SSE",
  "SSE2",
  "SSE4_2",
  "MULTIBYTENOP",
  "PAUSE",
  "PREFETCHW",
  "CLFSH",
]);

/**
 * Operand kinds left out: MMX, control, debug and segment registers, ports, far pointers, and branches with a 16-bit
 * instruction pointer (in 64-bit mode vendors disagree about them, in 32-bit mode they land in the first 64 KiB).
 */
const FOREIGN_OPERAND = /^(mm_|cr_|dr_|seg_reg|[c-g]s$|es$|ss$|dx$|farbr|br16)/;

/** Far branches, near ones through 16-bit operands (for the same reason), and BSWAP of 16 bits, which is undefined. */
const FOREIGN_CODE = /^((Jmp|Call)_(rm16|m16\d\d)|Retnw.*|Bswap_r16)$/;

const plain: Variant = {
  label: "",
  memory: false,
  lock: false,
  repeat: "none",
  addressBits: undefined,
};

function operandKinds(code: Code): string[] {
  const info = CodeExt.opCode(code);
  const kinds = Array.from({ length: info.opCount }, (_, i) => OpCodeOperandKind[info.opKind(i)]);
  info.free();
  return kinds.map((kind) => kind ?? "unknown");
}

function features(code: Code): string[] {
  const instruction = new Instruction();
  instruction.code = code;
  const names = [...instruction.cpuidFeatures()].map((feature) => CpuidFeature[feature] ?? "?");
  instruction.free();
  return names;
}

function stringVariants(mnemonic: string, mode: Mode): Variant[] {
  const compares = mnemonic.startsWith("Cmps") || mnemonic.startsWith("Scas");
  const repeats = compares ? (["none", "repe", "repne"] as const) : (["none", "rep"] as const);
  const sizes = mode === 64 ? ([64, 32] as const) : ([32, 16] as const);
  return sizes.flatMap((addressBits) =>
    repeats.map((repeat) => ({
      ...plain,
      label: `${repeat === "none" ? "" : `${repeat} `}a${addressBits}`,
      repeat,
      addressBits,
    })),
  );
}

function variantsOf(code: Code, mnemonic: string, operands: string[], mode: Mode): Variant[] {
  if (operands.includes("seg_rBX_al")) {
    const sizes = mode === 64 ? ([64, 32] as const) : ([32, 16] as const);
    return sizes.map((addressBits) => ({ ...plain, label: `a${addressBits}`, addressBits }));
  }
  if (operands.some((kind) => kind === "es_rDI" || kind === "seg_rSI")) {
    return stringVariants(mnemonic, mode);
  }
  const info = CodeExt.opCode(code);
  const lockable = info.canUseLockPrefix;
  info.free();
  const variants: Variant[] = [];
  const either = operands.some((kind) => kind.endsWith("_or_mem"));
  if (either) variants.push({ ...plain, label: "reg" });
  if (either || operands.some((kind) => kind === "mem" || kind === "mem_offs")) {
    variants.push({ ...plain, label: "mem", memory: true });
    if (lockable) variants.push({ ...plain, label: "lock mem", memory: true, lock: true });
  }
  return variants.length === 0 ? [plain] : variants;
}

/** Every recordable form of one instruction code in a mode; none if no recipe covers it. */
function formsOf(code: Code, mode: Mode, recipeFor: RecipeFor): Form[] {
  const info = CodeExt.opCode(code);
  const legible =
    info.isInstruction &&
    info.isAvailableInMode(mode) &&
    !info.isPrivileged &&
    (info.encoding === EncodingKind.Legacy || info.encoding === EncodingKind.VEX);
  const mnemonic = Mnemonic[info.mnemonic] ?? "?";
  info.free();
  const codeName = Code[code] ?? "?";
  if (!legible || FOREIGN_CODE.test(codeName)) return [];
  if (!features(code).every((name) => FEATURES.has(name))) return [];
  const operands = operandKinds(code);
  if (operands.some((kind) => FOREIGN_OPERAND.test(kind))) return [];
  return variantsOf(code, mnemonic, operands, mode).flatMap((variant) => {
    const recipe = recipeFor(mnemonic, operands, variant);
    if (recipe === undefined) return [];
    const name = variant.label === "" ? codeName : `${codeName} ${variant.label}`;
    return [{ name, code, codeName, mnemonic, mode, operands, variant, recipe }];
  });
}

type RecipeFor = (
  mnemonic: string,
  operands: readonly string[],
  variant: Variant,
) => Recipe | undefined;

function allForms(mode: Mode, recipeFor: RecipeFor): Form[] {
  const forms: Form[] = [];
  for (let code = 0; Code[code] !== undefined; code++)
    forms.push(...formsOf(code, mode, recipeFor));
  return forms;
}

/** UD2, LOCK where it is not allowed, and opcodes that 64-bit mode does not have. */
const INVALID_64: readonly (readonly number[])[] = [
  [0xf0, 0x01, 0xd8], // LOCK ADD EAX, EBX
  [0xf0, 0x03, 0x06], // LOCK ADD EAX, [RSI]
  [0xf0, 0x39, 0x06], // LOCK CMP [RSI], EAX
  [0xf0, 0x85, 0x06], // LOCK TEST [RSI], EAX
  [0xf0, 0x89, 0x06], // LOCK MOV [RSI], EAX
  [0xf0, 0x90], // LOCK NOP
  [0xf0, 0xd3, 0x26], // LOCK SHL dword [RSI], CL
  [0xf0, 0x0f, 0xa3, 0x06], // LOCK BT [RSI], EAX
  [0xf0, 0x0f, 0xb1, 0xc3], // LOCK CMPXCHG EBX, EAX
  [0xf0, 0x48, 0xf7, 0xd8], // LOCK NEG RAX
  [0x0f, 0x0b], // UD2
  [0x06], // PUSH ES
  [0x07], // POP ES
  [0x0e], // PUSH CS
  [0x16], // PUSH SS
  [0x17], // POP SS
  [0x1e], // PUSH DS
  [0x1f], // POP DS
  [0x27], // DAA
  [0x2f], // DAS
  [0x37], // AAA
  [0x3f], // AAS
  [0x60], // PUSHA
  [0x61], // POPA
  [0x82, 0xc0, 0x01], // alias of ADD AL, 1
  [0xce], // INTO
  [0xd4, 0x0a], // AAM
  [0x8d, 0xc0], // LEA with a register operand
  [0xfe, 0xf8], // group 4, /7
  [0xff, 0xf8], // group 5, /7
  [0x0f, 0xc7, 0xc8], // CMPXCHG8B with a register operand
  [0x0f, 0xba, 0xc0, 0x01], // group 8, /0
];

function invalidForms(): Form[] {
  return INVALID_64.map((invalidBytes) => {
    const { code } = decodedCode(Uint8Array.from(invalidBytes), 64);
    const codeName = Code[code] ?? "?";
    const info = CodeExt.opCode(code);
    const mnemonic = Mnemonic[info.mnemonic] ?? "?";
    info.free();
    const bytes = invalidBytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const recipe = { cases: 2 };
    const name = `${codeName} ${bytes}`;
    return {
      name,
      code,
      codeName,
      mnemonic,
      mode: 64,
      operands: [],
      variant: plain,
      recipe,
      invalidBytes,
    };
  });
}

/** A decoded instruction's code, to see that an encoding is the form it was made for. */
export function decodedCode(bytes: Uint8Array, mode: Mode): { code: Code; length: number } {
  const decoder = new Decoder(mode, bytes, DecoderOptions.None);
  const instruction = decoder.decode();
  const { code, length } = instruction;
  instruction.free();
  decoder.free();
  return { code, length };
}

/** Codes that only 16- and 32-bit code can use are recorded in full there; the rest is a cross-check. */
function in32BitMode(form: Form): Form {
  const info = CodeExt.opCode(form.code);
  const alsoIn64 = info.isAvailableInMode(64);
  info.free();
  if (!alsoIn64) return form;
  return { ...form, recipe: { ...form.recipe, cases: Math.min(form.recipe.cases, 16) } };
}

export const formsByFile = {
  "integer-64": () => [...allForms(64, integerRecipe), ...invalidForms()],
  "integer-32": () => allForms(32, integerRecipe).map(in32BitMode),
  "sse-64": () => allForms(64, sseRecipe),
  "float-64": () => allForms(64, floatRecipe),
};
