import {
  ax,
  cr0,
  cr3,
  cr4,
  ds,
  eax,
  ebx,
  ecx,
  edi,
  es,
  esp,
  far,
  fs,
  gs,
  type Label,
  mem,
  mem32,
  ss,
} from "../../src/isa/assembler-operands.ts";
import { cr0Bit, cr0CachesOff, cr0Paging, cr4Bit, efer, lapic } from "./architecture.ts";
import { maximumProcessors, pageSize, selector, stackSize, trampolineAddress } from "./memory.ts";
import type { Program } from "./program.ts";

/** From the boot loader, or from a start-up IPI, to 64-bit code. */

const multibootMagic = 0x1badb002;
/** The loader shall say how much memory there is, and place the image by the addresses in the header. */
const multibootFlags = (1 << 1) | (1 << 16);

const pageFlag = { present: 1, write: 2, writeThrough: 8, cacheOff: 16, large: 128 } as const;
const toTable = pageFlag.present | pageFlag.write;
const largePageShift = 21;

/** The Multiboot 1 header with the image's own addresses (the "a.out kludge"): no ELF is needed. */
export function emitMultibootHeader({ asm, at }: Program): void {
  asm.here(at.multiboot_header);
  asm.u32(multibootMagic, multibootFlags, -(multibootMagic + multibootFlags));
  // Header address, load address, end of what is loaded, end of what is cleared, entry.
  asm.u32(at.multiboot_header, at.multiboot_header, at.image_end, at.memory_end, at.boot_entry);
}

/**
 * The loader leaves the bootstrap processor (BSP) in flat 32-bit protected mode without paging, its magic number in
 * EAX and the address of the multiboot information in EBX.
 */
export function emitBoot(program: Program): void {
  const { asm, at } = program;
  const fillPageTables = asm.label("fill_page_tables");
  const enableLongMode = asm.label("enable_long_mode");
  const apEntry = asm.label("ap_entry");

  asm.bits(32);
  asm.here(at.boot_entry);
  asm.cli();
  asm.cld();
  asm.mov(mem32(at.boot_magic), eax);
  asm.mov(mem32(at.boot_information), ebx);
  asm.mov(esp, at.stacks.plus(stackSize));
  asm.call(fillPageTables);
  asm.call(enableLongMode);
  asm.lgdt(mem(at.gdt_pointer));
  // Loading CS with a 64-bit code segment is what leaves compatibility mode.
  asm.jmp(far(selector.code64, at.bsp_long_mode));

  emitFillPageTables(program, fillPageTables);
  emitEnableLongMode(program, enableLongMode);
  emitApEntry(program, apEntry, enableLongMode);
  emitTrampoline(program, apEntry);
  emitLongModeArrivals(program);
}

/** Maps the first 4 GiB one to one in pages of 2 MiB: PML4, page-directory-pointer table, four page directories. */
function emitFillPageTables({ asm, at }: Program, fillPageTables: Label): void {
  const pointers = at.page_tables.plus(pageSize);
  const directories = at.page_tables.plus(2 * pageSize);
  const next = asm.label("fill_page_tables.next");

  asm.here(fillPageTables);
  asm.mov(mem32(at.page_tables), pointers.plus(toTable));
  for (let quarter = 0; quarter < 4; quarter++) {
    asm.mov(mem32(pointers.plus(8 * quarter)), directories.plus(quarter * pageSize + toTable));
  }
  asm.mov(edi, directories);
  asm.mov(eax, toTable | pageFlag.large);
  asm.mov(ecx, 4 * 512);
  asm.here(next);
  asm.mov(mem32(edi), eax);
  asm.add(eax, 1 << largePageShift);
  asm.add(edi, 8);
  asm.loop(next);
  // The local APIC's registers are devices: an access must reach them, and in order.
  const lapicEntry = directories.plus((lapic.base >>> largePageShift) * 8);
  asm.or(mem32(lapicEntry), pageFlag.writeThrough | pageFlag.cacheOff);
  asm.ret();
}

/** Paging with 4 levels: CR4.PAE, CR3, EFER.LME, then CR0.PG. Every processor comes through here. */
function emitEnableLongMode({ asm, at }: Program, enableLongMode: Label): void {
  asm.here(enableLongMode);
  asm.mov(eax, cr4);
  asm.or(eax, cr4Bit.pae);
  asm.mov(cr4, eax);
  asm.mov(eax, at.page_tables);
  asm.mov(cr3, eax);
  asm.mov(ecx, efer.msr);
  asm.rdmsr();
  asm.or(eax, efer.longModeEnable);
  asm.wrmsr();
  asm.mov(eax, cr0);
  // After INIT the caches of an AP are off.
  asm.and(eax, ~cr0CachesOff);
  asm.or(eax, cr0Paging | cr0Bit.protection | cr0Bit.numericError | cr0Bit.writeProtect);
  asm.mov(cr0, eax);
  asm.ret();
}

/**
 * A start-up IPI begins at the trampoline in real mode, CS = vector * 100h, IP = 0. It does no more than reach the
 * image in protected mode.
 */
function emitTrampoline({ asm, at }: Program, apEntry: Label): void {
  const gdtPointer = asm.label("trampoline_gdt_pointer");

  asm.align(16);
  asm.here(at.trampoline);
  asm.bits(16);
  asm.runAt(trampolineAddress, () => {
    asm.cli();
    asm.xor(ax, ax);
    asm.mov(ds, ax);
    asm.lgdt(mem(gdtPointer));
    asm.mov(eax, cr0);
    asm.or(eax, cr0Bit.protection);
    asm.mov(cr0, eax);
    asm.form("Jmp_ptr1632", far(selector.code32, apEntry));
    asm.align(8);
    asm.here(gdtPointer);
    asm.u16(selector.firstTask - 1);
    asm.u32(at.gdt);
  });
  asm.here(at.trampoline_end);
}

/** An AP takes a ticket, which chooses its stack. Who finds no ticket left stays out. */
function emitApEntry({ asm, at }: Program, apEntry: Label, enableLongMode: Label): void {
  const tooMany = asm.label("ap_entry.too_many");

  asm.bits(32);
  asm.here(apEntry);
  asm.mov(eax, selector.data);
  asm.mov(ds, eax);
  asm.mov(es, eax);
  asm.mov(ss, eax);
  asm.mov(ebx, 1);
  asm.lock.xadd(mem32(at.ap_tickets), ebx);
  asm.cmp(ebx, maximumProcessors - 1);
  asm.jae(tooMany);
  // The first stack is the BSP's, and a stack begins at its upper end.
  asm.lea(esp, mem(ebx, { disp: 2 }));
  asm.imul(esp, esp, stackSize);
  asm.add(esp, at.stacks);
  asm.call(enableLongMode);
  asm.lgdt(mem(at.gdt_pointer));
  asm.jmp(far(selector.code64, at.ap_long_mode));
  asm.here(tooMany);
  asm.cli();
  asm.hlt();
  asm.jmp(tooMany);
}

function emitLongModeArrivals({ asm, at }: Program): void {
  const loadDataSegments = () => {
    asm.mov(eax, selector.data);
    for (const segment of [ds, es, ss, fs, gs]) {
      asm.mov(segment, eax);
    }
    // The upper halves of the registers are undefined after the switch; a 32-bit move clears them.
    asm.mov(esp, esp);
    asm.mov(ebx, ebx);
  };
  asm.bits(64);
  asm.here(at.bsp_long_mode);
  loadDataSegments();
  asm.jmp(at.bsp_story);
  asm.here(at.ap_long_mode);
  loadDataSegments();
  asm.jmp(at.ap_story);
}
