import type { AccessSize } from "../../wasm/expression.ts";
import { i64 } from "../../wasm/expression.ts";
import { AccessKind } from "../core-host.ts";
import type { Semantics } from "./arithmetic.ts";

export const PUSH: Semantics = (c) => c.push(c.source());

export const POP: Semantics = (c) => {
  const value = c.top();
  if (c.form.destination === "register") {
    c.drop(i64.const(c.size));
    c.write(value);
    return;
  }
  // The address of a memory operand is formed with the pointer already moved; a fault must leave it where it was.
  const before = c.let(c.gpr(4, 8));
  c.drop(i64.const(c.size));
  const after = c.let(c.gpr(4, 8));
  const address = c.memoryAddress(c.size, true);
  c.setGpr(4, before, 8);
  c.store(address, value);
  c.setGpr(4, after, 8);
};

/** PUSHA and PUSHAD. All eight stores are probed by the first and last: one stack range. */
export const PUSHA: Semantics = (c) => {
  const pointer = c.let(c.gpr(4, 4));
  const original = c.let(c.gpr(4));
  const mask = c.let(c.stackMask());
  for (let n = 0; n < 8; n++) {
    const value = n === 4 ? original : c.gpr(n);
    const to = c.let(i64.and(i64.sub(pointer, i64.const((n + 1) * c.size)), mask));
    c.store(c.let(c.stackAddress(to, c.size, true)), value);
  }
  c.setStackPointer(c.let(i64.and(i64.sub(pointer, i64.const(8 * c.size)), mask)));
};

/** POPA and POPAD: registers are loaded one by one, so that those before a fault are changed; the pointer moves last. */
export const POPA: Semantics = (c) => {
  const pointer = c.let(c.gpr(4, 4));
  const mask = c.let(c.stackMask());
  for (let n = 0; n < 8; n++) {
    const from = c.let(i64.and(i64.add(pointer, i64.const(n * c.size)), mask));
    const value = c.let(c.load(c.let(c.stackAddress(from, c.size, false))));
    // The stack pointer's image is read and ignored.
    if (n !== 3) {
      c.setGpr(7 - n, value);
    }
  }
  c.setStackPointer(c.let(i64.and(i64.add(pointer, i64.const(8 * c.size)), mask)));
};

/** LEAVE: SP from BP, then pop BP. */
export const LEAVE: Semantics = (c) => {
  const pointerSize: AccessSize = c.form.legacyStack ? 4 : 8;
  const before = c.let(c.gpr(4, 8));
  c.setStackPointer(c.let(c.gpr(5, pointerSize)));
  const moved = c.let(c.gpr(4, 8));
  // Read with the pointer restored, so that a fault finds the old one.
  const from = c.form.legacyStack
    ? c.let(c.stackAddress(c.let(i64.and(moved, c.stackMask())), c.size, false))
    : moved;
  c.setGpr(4, before, 8);
  const value = c.let(c.load(from));
  c.setGpr(4, moved, 8);
  c.drop(i64.const(c.size));
  c.setGpr(5, value);
};

/** ENTER imm16, imm8: the allocation in the low half of the immediate, the nesting level in bits 20:16. */
export const ENTER: Semantics = (c) => {
  const { f } = c;
  const pointerSize: AccessSize = c.form.legacyStack ? 4 : 8;
  const mask = c.let(c.form.legacyStack ? c.stackMask() : i64.const(-1));
  const step = i64.const(c.size);
  const allocation = c.let(i64.and(c.immediate(), i64.const(0xffff)));
  const level = c.let(i64.and(i64.shrU(c.immediate(), i64.const(16)), i64.const(31)));
  const pointer = c.let(i64.and(c.gpr(4, pointerSize), mask));
  const address = (offset: ReturnType<typeof i64.and>, write: boolean) =>
    c.let(c.form.legacyStack ? c.stackAddress(offset, c.size, write) : offset);
  const pushAt = (value: ReturnType<typeof i64.and>): void => {
    f.set(pointer, i64.and(i64.sub(pointer, step), mask));
    c.store(address(pointer, true), value);
  };
  pushAt(c.gpr(5));
  const frame = c.let(pointer);
  f.if(i64.ne(level, i64.const(0)), () => {
    const base = c.let(i64.and(c.gpr(5, pointerSize), mask));
    const left = c.let(i64.sub(level, i64.const(1)));
    f.block((done) => {
      f.loop((again) => {
        f.branchIf(done, i64.eqz(left));
        f.set(base, i64.and(i64.sub(base, step), mask));
        pushAt(c.let(c.load(address(base, false))));
        f.set(left, i64.sub(left, i64.const(1)));
        f.branch(again);
      });
    });
    pushAt(frame);
  });
  f.set(pointer, i64.and(i64.sub(pointer, allocation), mask));
  // The new top must be writable: the access is made, as the architecture says it is.
  f.drop(c.hostAddress(address(pointer, true), c.size, AccessKind.Read));
  c.setStackPointer(pointer);
  c.setGpr(5, frame);
};
