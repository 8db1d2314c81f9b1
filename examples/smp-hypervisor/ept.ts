import {
  al,
  eax,
  ebx,
  ecx,
  edx,
  mem,
  mem32,
  mem64,
  r8,
  r9,
  r14,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import { ept } from "./architecture.ts";
import { guestInformation, guestMap, pageSize, primesBelow, virtualProcessor } from "./memory.ts";
import type { Program } from "./program.ts";

/**
 * The guest's memory. EPT translates guest-physical to host-physical addresses, so the guest sees a machine of its own:
 * its program at 1000h, 2 MiB of RAM, and 2 MiB that come into being page by page as they are touched.
 */

const toTable = ept.read | ept.write | ept.execute;
/** The EPT structures, one page each. */
const table = {
  pml4: 0,
  pointers: pageSize,
  directory: 2 * pageSize,
  program: 3 * pageSize,
  onDemand: 4 * pageSize,
} as const;
/** Flags in the guest's own page tables: present and writable; and a page of 2 MiB. */
const guestTable = 3;
const guestLargePage = 0x83;
const largePageShift = 21;

export function emitEpt(program: Program): void {
  const { asm, at } = program;
  asm.here(at.build_guest_memory);
  asm.push(rbx);
  emitEptTables(program);
  emitGuestPageTables(program);
  emitGuestInformation(program);
  asm.pop(rbx);
  asm.ret();
  emitMapOnDemand(program);
}

function emitEptTables({ asm, at }: Program): void {
  const next = asm.label("build_guest_memory.next_page");
  const store = (where: number) => asm.mov(mem64(rdi, { disp: where }), rax);
  const link = (where: number, to: number) => {
    asm.lea(rax, mem(rdi, { disp: to + toTable }));
    store(where);
  };

  asm.lea(rdi, mem(at.ept_tables));
  link(table.pml4, table.pointers);
  link(table.pointers, table.directory);
  // Guest-physical 0 to 2 MiB by pages of 4 KiB; 2 to 4 MiB is one large page; 4 to 6 MiB still has no pages.
  link(table.directory, table.program);
  asm.lea(rax, mem(at.guest_ram, { disp: ept.read | ept.write | ept.writeBack | ept.largePage }));
  store(table.directory + 8);
  link(table.directory + 16, table.onDemand);

  // The guest's program stays where the image has it. The guest may read and execute it, not write.
  asm.lea(rax, mem(at.guest_program, { disp: ept.read | ept.execute | ept.writeBack }));
  asm.lea(rdx, mem(rdi, { disp: table.program + (guestMap.program / pageSize) * 8 }));
  asm.mov(ecx, at.guest_program_end.minus(at.guest_program));
  asm.shr(ecx, 12);
  asm.here(next);
  asm.mov(mem64(rdx), rax);
  asm.add(rax, pageSize);
  asm.add(rdx, 8);
  asm.loop(next);
}

/** The guest's own paging maps its 6 MiB one to one in three large pages. */
function emitGuestPageTables({ asm, at }: Program): void {
  const directory = guestMap.pageTables + 2 * pageSize;
  const store = (where: number, entry: number) =>
    asm.mov(mem64(rdi, { disp: where - guestMap.ram }), entry);

  asm.lea(rdi, mem(at.guest_ram));
  store(guestMap.pageTables, guestMap.pageTables + pageSize + guestTable);
  store(guestMap.pageTables + pageSize, directory + guestTable);
  for (let page = 0; page << largePageShift < guestMap.end; page++) {
    store(directory + 8 * page, (page << largePageShift) + guestLargePage);
  }
}

/**
 * The numbers up to a million are cut into as many slices as there are vCPUs, so the sum of what they find does not
 * depend on how many they are. Slice n goes from n * million / count to (n + 1) * million / count.
 */
function emitGuestInformation({ asm, at }: Program): void {
  const next = asm.label("build_guest_memory.next_vcpu");
  const field = (name: keyof typeof guestInformation) =>
    mem64(rdi, { disp: guestMap.information - guestMap.ram + guestInformation[name] });
  const boundary = () => {
    asm.imul(eax, ebx, primesBelow);
    asm.xor(edx, edx);
    asm.div(rcx);
  };

  asm.mov(ecx, mem32(at.processor_count));
  // Memory for a slice: its length in whole pages, and a page between slices.
  asm.mov(eax, primesBelow);
  asm.xor(edx, edx);
  asm.div(rcx);
  asm.add(eax, 2 * pageSize - 1);
  asm.and(eax, ~(pageSize - 1));
  asm.mov(r8, rax);
  asm.mov(r9, guestMap.onDemand);
  asm.xor(ebx, ebx);
  asm.here(next);
  asm.mov(field("index"), rbx);
  asm.mov(field("count"), rcx);
  asm.mov(field("sliceMemory"), r9);
  asm.add(r9, r8);
  boundary();
  asm.mov(field("sliceStart"), rax);
  asm.inc(ebx);
  boundary();
  asm.mov(field("sliceEnd"), rax);
  asm.add(rdi, pageSize);
  asm.cmp(ebx, ecx);
  asm.jb(next);
  // 0 and 1 are not prime, and nobody moves where there is nowhere to go.
  asm.lea(rdi, mem(at.guest_ram));
  asm.mov(field("sliceStart"), 2);
  asm.xor(eax, eax);
  asm.cmp(ecx, 1);
  asm.sete(al);
  asm.mov(field("moved"), rax);
}

/** An entry of all zeros is a page that does not exist; touching it is an EPT violation. Now it gets a page of zeros. */
function emitMapOnDemand({ asm, at, text }: Program): void {
  const outside = asm.label("map_on_demand.outside");

  asm.here(at.map_on_demand);
  asm.mov(rsi, rdi);
  asm.sub(rdi, guestMap.onDemand);
  asm.cmp(rdi, guestMap.end - guestMap.onDemand);
  asm.jae(outside);
  asm.shr(rdi, 12);
  asm.lea(rdx, mem(at.ept_tables, { disp: table.onDemand }));
  asm.lea(rdx, mem(rdx, { index: rdi, scale: 8 }));
  asm.cmp(mem64(rdx), 0);
  asm.jne(outside);
  // Other processors take pages too.
  asm.mov(eax, 1);
  asm.lock.xadd(mem64(at.pages_used), rax);
  asm.shl(rax, 12);
  asm.lea(r8, mem(at.guest_pages));
  asm.add(r8, rax);
  asm.mov(rdi, r8);
  asm.xor(eax, eax);
  asm.mov(ecx, pageSize / 8);
  asm.rep.stosq();
  asm.or(r8, ept.read | ept.write | ept.writeBack);
  asm.mov(mem64(rdx), r8);
  asm.inc(mem64(r14, { disp: virtualProcessor.pagesMapped }));
  asm.ret();
  asm.here(outside);
  asm.lea(rdi, mem(text("the guest may not do this to guest-physical address")));
  asm.jmp(at.fatal);
}
