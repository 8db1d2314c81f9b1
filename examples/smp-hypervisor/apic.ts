import { eax, ecx, edi, edx, esi, mem32, rdx } from "../../src/isa/assembler-operands.ts";
import { apicSoftwareEnable, command, lapic, localVectorMasked } from "./architecture.ts";
import { vector } from "./memory.ts";
import type { Program } from "./program.ts";

/** The local APIC in xAPIC mode: its registers are 32-bit words in one page of memory. */

const pauses = 10_000;

export function emitApic(program: Program): void {
  const { asm, at } = program;
  const lapicRegister = (offset: number) => mem32(rdx, { disp: offset });

  asm.here(at.apic_init);
  asm.mov(edx, lapic.base);
  asm.mov(lapicRegister(lapic.taskPriority), 0);
  // LINT0 brings the legacy 8259's interrupts to the BSP; like all local sources it stays masked.
  for (const source of [lapic.timer, lapic.lint0, lapic.lint1, lapic.error]) {
    asm.mov(lapicRegister(source), localVectorMasked);
  }
  asm.mov(lapicRegister(lapic.spuriousVector), apicSoftwareEnable | vector.spurious);
  asm.ret();

  asm.here(at.end_of_interrupt);
  asm.mov(edx, lapic.base);
  asm.mov(lapicRegister(lapic.endOfInterrupt), 0);
  asm.ret();

  emitSendIpi(program);
  emitPauseAWhile(program);
}

/** Writing the low half of the command sends; before that the previous command must have left. */
function emitSendIpi({ asm, at }: Program): void {
  const busy = asm.label("send_ipi.busy");

  asm.here(at.send_ipi);
  asm.mov(edx, lapic.base);
  asm.mov(ecx, pauses);
  asm.here(busy);
  asm.pause();
  asm.mov(eax, mem32(rdx, { disp: lapic.commandLow }));
  asm.test(eax, command.deliveryPending);
  asm.loopne(busy);
  asm.shl(edi, 24);
  asm.mov(mem32(rdx, { disp: lapic.commandHigh }), edi);
  asm.mov(mem32(rdx, { disp: lapic.commandLow }), esi);
  asm.ret();
}

function emitPauseAWhile({ asm, at }: Program): void {
  asm.here(at.pause_a_while);
  asm.mov(ecx, pauses);
  const again = asm.here("pause_a_while.again");
  asm.pause();
  asm.loop(again);
  asm.ret();
}
