import {
  ah,
  al,
  ax,
  eax,
  ecx,
  edi,
  esi,
  type Label,
  mem,
  mem8,
  mem16,
  mem32,
  mem64,
  r15,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import { lapic } from "./architecture.ts";
import { maximumProcessors, processor, selector, taskStateSize, vector } from "./memory.ts";
import type { Program } from "./program.ts";

/** The host's descriptor tables: one GDT and one IDT for all processors, a task register for each. */

const taskDescriptorSize = 16;
const taskLimit = 103;
const availableTask = 0x89;
const interruptGate = 0x8e;
const gateSize = 16;
/** Vectors below this one are exceptions. */
const exceptions = 32;

export function emitDescriptors(program: Program): void {
  emitGdt(program);
  emitLoadDescriptorTables(program);
  emitInterruptTable(program);
}

function emitGdt({ asm, at }: Program): void {
  const size = selector.firstTask + maximumProcessors * taskDescriptorSize;

  asm.align(8);
  asm.here(at.gdt);
  asm.u64(0);
  asm.u64(0x00af9b000000ffffn); // 64-bit code
  asm.u64(0x00cf93000000ffffn); // data
  asm.u64(0x00cf9b000000ffffn); // 32-bit code
  asm.reserve(maximumProcessors * taskDescriptorSize);
  asm.here(at.gdt_pointer);
  asm.u16(size - 1);
  asm.u64(at.gdt);
  asm.here(at.interrupt_table_pointer);
  asm.u16(256 * gateSize - 1);
  asm.u64(at.interrupt_table);
}

/**
 * A VM exit loads TR from the VMCS and wants a real task behind it. LTR marks a descriptor busy, so every processor
 * needs its own; it is written here, as the base address is scattered over it.
 */
function emitLoadDescriptorTables({ asm, at }: Program): void {
  asm.here(at.load_descriptor_tables);
  asm.lgdt(mem(at.gdt_pointer));
  asm.mov(ecx, mem32(r15, { disp: processor.index }));
  asm.imul(eax, ecx, taskStateSize);
  asm.lea(rsi, mem(at.task_states));
  asm.add(rsi, rax);
  asm.mov(mem64(r15, { disp: processor.taskState }), rsi);
  asm.shl(ecx, 4);
  asm.lea(rdi, mem(at.gdt, { disp: selector.firstTask }));
  asm.add(rdi, rcx);
  // Limit 15:0, base 15:0, base 23:16, type (available 64-bit TSS), flags, base 31:24; the rest is zero.
  asm.mov(eax, esi);
  asm.mov(mem16(rdi), taskLimit);
  asm.mov(mem16(rdi, { disp: 2 }), ax);
  asm.shr(eax, 16);
  asm.mov(mem8(rdi, { disp: 4 }), al);
  asm.mov(mem8(rdi, { disp: 5 }), availableTask);
  asm.mov(mem8(rdi, { disp: 7 }), ah);
  asm.lea(eax, mem(rcx, { disp: selector.firstTask }));
  asm.ltr(ax);
  asm.lidt(mem(at.interrupt_table_pointer));
  asm.ret();
}

/**
 * The host takes no interrupt while it works; only when it idles in HLT does it let IPIs in, and all they have to do is
 * end the HLT. An exception in the host is a mistake of ours.
 */
function emitInterruptTable({ asm, at, text }: Program): void {
  const handlers: [number, Label][] = [];
  const exception = asm.label("exception");
  for (let number = 0; number < exceptions; number++) {
    handlers.push([number, asm.here(`exception_${number}`)]);
    asm.mov(esi, number);
    asm.jmp(exception);
  }
  asm.here(exception);
  asm.lea(rdi, mem(text("unexpected exception in the hypervisor, vector")));
  asm.jmp(at.fatal);

  const interprocessor = asm.here("interprocessor_interrupt");
  handlers.push([vector.kick, interprocessor], [vector.migrate, interprocessor]);
  asm.push(rdi);
  asm.mov(edi, lapic.base);
  asm.mov(mem32(rdi, { disp: lapic.endOfInterrupt }), 0);
  asm.pop(rdi);
  // A spurious interrupt is not in service, so it is not ended.
  handlers.push([vector.spurious, asm.here("spurious_interrupt")]);
  asm.iretq();

  const table = asm.label("interrupt_handlers");
  const next = asm.label("build_interrupt_table.next");
  asm.here(at.build_interrupt_table);
  asm.lea(rsi, mem(table));
  asm.mov(ecx, handlers.length);
  asm.here(next);
  asm.mov(edi, mem32(rsi));
  asm.shl(edi, 4);
  asm.lea(rdx, mem(at.interrupt_table));
  asm.add(rdi, rdx);
  // Offset 15:0, selector, gate type, offset 31:16; the upper half stays zero.
  asm.mov(eax, mem32(rsi, { disp: 4 }));
  asm.mov(mem16(rdi), ax);
  asm.mov(mem16(rdi, { disp: 2 }), selector.code64);
  asm.mov(mem8(rdi, { disp: 5 }), interruptGate);
  asm.shr(eax, 16);
  asm.mov(mem16(rdi, { disp: 6 }), ax);
  asm.add(rsi, 8);
  asm.loop(next);
  asm.ret();

  asm.align(8);
  asm.here(table);
  for (const [number, handler] of handlers) {
    asm.u32(number, handler);
  }
}
