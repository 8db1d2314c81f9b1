import { Code, Mnemonic, Register } from "iced-x86";
import { assert, present } from "../base/assert.ts";
import { type Encoded, encode, type Written } from "./assembler-encoder.ts";
import {
  type Bits,
  branchKinds,
  type Form,
  formOf,
  formsOf,
  isAmbiguous,
  matchingForms,
  type Prefix,
} from "./assembler-forms.ts";
import {
  type Assembly,
  AssemblyError,
  type InstructionStatement,
  Layout,
  type Statement,
} from "./assembler-layout.ts";
import { aliases, type CodeName, type MnemonicMethods } from "./assembler-mnemonics.ts";
import { Label, type Operand, type Value } from "./assembler-operands.ts";

/**
 * An assembler whose instructions are method calls: `asm.mov(rax, mem64(rdi, { disp: 8 }))`. Every mnemonic that iced
 * knows is a method in lower case; iced encodes. Of the forms that fit the operands the shortest is taken, and branches
 * are widened until the program is laid out. AVX-512 masks and broadcasts cannot be written.
 */

type Method = (this: Emitter, ...operands: Operand[]) => void;

/** Receives the mnemonic methods; see the end of this file. */
abstract class Emitter {
  abstract emit(mnemonic: Mnemonic, operands: readonly Operand[]): void;
}

class PrefixedEmitter extends Emitter {
  readonly #assembler: AssemblerCore;
  readonly #prefix: Prefix;

  constructor(assembler: AssemblerCore, prefix: Prefix) {
    super();
    this.#assembler = assembler;
    this.#prefix = prefix;
  }

  override emit(mnemonic: Mnemonic, operands: readonly Operand[]): void {
    this.#assembler.instruction(mnemonicText(mnemonic), formsOf(mnemonic), operands, this.#prefix);
  }
}

function mnemonicText(mnemonic: Mnemonic): string {
  return present(Mnemonic[mnemonic], "a mnemonic has a name").toLowerCase();
}

function describe(operand: Operand): string {
  if (typeof operand !== "object") {
    return String(operand);
  }
  switch (operand.kind) {
    case "register":
      return present(Register[operand.register], "a register has a name").toLowerCase();
    case "memory":
      return operand.bits === 0 ? "mem" : `mem${operand.bits}`;
    case "far":
      return "far";
    case "label":
      return operand.name;
    case "expression":
      return `${operand.label.name}+…`;
  }
}

function dependsOnLabel(operand: Operand): boolean {
  if (typeof operand !== "object") {
    return false;
  }
  switch (operand.kind) {
    case "register":
      return false;
    case "memory":
      return typeof operand.displacement === "object";
    case "far":
      return typeof operand.offset === "object";
    default:
      return true;
  }
}

const isBranch = (form: Form) => form.operandKinds.some((kind) => branchKinds.has(kind));
const labelsAsZero = (value: Value) => (typeof value === "object" ? 0n : BigInt(value));

/** Encodes with labels taken as small and branch targets as near. */
function encodeOptimistically(form: Form, written: Written): Encoded {
  return encode(form, written, 0n, isBranch(form) ? () => 0n : labelsAsZero);
}

class AssemblerCore extends Emitter {
  readonly lock: MnemonicMethods = prefixed(this, "lock");
  readonly rep: MnemonicMethods = prefixed(this, "rep");
  readonly repe: MnemonicMethods = prefixed(this, "repe");
  readonly repne: MnemonicMethods = prefixed(this, "repne");
  readonly #origin: bigint;
  #bits: Bits;
  readonly #statements: Statement[] = [];
  readonly #names = new Set<string>();
  readonly #placed = new Set<Label>();
  #storing = true;

  constructor(origin: bigint, bits: Bits) {
    super();
    this.#origin = origin;
    this.#bits = bits;
  }

  /** The code size of what follows. */
  bits(bits: Bits): void {
    this.#bits = bits;
  }

  /** A label to be placed later. Names are unique: they become the symbol table. */
  label(name: string): Label {
    if (this.#names.has(name)) {
      throw new AssemblyError(`label ${name} exists already`);
    }
    this.#names.add(name);
    return new Label(name);
  }

  /** Places a label here; a name makes a new one. */
  here(label: Label | string): Label {
    const placed = typeof label === "string" ? this.label(label) : label;
    if (this.#placed.has(placed)) {
      throw new AssemblyError(`label ${placed.name} is placed twice`);
    }
    this.#placed.add(placed);
    this.#statements.push({ kind: "label", label: placed });
    return placed;
  }

  bytes(bytes: Iterable<number>): void {
    this.#store({ kind: "bytes", bytes: Uint8Array.from(bytes) });
  }

  u8(...values: Value[]): void {
    this.#store({ kind: "values", width: 1, values });
  }

  u16(...values: Value[]): void {
    this.#store({ kind: "values", width: 2, values });
  }

  u32(...values: Value[]): void {
    this.#store({ kind: "values", width: 4, values });
  }

  u64(...values: Value[]): void {
    this.#store({ kind: "values", width: 8, values });
  }

  /** The characters of `text`, one byte each, without a terminator. */
  ascii(text: string): void {
    for (const character of text) {
      if (character.charCodeAt(0) > 0x7f) {
        throw new AssemblyError(`not an ASCII character: ${character}`);
      }
    }
    this.bytes(new TextEncoder().encode(text));
  }

  /** Moves on to the next multiple of `to` bytes. */
  align(to: number, fill = 0): void {
    if (!Number.isInteger(to) || to <= 0) {
      throw new AssemblyError(`cannot align to ${to} bytes`);
    }
    this.#statements.push({ kind: "align", to, fill });
  }

  /** `count` bytes of zeros; after `bss` they take no room in the image. */
  reserve(count: number): void {
    this.#statements.push({ kind: "reserve", count });
  }

  /** From here on nothing is stored: labels, `align` and `reserve` lay out memory that the loader clears. */
  bss(): void {
    this.#statements.push({ kind: "bss" });
    this.#storing = false;
  }

  /** Assembles what `body` emits for running at `address`, though it is stored here: for code that will be copied. */
  runAt(address: number | bigint, body: () => void): void {
    this.#statements.push({ kind: "runAt", address: BigInt(address) });
    body();
    this.#statements.push({ kind: "runAt", address: undefined });
  }

  /** Emits one particular form by iced's name for it, where the choice matters: `asm.form("Retfq")`. */
  form(name: CodeName, ...operands: Operand[]): void {
    const form = formOf(Code[name]);
    this.instruction(name, form === undefined ? [] : [form], operands, undefined);
  }

  override emit(mnemonic: Mnemonic, operands: readonly Operand[]): void {
    this.instruction(mnemonicText(mnemonic), formsOf(mnemonic), operands, undefined);
  }

  /** Adds an instruction in whichever of `forms` fits. */
  instruction(
    name: string,
    forms: readonly Form[],
    operands: readonly Operand[],
    prefix: Prefix | undefined,
  ): void {
    const bits = this.#bits;
    const text = `${name} ${operands.map(describe).join(", ")}`.trimEnd();
    const matching = matchingForms(forms, operands, bits);
    if (matching.length === 0) {
      throw new AssemblyError(`no such form in ${bits}-bit code: ${text}`);
    }
    if (isAmbiguous(matching, operands)) {
      throw new AssemblyError(`the size of the memory operand is missing: ${text}`);
    }
    const allowed = matching.filter((form) => prefix === undefined || form.prefixes.has(prefix));
    if (allowed.length === 0) {
      throw new AssemblyError(`no ${prefix} prefix is possible: ${text}`);
    }
    this.#store(this.#choose(text, { operands, bits, prefix }, allowed));
  }

  /** Sorts the forms by length, with labels taken as near and small. */
  #choose(text: string, written: Written, forms: readonly Form[]): InstructionStatement {
    const encodings = forms.map((form) => ({
      form,
      encoded: encodeOptimistically(form, written),
    }));
    const possible = encodings
      .flatMap(({ form, encoded }) =>
        encoded instanceof Uint8Array ? [{ form, bytes: encoded }] : [],
      )
      .sort((left, right) => left.bytes.length - right.bytes.length);
    const [shortest] = possible;
    if (shortest === undefined) {
      throw new AssemblyError(`cannot be encoded: ${text} (${refusalOf(encodings[0]?.encoded)})`);
    }
    const moves = written.operands.some(dependsOnLabel) || isBranch(shortest.form);
    return {
      kind: "instruction",
      text,
      written,
      forms: possible,
      chosen: 0,
      moves,
    };
  }

  #store(statement: Statement): void {
    if (!this.#storing) {
      throw new AssemblyError("only labels, align and reserve may follow bss");
    }
    this.#statements.push(statement);
  }

  /** Lays the program out and encodes it. */
  assemble(): Assembly {
    return new Layout(this.#origin, this.#statements).run();
  }
}

function refusalOf(encoded: Encoded | undefined): string {
  return encoded === undefined || encoded instanceof Uint8Array ? "" : encoded.refusal;
}

function prefixed(assembler: AssemblerCore, prefix: Prefix): MnemonicMethods {
  return new PrefixedEmitter(assembler, prefix) as unknown as MnemonicMethods;
}

function defineMnemonicMethods(): void {
  const define = (name: string, mnemonic: Mnemonic) => {
    const method: Method = function (...operands) {
      this.emit(mnemonic, operands);
    };
    assert(!(name in AssemblerCore.prototype), `mnemonic ${name} would hide a directive`);
    Object.defineProperty(Emitter.prototype, name, { value: method });
  };
  const byName = new Map<string, Mnemonic>();
  for (const mnemonic of Object.values(Mnemonic)) {
    if (typeof mnemonic === "number" && mnemonic !== Mnemonic.INVALID) {
      byName.set(mnemonicText(mnemonic), mnemonic);
    }
  }
  for (const [name, mnemonic] of byName) {
    define(name, mnemonic);
  }
  for (const [alias, name] of Object.entries(aliases)) {
    define(alias, present(byName.get(name), `alias ${alias} names a mnemonic`));
  }
}

defineMnemonicMethods();

export type Assembler = AssemblerCore & MnemonicMethods;

/** A new program that starts at `origin` with code of `bits` bits. */
export function createAssembler(options: { origin: number | bigint; bits: Bits }): Assembler {
  return new AssemblerCore(BigInt(options.origin), options.bits) as Assembler;
}
