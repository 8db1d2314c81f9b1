import {
  eax,
  edi,
  esi,
  type Label,
  mem,
  mem32,
  mem64,
  r8,
  r14,
  r15,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import { command } from "./architecture.ts";
import {
  hypercall,
  migrationStep,
  processor,
  stopReason,
  vector,
  virtualProcessor,
} from "./memory.ts";
import type { Program } from "./program.ts";

/** What a guest gets when it asks with VMCALL. */

const hypercalls = Object.keys(hypercall).length;
const vcpuField = (name: keyof typeof virtualProcessor) =>
  mem64(r14, { disp: virtualProcessor[name] });

export function emitHypercalls(program: Program): void {
  const { asm, at, text } = program;
  const table = asm.label("hypercall_table");
  const unknown = asm.label("handle_hypercall.unknown");

  asm.here(at.handle_hypercall);
  asm.inc(vcpuField("hypercalls"));
  asm.call(at.skip_instruction);
  asm.mov(rsi, vcpuField("rax"));
  asm.cmp(rsi, hypercalls);
  asm.jae(unknown);
  asm.lea(rcx, mem(table));
  asm.jmp(mem64(rcx, { index: rsi, scale: 8 }));
  asm.here(unknown);
  asm.lea(rdi, mem(text("unknown hypercall")));
  asm.jmp(at.fatal);

  const handlers: Record<keyof typeof hypercall, Label> = {
    reportPrimes: emitReportPrimes(program),
    sendInterrupt: emitSendInterrupt(program),
    whereAmI: emitWhereAmI(program),
    readyToMove: emitReadyToMove(program),
    endOfPhase: emitEndOfPhase(program),
  };
  asm.align(8);
  asm.here(table);
  for (const handler of Object.values(handlers)) {
    asm.u64(handler);
  }
}

function emitReportPrimes({ asm, at }: Program): Label {
  const handler = asm.here("hypercall_report_primes");
  asm.mov(rcx, vcpuField("rbx"));
  asm.lock.add(mem64(at.primes_total), rcx);
  asm.xor(eax, eax);
  asm.ret();
  return handler;
}

/**
 * Counts one more interrupt for the other vCPU and kicks the LP that runs it: the real IPI makes its guest exit, and
 * before entering again the LP finds what is waiting. A real APIC would merge equal vectors; we count them, so none is
 * lost and the guests can agree on how many there were.
 */
function emitSendInterrupt({ asm, at, text }: Program): Label {
  const noSuchVcpu = asm.label("hypercall_send_interrupt.no_such_vcpu");
  const own = asm.label("hypercall_send_interrupt.own");

  const handler = asm.here("hypercall_send_interrupt");
  asm.mov(rsi, vcpuField("rbx"));
  asm.cmp(rsi, mem64(at.processor_count));
  asm.jae(noSuchVcpu);
  asm.imul(rsi, rsi, virtualProcessor.size);
  asm.lea(r8, mem(at.virtual_processors));
  asm.add(r8, rsi);
  asm.lock.inc(mem64(r8, { disp: virtualProcessor.pendingInterrupts }));
  asm.mov(rdx, mem64(r8, { disp: virtualProcessor.runsOn }));
  asm.cmp(rdx, r15);
  asm.je(own);
  asm.mov(edi, mem32(rdx, { disp: processor.apicId }));
  asm.mov(esi, command.assert | vector.kick);
  asm.call(at.send_ipi);
  asm.here(own);
  asm.xor(eax, eax);
  asm.ret();
  asm.here(noSuchVcpu);
  asm.lea(rdi, mem(text("interrupt for a vCPU that does not exist:")));
  asm.jmp(at.fatal);
  return handler;
}

function emitWhereAmI({ asm }: Program): Label {
  const handler = asm.here("hypercall_where_am_i");
  asm.mov(rax, mem64(r15, { disp: processor.index }));
  asm.mov(vcpuField("rax"), rax);
  asm.xor(eax, eax);
  asm.ret();
  return handler;
}

function emitReadyToMove({ asm, at }: Program): Label {
  const handler = asm.here("hypercall_ready_to_move");
  asm.mov(mem64(at.migration_step), migrationStep.ready);
  asm.xor(eax, eax);
  asm.ret();
  return handler;
}

function emitEndOfPhase({ asm }: Program): Label {
  const handler = asm.here("hypercall_end_of_phase");
  asm.mov(eax, stopReason.endOfPhase);
  asm.ret();
  return handler;
}
