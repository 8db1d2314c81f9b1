import { assert, present } from "../base/assert.ts";
import { encode, type Written } from "./assembler-encoder.ts";
import type { Bits, Form } from "./assembler-forms.ts";
import { Expression, type Label, type Value } from "./assembler-operands.ts";

/** From statements to bytes: where everything stands, and which form of each instruction its labels need. */

/** What is wrong with the program being assembled, in one line. */
export class AssemblyError extends Error {
  override readonly name = "AssemblyError";
}

/** A run of code of one size, or of data. */
export interface Span {
  /** The code size; undefined for data. */
  readonly bits: Bits | undefined;
  /** Byte offset in the image. */
  readonly offset: number;
  readonly length: number;
  /** The address the span is assembled for. */
  readonly address: bigint;
}

export interface Assembly {
  readonly bytes: Uint8Array;
  readonly origin: bigint;
  /** First address after the program and what it reserves. */
  readonly end: bigint;
  readonly symbols: ReadonlyMap<string, bigint>;
  readonly spans: readonly Span[];
}

export interface InstructionStatement {
  readonly kind: "instruction";
  readonly text: string;
  readonly written: Written;
  /**
   * Shortest first, each with its encoding for labels that are near and small: the real one is as long. The layout
   * moves on to a longer form when a value turns out not to fit.
   */
  readonly forms: readonly { readonly form: Form; readonly bytes: Uint8Array }[];
  chosen: number;
  /** Whether the encoding depends on an address or a label. */
  readonly moves: boolean;
}

export type Statement =
  | InstructionStatement
  | { readonly kind: "label"; readonly label: Label }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "values"; readonly width: 1 | 2 | 4 | 8; readonly values: readonly Value[] }
  | { readonly kind: "align"; readonly to: number; readonly fill: number }
  | { readonly kind: "reserve"; readonly count: number }
  | { readonly kind: "bss" }
  | { readonly kind: "runAt"; readonly address: bigint | undefined };

/** The addresses and bytes of a program, refined pass by pass. */
export class Layout {
  readonly #origin: bigint;
  readonly #statements: readonly Statement[];
  readonly #addresses = new Map<Label, bigint>();
  #measuring = true;
  /** Whether an instruction of this pass needed a longer form. */
  #widened = false;
  #chunks: Uint8Array[] = [];
  #spans: Span[] = [];
  #offset = 0;
  #stored: number | undefined;
  /** Address of the current statement minus its offset. */
  #base = 0n;
  #lastLabel = "the start";

  constructor(origin: bigint, statements: readonly Statement[]) {
    this.#origin = origin;
    this.#statements = statements;
  }

  /**
   * Measures with the forms chosen so far, which gives every label its address, then encodes; and again if a form had
   * to be widened. Forms only ever grow, so that comes to an end.
   */
  run(): Assembly {
    do {
      this.#pass(true);
      this.#pass(false);
    } while (this.#widened);
    return this.#result();
  }

  #pass(measuring: boolean): void {
    this.#measuring = measuring;
    this.#widened = false;
    this.#chunks = [];
    this.#spans = [];
    this.#offset = 0;
    this.#stored = undefined;
    this.#base = this.#origin;
    for (const statement of this.#statements) {
      this.#place(statement);
    }
  }

  #result(): Assembly {
    const stored = this.#stored ?? this.#offset;
    const bytes = new Uint8Array(stored);
    let offset = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, offset);
      offset += chunk.length;
    }
    assert(offset === stored, "the chunks fill the image");
    return {
      bytes,
      origin: this.#origin,
      end: this.#origin + BigInt(this.#offset),
      symbols: new Map([...this.#addresses].map(([label, address]) => [label.name, address])),
      spans: this.#spans,
    };
  }

  get #address(): bigint {
    return this.#base + BigInt(this.#offset);
  }

  #place(statement: Statement): void {
    switch (statement.kind) {
      case "label":
        this.#addresses.set(statement.label, this.#address);
        this.#lastLabel = statement.label.name;
        break;
      case "instruction":
        this.#append(this.#encode(statement), statement.written.bits);
        break;
      case "bytes":
        this.#append(statement.bytes, undefined);
        break;
      case "values":
        this.#append(this.#values(statement.width, statement.values), undefined);
        break;
      case "align": {
        const beyond = Number(this.#address % BigInt(statement.to));
        this.#fill(beyond === 0 ? 0 : statement.to - beyond, statement.fill);
        break;
      }
      case "reserve":
        this.#fill(statement.count, 0);
        break;
      case "bss":
        this.#stored = this.#offset;
        break;
      case "runAt":
        this.#base =
          statement.address === undefined ? this.#origin : statement.address - BigInt(this.#offset);
        break;
    }
  }

  #fill(count: number, value: number): void {
    if (this.#stored === undefined) {
      this.#append(new Uint8Array(count).fill(value), undefined);
    } else {
      this.#offset += count;
    }
  }

  #append(bytes: Uint8Array, bits: Bits | undefined): void {
    if (bytes.length === 0) {
      return;
    }
    const address = this.#address;
    const last = this.#spans.at(-1);
    const continues =
      last !== undefined && last.bits === bits && last.address + BigInt(last.length) === address;
    if (continues) {
      this.#spans[this.#spans.length - 1] = { ...last, length: last.length + bytes.length };
    } else {
      this.#spans.push({ bits, offset: this.#offset, length: bytes.length, address });
    }
    this.#chunks.push(bytes);
    this.#offset += bytes.length;
  }

  #encode(statement: InstructionStatement): Uint8Array {
    const choice = present(statement.forms[statement.chosen], "a form is chosen");
    if (this.#measuring || !statement.moves) {
      return choice.bytes;
    }
    const encoded = encode(choice.form, statement.written, this.#address, (value) =>
      this.#resolve(value, statement.text),
    );
    if (encoded instanceof Uint8Array) {
      assert(encoded.length === choice.bytes.length, `${statement.text} has the measured length`);
      return encoded;
    }
    statement.chosen++;
    if (statement.chosen === statement.forms.length) {
      throw this.#error(`out of range: ${statement.text} (${encoded.refusal})`);
    }
    this.#widened = true;
    return choice.bytes;
  }

  #values(width: 1 | 2 | 4 | 8, values: readonly Value[]): Uint8Array {
    const bytes = new Uint8Array(width * values.length);
    if (this.#measuring) {
      return bytes;
    }
    const view = new DataView(bytes.buffer);
    const bits = BigInt(8 * width);
    for (const [index, value] of values.entries()) {
      const number = this.#resolve(value, `u${bits}`);
      if (number < -(1n << (bits - 1n)) || number >= 1n << bits) {
        throw this.#error(`0x${number.toString(16)} does not fit in ${bits} bits`);
      }
      for (let byte = 0; byte < width; byte++) {
        view.setUint8(index * width + byte, Number((number >> BigInt(8 * byte)) & 0xffn));
      }
    }
    return bytes;
  }

  #resolve(value: Value, user: string): bigint {
    if (typeof value !== "object") {
      return BigInt(value);
    }
    if (value instanceof Expression) {
      const start = value.subtracted === undefined ? 0n : this.#locate(value.subtracted, user);
      return this.#locate(value.label, user) - start + value.addend;
    }
    return this.#locate(value, user);
  }

  #locate(label: Label, user: string): bigint {
    const address = this.#addresses.get(label);
    if (address === undefined) {
      throw this.#error(`undefined label ${label.name} in: ${user}`);
    }
    return address;
  }

  #error(message: string): AssemblyError {
    return new AssemblyError(`${message}, after ${this.#lastLabel}`);
  }
}
