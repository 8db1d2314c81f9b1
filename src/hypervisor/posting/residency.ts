import {
  cli,
  exchange,
  load,
  lockedOr,
  pause,
  type Steps,
  sti,
  store,
  vmclear,
} from "../../isa/operations.ts";
import { loadVmcs, writeHostContinuation } from "../vmx/vmcs.ts";
import type { LpContext } from "./context.ts";
import { sendInterrupt } from "./interrupts.ts";
import { hostVector, lpBlock, lpField, vcpuBlock, vcpuField, vmcsOf } from "./posting-memory.ts";

/**
 * Where VMCSs are active. A vCPU that moves takes its VMCS along:
 *
 * ```
 *   new LP   asks the old LP by IPI ── waits ─────────────────────────▶ VMPTRLD, host state of its own
 *   old LP                  VMCLEAR, registers to memory, active ← none ──▶
 * ```
 */

/** Makes the vCPU's VMCS active and current on this LP. Interrupts are off. */
export function* takeVmcs(context: LpContext, vcpu: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  const here = context.lp + 1;
  const active = Number(yield load(block + vcpuField.active));
  if (active === here && context.current === vcpu) return;
  const moves = active !== here;
  if (moves && active !== 0 && context.bug !== "two-lps-active") {
    yield* askToClear(context, vcpu, active - 1);
  }
  yield* loadVmcs(vmcsOf(vcpu));
  context.current = vcpu;
  if (!moves) return;
  yield store(block + vcpuField.active, 8, BigInt(here));
  yield* writeHostContinuation(context.environment);
  yield* loadRegisters(context, vcpu);
}

/** Waits with windows for interrupts: the other LP may be asking this one for the same. */
function* askToClear(context: LpContext, vcpu: number, lp: number): Steps<void> {
  yield lockedOr(lpBlock(lp) + lpField.clear, 8, 1n << BigInt(vcpu));
  yield* sendInterrupt(context.apicIds[lp] ?? lp, hostVector.clearVmcs);
  while ((yield load(vcpuBlock(vcpu) + vcpuField.active)) !== 0n) {
    yield sti();
    yield pause();
    yield cli();
  }
}

/** Another LP wants VMCSs that are active here. */
export function* clearAsked(context: LpContext): Steps<void> {
  let asked = yield exchange(lpBlock(context.lp) + lpField.clear, 8, 0n);
  for (let vcpu = 0; asked !== 0n; vcpu++, asked >>= 1n) {
    if ((asked & 1n) !== 0n) yield* giveVmcs(context, vcpu);
  }
}

/** VMCLEAR here; then the vCPU may be loaded anywhere. */
function* giveVmcs(context: LpContext, vcpu: number): Steps<void> {
  yield vmclear(vmcsOf(vcpu));
  context.launched.delete(vcpu);
  if (context.current === vcpu) context.current = undefined;
  yield* storeRegisters(context, vcpu);
  yield store(vcpuBlock(vcpu) + vcpuField.active, 8, 0n);
}

function* storeRegisters(context: LpContext, vcpu: number): Steps<void> {
  const at = vcpuBlock(vcpu) + vcpuField.registers;
  for (const [n, value] of context.registers[vcpu]?.entries() ?? []) {
    yield store(at + BigInt(n * 8), 8, value);
  }
}
function* loadRegisters(context: LpContext, vcpu: number): Steps<void> {
  const at = vcpuBlock(vcpu) + vcpuField.registers;
  const registers = context.registers[vcpu];
  if (registers === undefined) return;
  for (const n of registers.keys()) registers[n] = yield load(at + BigInt(n * 8));
}
