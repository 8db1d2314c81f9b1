/** The part of the WebAssembly JavaScript interface the project uses; Node's types leave it to the DOM library. */
declare namespace WebAssembly {
  type ImportValue = ((...args: never[]) => unknown) | Memory | Table | Global | number;
  type Imports = Record<string, Record<string, ImportValue>>;
  interface MemoryDescriptor {
    readonly initial: number;
    readonly maximum?: number;
    readonly shared?: boolean;
  }
  class Memory {
    constructor(descriptor: MemoryDescriptor);
    readonly buffer: SharedArrayBuffer;
  }
  class Table {
    constructor(descriptor: {
      readonly element: "anyfunc";
      readonly initial: number;
      readonly maximum?: number;
    });
    readonly length: number;
    get(index: number): unknown;
    set(index: number, value: unknown): void;
    /** @returns the length before */
    grow(by: number): number;
  }
  class Global {
    constructor(
      descriptor: { readonly value: "i32" | "i64"; readonly mutable?: boolean },
      value: number | bigint,
    );
    value: number | bigint;
  }
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports?: Imports);
    readonly exports: Record<string, unknown>;
  }
  class RuntimeError extends Error {}
  class CompileError extends Error {}
  function validate(bytes: Uint8Array): boolean;
}
