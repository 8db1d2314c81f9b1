/** Virtual interrupts of the current guest, as `VirtualInterrupts` has them, in Wasm. `page` is the virtual-APIC page's address. */
import { ApicRegister } from "../../cpu/local-apic/registers.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { choose, type I32, i32, i64, select } from "../../wasm/expression.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { groupsBySlot } from "../entry-rules/all-rules.ts";
import { slot } from "../vmcs-fields.ts";
import { assistantOffset, lineOffset } from "./assistant-window.ts";

const groups = 8;
const groupStride = 16;
const statusAt = slot.guestInterruptStatus * 4;
const informationShift = 4;

export const virtualApicPage = (vmcs: I32): I32 => i32.load(vmcs, slot.virtualApicAddress * 4);
export const interruptStatus = (vmcs: I32): I32 => i32.load(vmcs, statusAt);
export const priorityClass = (priority: I32): I32 => i32.shrU(priority, i32.const(4));

/** The page that is written to holds decoded code: stores to it are for TypeScript to announce. */
export function holdsCode(window: I32, page: I32): I32 {
  const number = i32.shrU(page, i32.const(12));
  const information = i32.load(window, lpOffset.pageInformation);
  const at = i32.add(information, i32.shl(number, i32.const(informationShift)));
  return i64.ne(i64.atomicLoad(at, 8), i64.const(0));
}

/** RVI and SVI. */
export function setInterruptStatus(f: FunctionBuilder, window: I32, vmcs: I32, status: I32): void {
  f.store(8, vmcs, i64.extendU(status), statusAt);
  const line = f.let(i32.load(window, assistantOffset.line));
  f.store32(line, i32.const(1), lineOffset.modified);
  const rules = groupsBySlot[slot.guestInterruptStatus] ?? 0;
  if (rules !== 0) {
    f.store32(line, i32.or(i32.load(line, lineOffset.dirty), i32.const(rules)), lineOffset.dirty);
  }
}

/** Address of a vector's word in a set of vectors, before the set's offset. */
export function wordOf(page: I32, vector: I32): I32 {
  return i32.add(page, i32.shl(i32.shrU(vector, i32.const(5)), i32.const(4)));
}
export const bitOf = (vector: I32): I32 => i32.shl(i32.const(1), i32.and(vector, i32.const(31)));

/** Number of the highest bit of a word that is not 0. */
export const highestBit = (bits: I32): I32 => i32.sub(i32.const(31), i32.clz(bits));

/** Highest vector of a set, 0 when it is empty. */
export function highestVector(page: I32, set: number): I32 {
  let highest: I32 = i32.const(0);
  for (let group = 0; group < groups; group++) {
    const bits = i32.load(page, set + group * groupStride);
    const vector = i32.add(i32.const(group * 32), highestBit(bits));
    highest = choose(bits, vector, highest);
  }
  return highest;
}
/** Not 0 unless the set is empty. */
export function isAny(page: I32, set: number): I32 {
  let bits: I32 = i32.load(page, set);
  for (let group = 1; group < groups; group++) {
    bits = i32.or(bits, i32.load(page, set + group * groupStride));
  }
  return bits;
}

/** "PPR Virtualization". */
export function virtualizePpr(f: FunctionBuilder, page: I32, svi: I32): void {
  const task = f.let(i32.load8u(page, ApicRegister.TaskPriority));
  const isTask = i32.geU(priorityClass(task), priorityClass(svi));
  const priority = select(isTask, task, i32.and(svi, i32.const(0xf0)));
  f.store32(page, priority, ApicRegister.ProcessorPriority);
}

/** "Evaluation of Pending Virtual Interrupts", of a guest without interrupt-window exiting. */
export function evaluate(f: FunctionBuilder, window: I32, page: I32, rvi: I32): I32 {
  const current = i32.load8u(page, ApicRegister.ProcessorPriority);
  const isRecognized = f.let(i32.gtU(priorityClass(rvi), priorityClass(current)));
  f.store32(window, isRecognized, assistantOffset.recognized);
  return isRecognized;
}
