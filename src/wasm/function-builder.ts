import { assert } from "../base/assert.ts";
import { type Code, flatten } from "./code.ts";
import {
  type AccessSize,
  type Expression,
  type I32,
  type I64,
  type V128,
  type ValueType,
  valueTypeCode,
} from "./expression.ts";
import { unsigned } from "./leb128.ts";

/** A local variable; as an expression it is its value. */
export interface Local<T extends ValueType = ValueType> extends Expression<T> {
  readonly index: number;
}

/** A place that a branch can go to: the end of a block, the start of a loop. */
export interface Label {
  readonly depth: number;
}

const storeOpcode = { 1: 0x3c, 2: 0x3d, 4: 0x3e, 8: 0x37 } as const;

/** Builds one function body statement by statement. Temporaries come from a pool: many locals make compilers slow. */
export class FunctionBuilder {
  readonly parameters: readonly Local[];
  readonly results: readonly ValueType[];
  readonly #types: ValueType[] = [];
  readonly #body: number[] = [];
  readonly #pool = new Map<ValueType, Local[]>();
  readonly #taken: Local[] = [];
  #depth = 0;

  constructor(parameterTypes: readonly ValueType[], results: readonly ValueType[]) {
    this.parameters = parameterTypes.map((type) => this.local(type));
    this.results = results;
  }

  parameter<T extends ValueType>(index: number, type: T): Local<T> {
    const local = this.parameters[index];
    assert(local !== undefined && local.type === type, "no such parameter");
    return local as Local<T>;
  }

  /** A named local, kept for the whole function. */
  local<T extends ValueType>(type: T): Local<T> {
    const index = this.#types.push(type) - 1;
    return { type, index, code: [0x20, unsigned(index)] };
  }

  /** Evaluates into a temporary, which lives until the enclosing `scope` ends. */
  let<T extends ValueType>(value: Expression<T>): Local<T> {
    const free = this.#pool.get(value.type)?.pop() as Local<T> | undefined;
    const local = free ?? this.local(value.type);
    this.#taken.push(local);
    this.set(local, value);
    return local;
  }

  /** Runs `emit` and gives back the temporaries it took. */
  scope(emit: () => void): void {
    const mark = this.#taken.length;
    emit();
    if (this.#taken.length === mark) {
      return;
    }
    for (const local of this.#taken.splice(mark)) {
      const pool = this.#pool.get(local.type);
      if (pool) {
        pool.push(local);
      } else {
        this.#pool.set(local.type, [local]);
      }
    }
  }

  set<T extends ValueType>(local: Local<T>, value: Expression<T>): void {
    this.#emit(value.code, [0x21, unsigned(local.index)]);
  }

  /** Sets a local and yields its value, as an expression. */
  tee<T extends ValueType>(local: Local<T>, value: Expression<T>): Expression<T> {
    return { type: value.type, code: [value.code, 0x22, unsigned(local.index)] };
  }

  /** Stores the low `size` bytes of an i64. */
  store(size: AccessSize, address: I32, value: I64, offset = 0): void {
    this.#emit(address.code, value.code, [storeOpcode[size], 0, unsigned(offset)]);
  }
  store32(address: I32, value: I32, offset = 0): void {
    this.#emit(address.code, value.code, [0x36, 0, unsigned(offset)]);
  }
  store16(address: I32, value: I32, offset = 0): void {
    this.#emit(address.code, value.code, [0x3b, 0, unsigned(offset)]);
  }
  storeVector(address: I32, value: V128, offset = 0): void {
    this.#emit(address.code, value.code, [0xfd, 0x0b, 0, unsigned(offset)]);
  }
  atomicStore32(address: I32, value: I32, offset = 0): void {
    this.#emit(address.code, value.code, [0xfe, 0x17, 2, unsigned(offset)]);
  }

  /** Full memory barrier. */
  fence(): void {
    this.#emit([0xfe, 0x03, 0x00]);
  }

  call(functionIndex: number, ...operands: readonly Expression[]): void {
    this.#emit(...operands.map((operand) => operand.code), [0x10, unsigned(functionIndex)]);
  }

  /** Evaluates for its effect. */
  drop(value: Expression): void {
    this.#emit(value.code, [0x1a]);
  }

  block(emit: (end: Label) => void): void {
    this.#structure(0x02, emit);
  }
  loop(emit: (start: Label) => void): void {
    this.#structure(0x03, emit);
  }
  if(condition: I32, then: () => void, otherwise?: () => void): void {
    this.#emit(condition.code, [0x04, 0x40]);
    this.#depth += 1;
    then();
    if (otherwise) {
      this.#emit(0x05);
      otherwise();
    }
    this.#depth -= 1;
    this.#emit(0x0b);
  }
  branch(label: Label): void {
    this.#emit([0x0c, unsigned(this.#depth - label.depth)]);
  }
  branchIf(label: Label, condition: I32): void {
    this.#emit(condition.code, [0x0d, unsigned(this.#depth - label.depth)]);
  }
  /** Goes to `labels[selector]`, or to `otherwise`. */
  branchTable(selector: I32, labels: readonly Label[], otherwise: Label): void {
    const depths = [...labels, otherwise].map((label) => unsigned(this.#depth - label.depth));
    this.#emit(selector.code, [0x0e, unsigned(labels.length)], depths);
  }
  return(value: Expression): void {
    this.#emit(value.code, [0x0f]);
  }
  unreachable(): void {
    this.#emit(0x00);
  }
  /** Leaves a value as the function's result, last of all. */
  result(value: Expression): void {
    this.#emit(value.code);
  }
  /** Calls `table[index]` and sets `result`, if any. */
  callIndirect(
    typeIndex: number,
    index: I32,
    operands: readonly Expression[],
    result?: Local,
  ): void {
    this.#emit(...operands.map((operand) => operand.code), index.code, [
      0x11,
      unsigned(typeIndex),
      0,
    ]);
    if (result) {
      this.#emit([0x21, unsigned(result.index)]);
    }
  }

  /** The code entry: size, locals, body. */
  finish(): readonly number[] {
    assert(this.#depth === 0, "a block is still open");
    assert(this.#taken.length === 0, "a temporary was taken outside any scope");
    const locals = this.#types.slice(this.parameters.length);
    const runs: [ValueType, number][] = [];
    for (const type of locals) {
      const last = runs.at(-1);
      if (last?.[0] === type) {
        last[1] += 1;
      } else {
        runs.push([type, 1]);
      }
    }
    const header: number[] = [];
    flatten(
      [unsigned(runs.length), runs.map(([type, count]) => [unsigned(count), valueTypeCode[type]])],
      header,
    );
    const size = header.length + this.#body.length + 1;
    return [...unsigned(size), ...header].concat(this.#body, 0x0b);
  }

  #structure(opcode: number, emit: (label: Label) => void): void {
    this.#emit([opcode, 0x40]);
    this.#depth += 1;
    emit({ depth: this.#depth });
    this.#depth -= 1;
    this.#emit(0x0b);
  }

  #emit(...code: Code): void {
    flatten(code, this.#body);
  }
}
