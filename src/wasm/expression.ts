import type { Code } from "./code.ts";
import { signed, unsigned } from "./leb128.ts";

/** Value types, with their codes in the binary format. */
export const valueTypeCode = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValueType = keyof typeof valueTypeCode;

/**
 * A piece of straight-line code that leaves one value. It holds no branch labels, so it may be placed anywhere; placing it
 * twice evaluates it twice.
 */
export interface Expression<T extends ValueType = ValueType> {
  readonly type: T;
  readonly code: Code;
}
export type I32 = Expression<"i32">;
export type I64 = Expression<"i64">;
export type F64 = Expression<"f64">;
export type V128 = Expression<"v128">;

function join<T extends ValueType>(
  type: T,
  operands: readonly Expression[],
  ...opcode: (number | Code)[]
): Expression<T> {
  return { type, code: [...operands.map((operand) => operand.code), ...opcode] };
}

type Unary<A extends ValueType, R extends ValueType> = (a: Expression<A>) => Expression<R>;
type Binary<A extends ValueType, R extends ValueType, B extends ValueType = A> = (
  a: Expression<A>,
  b: Expression<B>,
) => Expression<R>;

function unary<A extends ValueType, R extends ValueType>(
  type: R,
  ...opcode: (number | Code)[]
): Unary<A, R> {
  return (a) => ({ type, code: [a.code, opcode] });
}
function binary<A extends ValueType, R extends ValueType, B extends ValueType = A>(
  type: R,
  ...opcode: (number | Code)[]
): Binary<A, R, B> {
  return (a, b) => ({ type, code: [a.code, b.code, opcode] });
}
type Load<R extends ValueType> = (address: I32, offset?: number) => Expression<R>;
function load<R extends ValueType>(type: R, ...opcode: (number | Code)[]): Load<R> {
  return (address, offset = 0) => ({ type, code: [address.code, opcode, 0, unsigned(offset)] });
}
/** Atomic accesses state their natural alignment, as the format demands. */
function atomicLoad<R extends ValueType>(type: R, opcode: number, alignment: number): Load<R> {
  return (address, offset = 0) => join(type, [address], 0xfe, opcode, alignment, unsigned(offset));
}

/** Constants are few and used again and again. */
function constant<T extends ValueType>(type: T, opcode: number) {
  const known = new Map<number | bigint, Expression<T>>();
  return (value: number | bigint): Expression<T> => {
    const made = known.get(value) ?? { type, code: [opcode, ...signed(value)] };
    known.set(value, made);
    return made;
  };
}
const constant32 = constant("i32", 0x41);

export const i32 = {
  const: (value: number): I32 => constant32(value | 0),
  eqz: unary<"i32", "i32">("i32", 0x45),
  eq: binary<"i32", "i32">("i32", 0x46),
  ne: binary<"i32", "i32">("i32", 0x47),
  ltS: binary<"i32", "i32">("i32", 0x48),
  ltU: binary<"i32", "i32">("i32", 0x49),
  gtS: binary<"i32", "i32">("i32", 0x4a),
  gtU: binary<"i32", "i32">("i32", 0x4b),
  leU: binary<"i32", "i32">("i32", 0x4d),
  geU: binary<"i32", "i32">("i32", 0x4f),
  add: binary<"i32", "i32">("i32", 0x6a),
  sub: binary<"i32", "i32">("i32", 0x6b),
  mul: binary<"i32", "i32">("i32", 0x6c),
  and: binary<"i32", "i32">("i32", 0x71),
  or: binary<"i32", "i32">("i32", 0x72),
  xor: binary<"i32", "i32">("i32", 0x73),
  shl: binary<"i32", "i32">("i32", 0x74),
  shrS: binary<"i32", "i32">("i32", 0x75),
  shrU: binary<"i32", "i32">("i32", 0x76),
  clz: unary<"i32", "i32">("i32", 0x67),
  popcnt: unary<"i32", "i32">("i32", 0x69),
  wrap: unary<"i64", "i32">("i32", 0xa7),
  reinterpret: unary<"f32", "i32">("i32", 0xbc),
  load: load("i32", 0x28),
  load8u: load("i32", 0x2d),
  load8s: load("i32", 0x2c),
  load16u: load("i32", 0x2f),
  load16s: load("i32", 0x2e),
  atomicLoad: atomicLoad("i32", 0x10, 2),
} as const;

export const i64 = {
  const: constant("i64", 0x42),
  eqz: unary<"i64", "i32">("i32", 0x50),
  eq: binary<"i64", "i32">("i32", 0x51),
  ne: binary<"i64", "i32">("i32", 0x52),
  ltS: binary<"i64", "i32">("i32", 0x53),
  ltU: binary<"i64", "i32">("i32", 0x54),
  gtS: binary<"i64", "i32">("i32", 0x55),
  gtU: binary<"i64", "i32">("i32", 0x56),
  leU: binary<"i64", "i32">("i32", 0x58),
  geS: binary<"i64", "i32">("i32", 0x59),
  geU: binary<"i64", "i32">("i32", 0x5a),
  clz: unary<"i64", "i64">("i64", 0x79),
  ctz: unary<"i64", "i64">("i64", 0x7a),
  popcnt: unary<"i64", "i64">("i64", 0x7b),
  add: binary<"i64", "i64">("i64", 0x7c),
  sub: binary<"i64", "i64">("i64", 0x7d),
  mul: binary<"i64", "i64">("i64", 0x7e),
  divS: binary<"i64", "i64">("i64", 0x7f),
  divU: binary<"i64", "i64">("i64", 0x80),
  remS: binary<"i64", "i64">("i64", 0x81),
  remU: binary<"i64", "i64">("i64", 0x82),
  and: binary<"i64", "i64">("i64", 0x83),
  or: binary<"i64", "i64">("i64", 0x84),
  xor: binary<"i64", "i64">("i64", 0x85),
  shl: binary<"i64", "i64">("i64", 0x86),
  shrS: binary<"i64", "i64">("i64", 0x87),
  shrU: binary<"i64", "i64">("i64", 0x88),
  rotl: binary<"i64", "i64">("i64", 0x89),
  rotr: binary<"i64", "i64">("i64", 0x8a),
  /** Zero- and sign-extension of an i32. */
  extendU: unary<"i32", "i64">("i64", 0xad),
  extendS: unary<"i32", "i64">("i64", 0xac),
  /** Sign-extension of the low 8, 16, 32 bits. */
  extend8: unary<"i64", "i64">("i64", 0xc2),
  extend16: unary<"i64", "i64">("i64", 0xc3),
  extend32: unary<"i64", "i64">("i64", 0xc4),
  reinterpret: unary<"f64", "i64">("i64", 0xbd),
  /** Towards zero; NaN gives 0, what does not fit the nearest limit. */
  truncateSaturated: unary<"f64", "i64">("i64", 0xfc, 0x06),
  load: load("i64", 0x29),
  load8s: load("i64", 0x30),
  load8u: load("i64", 0x31),
  load16u: load("i64", 0x33),
  load32s: load("i64", 0x34),
  load32u: load("i64", 0x35),
  atomicLoad: atomicLoad("i64", 0x11, 3),
} as const;

export const f32 = {
  eq: binary<"f32", "i32">("i32", 0x5b),
  convertI64: unary<"i64", "f32">("f32", 0xb4),
  demote: unary<"f64", "f32">("f32", 0xb6),
  reinterpret: unary<"i32", "f32">("f32", 0xbe),
} as const;

export const f64 = {
  const: (value: number): F64 => {
    const bytes = new Uint8Array(new Float64Array([value]).buffer);
    return { type: "f64", code: [0x44, ...bytes] };
  },
  eq: binary<"f64", "i32">("i32", 0x61),
  ne: binary<"f64", "i32">("i32", 0x62),
  lt: binary<"f64", "i32">("i32", 0x63),
  /** To the nearest integer, ties to even. */
  nearest: unary<"f64", "f64">("f64", 0x9e),
  convertI64: unary<"i64", "f64">("f64", 0xb9),
  promote: unary<"f32", "f64">("f64", 0xbb),
  reinterpret: unary<"i64", "f64">("f64", 0xbf),
} as const;

/** SIMD: opcodes behind the 0xfd prefix. */
export const v128 = {
  load: load("v128", 0xfd, 0x00),
  const: (bytes: readonly number[]): V128 => ({ type: "v128", code: [0xfd, 0x0c, ...bytes] }),
  /** Any operation of one, two or three v128 operands, by its opcode number. */
  unary: (opcode: number, a: V128): V128 => join("v128", [a], 0xfd, unsigned(opcode)),
  binary: (opcode: number, a: V128, b: V128): V128 => join("v128", [a, b], 0xfd, unsigned(opcode)),
  ternary: (opcode: number, a: V128, b: V128, c: V128): V128 =>
    join("v128", [a, b, c], 0xfd, unsigned(opcode)),
  shift: (opcode: number, a: V128, count: I32): V128 =>
    join("v128", [a, count], 0xfd, unsigned(opcode)),
  shuffle: (a: V128, b: V128, lanes: readonly number[]): V128 =>
    join("v128", [a, b], 0xfd, 0x0d, ...lanes),
  bitmask: (opcode: number, a: V128): I32 => join("i32", [a], 0xfd, unsigned(opcode)),
  splat8: (a: I32): V128 => join("v128", [a], 0xfd, 0x0f),
  splat64: (a: I64): V128 => join("v128", [a], 0xfd, 0x12),
  extract64: (a: V128, lane: 0 | 1): I64 => join("i64", [a], 0xfd, 0x1d, lane),
  replace64: (a: V128, lane: 0 | 1, value: I64): V128 => join("v128", [a, value], 0xfd, 0x1e, lane),
} as const;

/** Atomic read-modify-write and compare-exchange, by operand bytes; operands and result are zero-extended i64. */
const compareExchangeOpcode = { 1: 0x4c, 2: 0x4d, 4: 0x4e, 8: 0x49 } as const;
const atomicLoadOpcode = { 1: 0x14, 2: 0x15, 4: 0x16, 8: 0x11 } as const;
const alignmentOf = { 1: 0, 2: 1, 4: 2, 8: 3 } as const;
export type AccessSize = 1 | 2 | 4 | 8;

export function atomicCompareExchange(
  size: AccessSize,
  address: I32,
  expected: I64,
  replacement: I64,
): I64 {
  return join(
    "i64",
    [address, expected, replacement],
    0xfe,
    compareExchangeOpcode[size],
    alignmentOf[size],
    0,
  );
}
export function atomicLoadOf(size: AccessSize, address: I32): I64 {
  return join("i64", [address], 0xfe, atomicLoadOpcode[size], alignmentOf[size], 0);
}

/** Atomic read-modify-write of an aligned 32-bit word. @returns what the word held before */
type Modify = (address: I32, value: I32, offset?: number) => I32;
function modify32(opcode: number): Modify {
  return (address, value, offset = 0) =>
    join("i32", [address, value], 0xfe, opcode, 2, unsigned(offset));
}
export const atomicAnd32 = modify32(0x2c);
export const atomicOr32 = modify32(0x33);
export const atomicExchange32 = modify32(0x41);

/** Wakes whoever waits on an aligned 32-bit word. @returns how many there were */
export function atomicNotify(address: I32, most: I32, offset = 0): I32 {
  return join("i32", [address, most], 0xfe, 0x00, 2, unsigned(offset));
}

/** `condition ? a : b`, both evaluated. */
export function select<T extends ValueType>(
  condition: I32,
  a: Expression<T>,
  b: Expression<T>,
): Expression<T> {
  return join(a.type, [a, b, condition], 0x1b);
}

/** `condition ? a : b`, only one evaluated. */
export function choose<T extends ValueType>(
  condition: I32,
  a: Expression<T>,
  b: Expression<T>,
): Expression<T> {
  return {
    type: a.type,
    code: [condition.code, 0x04, valueTypeCode[a.type], a.code, 0x05, b.code, 0x0b],
  };
}

/** Call of a function that leaves one value. */
export function callValue<T extends ValueType>(
  type: T,
  functionIndex: number,
  ...operands: readonly Expression[]
): Expression<T> {
  return join(type, operands, 0x10, unsigned(functionIndex));
}
