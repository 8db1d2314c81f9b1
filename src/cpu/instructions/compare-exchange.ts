import { Outcome } from "../../execution/core-host.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { flagBit } from "../register-bits.ts";
import { generalProtection } from "../trap.ts";

const Gpr = { rax: 0, rcx: 1, rdx: 2, rbx: 3 } as const;

/**
 * CMPXCHG16B—Compare and Exchange Bytes. Atomic against every other CMPXCHG16B and against locked operations on misaligned
 * operands; another LP's 8-byte store to one half may still come between the comparison and the write of the other half.
 */
function cmpxchg16b(lp: LogicalProcessor, insn: InstructionView): number {
  const linear = lp.effectiveLinear(insn, 0, 16, true);
  if ((linear & 0xfn) !== 0n) {
    throw generalProtection();
  }
  const physical = lp.linear.translate(linear, true, AccessClass.Current);
  const isEqual = lp.physical.isPlain(physical)
    ? exchangeInRam(lp, physical)
    : exchangeOnBus(lp, linear);
  lp.changeFlags(isEqual ? flagBit.ZF : 0, flagBit.ZF);
  return Outcome.Next;
}

function exchangeInRam(lp: LogicalProcessor, physical: number): boolean {
  const { state } = lp;
  const { u64, i32 } = state;
  const at = physical >>> 3;
  const lock = lp.layout.busLock >>> 2;
  // Held for a few operations, none of which can fault or wait.
  while (Atomics.compareExchange(i32, lock, 0, state.base | 0) !== 0) {}
  const low = Atomics.load(u64, at);
  const high = Atomics.load(u64, at + 1);
  const isEqual = low === state.gpr(Gpr.rax) && high === state.gpr(Gpr.rdx);
  if (isEqual) {
    Atomics.store(u64, at, state.gpr(Gpr.rbx));
    Atomics.store(u64, at + 1, state.gpr(Gpr.rcx));
  }
  Atomics.store(i32, lock, 0);
  if (!isEqual) {
    state.setGpr(Gpr.rax, low);
    state.setGpr(Gpr.rdx, high);
  } else {
    lp.physical.announceWrite(physical, 16);
  }
  return isEqual;
}

function exchangeOnBus(lp: LogicalProcessor, linear: bigint): boolean {
  const { state } = lp;
  const low = lp.linear.read64(linear, AccessClass.Current);
  const high = lp.linear.read64(linear + 8n, AccessClass.Current);
  const isEqual = low === state.gpr(Gpr.rax) && high === state.gpr(Gpr.rdx);
  // The memory is written in any case: with what it held when they differ.
  lp.linear.write64(linear, isEqual ? state.gpr(Gpr.rbx) : low, AccessClass.Current);
  lp.linear.write64(linear + 8n, isEqual ? state.gpr(Gpr.rcx) : high, AccessClass.Current);
  if (!isEqual) {
    state.setGpr(Gpr.rax, low);
    state.setGpr(Gpr.rdx, high);
  }
  return isEqual;
}

export const compareExchangeInstructions: InstructionTable = { Cmpxchg16b: cmpxchg16b };
