import {
  al,
  ax,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  mem,
  mem32,
  mem64,
  r8,
  r12,
  r15,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import { command, fwCfgKey, lapic, port } from "./architecture.ts";
import {
  logSize,
  maximumProcessors,
  pageSize,
  processor,
  startUpVector,
  trampolineAddress,
} from "./memory.ts";
import type { Program } from "./program.ts";

/** Finding the processors, waking them, giving each its number, and making them wait for each other. */

/** How often a count must be found unchanged before it is believed. */
const steadyLooks = 40;
/** A wait that takes this many TSC cycles (a minute or two) has failed. */
const patienceCycles = 1n << 38n;

export function emitProcessors(program: Program): void {
  emitWakeAps(program);
  emitFirmwareCount(program);
  emitApCheckIn(program);
  emitProcessorInit(program);
  emitWaitFor(program);
  emitBarrier(program);
}

/**
 * INIT resets the APs and leaves them waiting; a start-up IPI gives them a page to begin at. The second one is for old
 * processors that missed the first; an AP that is running ignores it.
 */
function emitWakeAps({ asm, at }: Program): void {
  const expected = asm.label("wake_aps.expected");
  const look = asm.label("wake_aps.look");
  const changed = asm.label("wake_aps.changed");
  const counted = asm.label("wake_aps.counted");
  const send = (mode: number) => {
    asm.xor(edi, edi);
    asm.mov(esi, command.allButSelf | command.assert | mode);
    asm.call(at.send_ipi);
    asm.call(at.pause_a_while);
  };

  asm.here(at.wake_aps);
  asm.push(rbx);
  asm.push(r12);
  asm.lea(rsi, mem(at.trampoline));
  asm.mov(edi, trampolineAddress);
  asm.mov(ecx, at.trampoline_end.minus(at.trampoline));
  asm.rep.movsb();
  send(command.init);
  send(command.startUp | startUpVector);
  send(command.startUp | startUpVector);

  asm.call(at.firmware_count);
  asm.test(eax, eax);
  asm.jnz(expected);
  // Nobody says how many there are: wait until the count has not changed for a while.
  asm.here(changed);
  asm.mov(ebx, mem32(at.aps_online));
  asm.mov(r12, steadyLooks);
  asm.here(look);
  asm.call(at.pause_a_while);
  asm.cmp(ebx, mem32(at.aps_online));
  asm.jne(changed);
  asm.dec(r12);
  asm.jnz(look);
  asm.jmp(counted);
  asm.here(expected);
  asm.mov(ecx, maximumProcessors);
  asm.cmp(eax, ecx);
  asm.cmova(eax, ecx);
  asm.lea(ebx, mem(rax, { disp: -1 }));
  asm.lea(rdi, mem(at.aps_online));
  asm.mov(esi, ebx);
  asm.call(at.wait_for);
  asm.here(counted);
  asm.mov(mem32(at.aps_counted), ebx);
  asm.inc(ebx);
  asm.mov(mem32(at.processor_count), ebx);
  asm.mov(mem32(at.processors_released), 1);
  asm.pop(r12);
  asm.pop(rbx);
  asm.ret();
}

/** The firmware-configuration device knows the number of processors. EAX: the number, 0 without such a device. */
function emitFirmwareCount({ asm, at }: Program): void {
  const absent = asm.label("firmware_count.absent");
  const select = (key: number) => {
    asm.mov(edx, port.fwCfgSelector);
    asm.mov(eax, key);
    asm.out(dx, ax);
    asm.mov(edx, port.fwCfgData);
  };

  asm.here(at.firmware_count);
  select(fwCfgKey.signature);
  for (const character of "QEMU") {
    asm.in(al, dx);
    asm.cmp(al, character.charCodeAt(0));
    asm.jne(absent);
  }
  select(fwCfgKey.processorCount);
  asm.in(al, dx);
  asm.movzx(ecx, al);
  asm.in(al, dx);
  asm.movzx(eax, al);
  asm.shl(eax, 8);
  asm.or(eax, ecx);
  asm.ret();
  asm.here(absent);
  asm.xor(eax, eax);
  asm.ret();
}

/**
 * APs arrive in any order, but LP numbers must be the same on every run: an AP's number is its rank by APIC ID among
 * those that answered. An AP that came after the counting stays out.
 */
function emitApCheckIn({ asm, at }: Program): void {
  const released = asm.label("ap_check_in.released");
  const compare = asm.label("ap_check_in.compare");
  const notSmaller = asm.label("ap_check_in.not_smaller");
  const tooLate = asm.label("ap_check_in.too_late");

  asm.here(at.ap_check_in);
  asm.mov(edx, lapic.base);
  asm.mov(esi, mem32(rdx, { disp: lapic.id }));
  asm.shr(esi, 24);
  asm.lea(r8, mem(at.ap_apic_ids));
  asm.mov(mem64(r8, { index: rbx, scale: 8 }), rsi);
  asm.lock.inc(mem32(at.aps_online));
  const wait = asm.here("ap_check_in.wait");
  asm.cmp(mem32(at.processors_released), 0);
  asm.jne(released);
  asm.pause();
  asm.jmp(wait);
  asm.here(released);
  asm.mov(ecx, mem32(at.aps_counted));
  asm.cmp(ebx, ecx);
  asm.jae(tooLate);
  // The BSP is LP 0, so ranks begin at 1.
  asm.mov(edi, 1);
  asm.here(compare);
  asm.cmp(mem64(r8, { index: rcx, scale: 8, disp: -8 }), rsi);
  asm.jae(notSmaller);
  asm.inc(edi);
  asm.here(notSmaller);
  asm.loop(compare);
  asm.jmp(at.processor_init);
  asm.here(tooLate);
  asm.cli();
  asm.hlt();
  asm.jmp(tooLate);
}

function emitProcessorInit({ asm, at }: Program): void {
  asm.here(at.processor_init);
  asm.imul(eax, edi, processor.size);
  asm.lea(r15, mem(at.processors));
  asm.add(r15, rax);
  asm.mov(mem64(r15, { disp: processor.index }), rdi);
  asm.mov(mem64(r15, { disp: processor.apicId }), rsi);
  asm.imul(eax, edi, logSize);
  asm.lea(rdx, mem(at.logs));
  asm.add(rdx, rax);
  asm.mov(mem64(r15, { disp: processor.log }), rdx);
  asm.imul(eax, edi, pageSize);
  asm.lea(rdx, mem(at.vmxon_regions));
  asm.add(rdx, rax);
  asm.mov(mem64(r15, { disp: processor.vmxonRegion }), rdx);
  asm.call(at.apic_init);
  asm.jmp(at.load_descriptor_tables);
}

function emitWaitFor({ asm, at, text }: Program): void {
  const readClock = () => {
    asm.rdtsc();
    asm.shl(rdx, 32);
    asm.or(rax, rdx);
  };
  const done = asm.label("wait_for.done");

  asm.here(at.wait_for);
  readClock();
  asm.mov(rcx, patienceCycles);
  asm.add(rcx, rax);
  const again = asm.here("wait_for.again");
  asm.cmp(mem64(rdi), rsi);
  asm.jae(done);
  asm.pause();
  readClock();
  asm.cmp(rax, rcx);
  asm.jb(again);
  asm.lea(rdi, mem(text("a processor did not come in time; waited for")));
  asm.jmp(at.fatal);
  asm.here(done);
  asm.ret();
}

/** The n-th barrier is passed when n arrivals of every processor have been counted, so the count never goes back. */
function emitBarrier({ asm, at }: Program): void {
  asm.here(at.barrier);
  asm.inc(mem64(r15, { disp: processor.barriersPassed }));
  asm.mov(rsi, mem64(r15, { disp: processor.barriersPassed }));
  asm.imul(rsi, mem64(at.processor_count));
  asm.lea(rdi, mem(at.barrier_arrivals));
  asm.lock.inc(mem64(rdi));
  asm.jmp(at.wait_for);
}
