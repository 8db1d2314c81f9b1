import {
  type AccessSize,
  type I32,
  type I64,
  i32,
  i64,
  type V128,
  v128,
} from "../../wasm/expression.ts";
import type { Local } from "../../wasm/function-builder.ts";
import { AccessKind } from "../core-host.ts";
import { recordOffset } from "../instruction-record.ts";
import { exceptionCode, type InstructionEmitter } from "./instruction-emitter.ts";

/** Bytes of an XMM register. */
export const vectorBytes = 16;

/** Whether a 16-byte memory operand must lie on its natural boundary. */
export type Alignment = "aligned" | "any";

function requireAlignment(c: InstructionEmitter, linear: I64, alignment: Alignment): void {
  if (alignment === "aligned") {
    c.raiseIf(
      i64.ne(i64.and(linear, i64.const(vectorBytes - 1)), i64.const(0)),
      exceptionCode.generalProtection,
    );
  }
}

/** Address in the shared memory of the source operand's 16 bytes. */
export function sourceAddress(
  c: InstructionEmitter,
  alignment: Alignment = "aligned",
): Local<"i32"> {
  if (c.form.source === "register") {
    return c.let(c.field32(recordOffset.source));
  }
  const linear = c.memoryAddress(vectorBytes, false);
  requireAlignment(c, linear, alignment);
  return c.let(c.hostAddress(linear, vectorBytes, AccessKind.Read));
}
export function vectorSource(
  c: InstructionEmitter,
  alignment: Alignment = "aligned",
): Local<"v128"> {
  return c.let(v128.load(sourceAddress(c, alignment)));
}

/** Address of the destination register. */
export function destinationAddress(c: InstructionEmitter): Local<"i32"> {
  return c.let(c.field32(recordOffset.destination));
}
export function vectorDestination(c: InstructionEmitter): Local<"v128"> {
  return c.let(v128.load(c.field32(recordOffset.destination)));
}

/** Writes all of the destination register. */
export function writeVector(c: InstructionEmitter, value: V128): void {
  c.f.storeVector(c.field32(recordOffset.destination), value);
}

/**
 * Copies 16 bytes from the source to the destination, register or memory. In halves: a vector local in the interpreter's one
 * big function makes all of it slower.
 */
export function copyVector(c: InstructionEmitter, alignment: Alignment): void {
  const from = sourceAddress(c, alignment);
  const low = c.let(i64.load(from));
  const high = c.let(i64.load(from, 8));
  if (c.form.destination === "register") {
    writeHalves(c, low, high);
    return;
  }
  const linear = c.memoryAddress(vectorBytes, true);
  requireAlignment(c, linear, alignment);
  const host = c.hostAddress(linear, vectorBytes, AccessKind.Write);
  c.f.store(8, host, low);
  c.f.store(8, host, high, 8);
  c.commitIfBounced(host);
}

/** Writes the low bytes of the destination register and leaves the others. */
export function writeLow(c: InstructionEmitter, size: AccessSize, value: I64): void {
  c.f.store(size, c.field32(recordOffset.destination), value);
}
/** Writes both halves of the destination register, which neither value depends on. */
export function writeHalves(c: InstructionEmitter, low: I64, high: I64): void {
  const at = destinationAddress(c);
  c.f.store(8, at, low);
  c.f.store(8, at, high, 8);
}

/** Selects bits of `a` where `mask` is set, else of `b`. */
export function bitSelect(mask: V128, a: V128, b: V128): V128 {
  return v128.ternary(0x52, a, b, mask);
}
/** A vector of equal 64-bit halves. */
export const repeated = (half: bigint): V128 => v128.splat64(i64.const(half));
export const immediateByte = (c: InstructionEmitter): I32 =>
  i32.load8u(c.around.record, recordOffset.immediate);
