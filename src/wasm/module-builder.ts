import { assert } from "../base/assert.ts";
import { type Code, flatten } from "./code.ts";
import { type ValueType, valueTypeCode } from "./expression.ts";
import type { FunctionBuilder } from "./function-builder.ts";
import { signed, unsigned } from "./leb128.ts";

interface Signature {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
}

const name = (text: string): Code => [
  unsigned(text.length),
  ...[...text].map((c) => c.charCodeAt(0)),
];
const vector = (items: readonly Code[]): Code => [unsigned(items.length), ...items];

/** Builds a module that imports one shared memory and host functions, all from the import module "host". */
export class ModuleBuilder {
  readonly #signatures: Signature[] = [];
  readonly #imports: { name: string; type: number }[] = [];
  readonly #globals: { name: string; type: ValueType }[] = [];
  readonly #functions: { type: number; body: FunctionBuilder; export: string | undefined }[] = [];
  readonly #table: number[] = [];
  #tableExport: string | undefined;

  signature(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const found = this.#signatures.findIndex(
      (s) => s.parameters.join() === parameters.join() && s.results.join() === results.join(),
    );
    return found >= 0 ? found : this.#signatures.push({ parameters, results }) - 1;
  }

  /** Imports a host function; all imports come before the first function. @returns its function index */
  importFunction(
    importName: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
  ): number {
    assert(this.#functions.length === 0, "imports come first");
    return this.#imports.push({ name: importName, type: this.signature(parameters, results) }) - 1;
  }

  /** Imports an immutable global. @returns its index */
  importGlobal(importName: string, type: ValueType): number {
    return this.#globals.push({ name: importName, type }) - 1;
  }

  /** @returns the function's index */
  add(body: FunctionBuilder, exportName?: string): number {
    const type = this.signature(
      body.parameters.map((parameter) => parameter.type),
      body.results,
    );
    this.#functions.push({ type, body, export: exportName });
    return this.#imports.length + this.#functions.length - 1;
  }

  /** Index that the next `add` will return. */
  get nextFunction(): number {
    return this.#imports.length + this.#functions.length;
  }

  /** Puts a function into the indirect-call table. @returns its place there */
  addToTable(functionIndex: number): number {
    return this.#table.push(functionIndex) - 1;
  }

  /** Makes the indirect-call table visible, so that functions of other modules can be put behind its own. */
  exportTable(exportName: string): void {
    this.#tableExport = exportName;
  }

  /** @param memoryPages exact size of the shared memory that will be given */
  finish(minimumPages: number, maximumPages: number): Uint8Array {
    const sections: (readonly number[])[] = [[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]];
    const section = (id: number, content: Code): void => {
      const bytes: number[] = [];
      flatten(content, bytes);
      sections.push([id, ...unsigned(bytes.length)], bytes);
    };
    const types = (list: readonly ValueType[]): Code =>
      vector(list.map((type) => [valueTypeCode[type]]));
    section(1, vector(this.#signatures.map((s) => [0x60, types(s.parameters), types(s.results)])));
    section(
      2,
      vector([
        [name("host"), name("memory"), 0x02, 0x03, unsigned(minimumPages), unsigned(maximumPages)],
        ...this.#imports.map((i) => [name("host"), name(i.name), 0x00, unsigned(i.type)]),
        ...this.#globals.map((g) => [name("host"), name(g.name), 0x03, valueTypeCode[g.type], 0]),
      ]),
    );
    section(3, vector(this.#functions.map((f) => unsigned(f.type))));
    section(4, vector([[0x70, 0, unsigned(this.#table.length)]]));
    const exported = this.#functions.flatMap((f, index) =>
      f.export === undefined
        ? []
        : [[name(f.export), 0x00, unsigned(this.#imports.length + index)]],
    );
    const table = this.#tableExport;
    section(7, vector(table === undefined ? exported : [...exported, [name(table), 0x01, 0]]));
    if (this.#table.length > 0) {
      section(9, vector([[0, 0x41, signed(0), 0x0b, vector(this.#table.map(unsigned))]]));
    }
    const bodies = this.#functions.map(({ body }) => body.finish());
    const count = unsigned(bodies.length);
    sections.push([10, ...unsigned(count.length + totalLength(bodies))], count, ...bodies);
    return joined(sections);
  }
}

function totalLength(parts: readonly (readonly number[])[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}
function joined(parts: readonly (readonly number[])[]): Uint8Array {
  const bytes = new Uint8Array(totalLength(parts));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Value of an imported global. */
export function globalValue<T extends ValueType>(
  type: T,
  index: number,
): { readonly type: T; readonly code: Code } {
  return { type, code: [0x23, unsigned(index)] };
}
