import {
  al,
  cl,
  dx,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  type Label,
  mem,
  mem8,
  mem32,
  mem64,
  r12,
  r13,
  r14,
  r15,
  rax,
  rbp,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import { port, uart } from "./architecture.ts";
import { logSize, processor, virtualProcessor } from "./memory.ts";
import type { Program } from "./program.ts";

/**
 * Output. Each LP writes its lines into a log of its own, and at the end of a phase the BSP prints the logs in LP order:
 * so the story is the same on every run, whoever was faster. COM1 itself is guarded by a spin lock, as a processor in
 * trouble prints at once.
 */

const lineFeed = 10;
/** Line status: the next character may come; and: the last one has left. */
const transmitterReady = 0x20;
const transmitterIdle = 0x40;
/** So often the status is read before we give up waiting for the last character. */
const idleLooks = 100_000;

export function emitConsole(program: Program): void {
  emitSerialPort(program);
  emitLock(program);
  emitLog(program);
  emitPrintLogs(program);
  emitTheEnd(program);
}

/** Writes the zero-terminated text at RDI through `putCharacter`, which takes AL and keeps RBX. */
export function emitWriteText({ asm }: Program, name: Label, putCharacter: Label): void {
  const next = asm.label(`${name.name}.next`);
  const end = asm.label(`${name.name}.end`);

  asm.here(name);
  asm.push(rbx);
  asm.mov(rbx, rdi);
  asm.here(next);
  asm.mov(al, mem8(rbx));
  asm.test(al, al);
  asm.jz(end);
  asm.call(putCharacter);
  asm.inc(rbx);
  asm.jmp(next);
  asm.here(end);
  asm.pop(rbx);
  asm.ret();
}

/** Writes the number in RDI through `putCharacter` in base `base`: digits are pushed from the last, popped from the first. */
export function emitWriteNumber(
  { asm }: Program,
  name: Label,
  putCharacter: Label,
  base: 10 | 16,
): void {
  const divide = asm.label(`${name.name}.divide`);
  const digit = asm.label(`${name.name}.digit`);
  const decimal = asm.label(`${name.name}.decimal`);

  asm.here(name);
  asm.push(rbx);
  asm.mov(rax, rdi);
  asm.xor(ecx, ecx);
  asm.mov(edi, base);
  asm.here(divide);
  asm.xor(edx, edx);
  asm.div(rdi);
  asm.push(rdx);
  asm.inc(ecx);
  asm.test(rax, rax);
  asm.jnz(divide);
  asm.mov(ebx, ecx);
  asm.here(digit);
  asm.pop(rax);
  asm.add(al, "0".charCodeAt(0));
  asm.cmp(al, "9".charCodeAt(0));
  asm.jbe(decimal);
  asm.add(al, "a".charCodeAt(0) - "9".charCodeAt(0) - 1);
  asm.here(decimal);
  asm.call(putCharacter);
  asm.dec(ebx);
  asm.jnz(digit);
  asm.pop(rbx);
  asm.ret();
}

/** COM1: 115200 baud, 8 data bits, no parity, one stop bit; polled. */
function emitSerialPort(program: Program): void {
  const { asm, at } = program;
  const setUp: [number, number][] = [
    [uart.lineControl, 0x80], // the next two registers are the divisor
    [uart.data, 1],
    [uart.interruptEnable, 0],
    [uart.lineControl, 3],
    [uart.fifoControl, 0],
    [uart.modemControl, 3],
    [uart.interruptEnable, 0],
  ];
  asm.here(at.console_init);
  for (const [register, value] of setUp) {
    asm.mov(edx, port.com1 + register);
    asm.mov(al, value);
    asm.out(dx, al);
  }
  asm.ret();

  asm.here(at.console_character);
  asm.mov(cl, al);
  asm.mov(edx, port.com1 + uart.lineStatus);
  const wait = asm.here("console_character.wait");
  asm.in(al, dx);
  asm.test(al, transmitterReady);
  asm.jz(wait);
  asm.mov(al, cl);
  asm.mov(edx, port.com1 + uart.data);
  asm.out(dx, al);
  asm.ret();

  emitWriteText(program, at.console_text, at.console_character);
  emitWriteNumber(program, at.console_number, at.console_character, 10);
  emitWriteNumber(program, at.console_hex, at.console_character, 16);
}

/** A test-and-test-and-set lock: XCHG takes it; who fails reads until it looks free, so the cache line is not fought over. */
function emitLock({ asm, at }: Program): void {
  const spin = asm.label("console_lock_take.spin");
  const taken = asm.label("console_lock_take.taken");

  asm.here(at.console_lock_take);
  asm.mov(eax, 1);
  asm.xchg(mem32(at.console_lock), eax);
  asm.test(eax, eax);
  asm.jz(taken);
  asm.here(spin);
  asm.pause();
  asm.cmp(mem32(at.console_lock), 0);
  asm.jne(spin);
  asm.jmp(at.console_lock_take);
  asm.here(taken);
  asm.ret();

  // Stores become visible in order: a plain one gives the lock back after everything written under it.
  asm.here(at.console_lock_release);
  asm.mov(mem32(at.console_lock), 0);
  asm.ret();
}

function emitLog(program: Program): void {
  const { asm, at, text } = program;
  const full = asm.label("log_character.full");

  asm.here(at.log_character);
  asm.push(rcx);
  asm.push(rdx);
  asm.mov(rcx, mem64(r15, { disp: processor.logLength }));
  asm.cmp(rcx, logSize);
  asm.jae(full);
  asm.mov(rdx, mem64(r15, { disp: processor.log }));
  asm.mov(mem8(rdx, { index: rcx }), al);
  asm.inc(mem64(r15, { disp: processor.logLength }));
  asm.here(full);
  asm.pop(rdx);
  asm.pop(rcx);
  asm.ret();

  emitWriteText(program, at.log_text, at.log_character);
  emitWriteNumber(program, at.log_number, at.log_character, 10);

  asm.here(at.log_processor);
  asm.lea(rdi, mem(text("LP ")));
  asm.call(at.log_text);
  asm.mov(rdi, mem64(r15, { disp: processor.index }));
  asm.call(at.log_number);
  asm.lea(rdi, mem(text(": ")));
  asm.jmp(at.log_text);

  emitGuestCharacter(program);
}

/** The guest's port is a console of its own; its lines are marked with where they come from. */
function emitGuestCharacter({ asm, at, text }: Program): void {
  const lineStart = asm.label("guest_character.line_start");
  const append = asm.label("guest_character.append");

  asm.here(at.guest_character);
  asm.push(rax);
  asm.mov(rcx, mem64(r15, { disp: processor.logLength }));
  asm.test(rcx, rcx);
  asm.jz(lineStart);
  asm.mov(rdx, mem64(r15, { disp: processor.log }));
  asm.cmp(mem8(rdx, { index: rcx, disp: -1 }), lineFeed);
  asm.jne(append);
  asm.here(lineStart);
  asm.call(at.log_processor);
  asm.lea(rdi, mem(text("vCPU ")));
  asm.call(at.log_text);
  asm.mov(rdi, mem64(r14, { disp: virtualProcessor.index }));
  asm.call(at.log_number);
  asm.lea(rdi, mem(text(" says: ")));
  asm.call(at.log_text);
  asm.here(append);
  asm.pop(rax);
  asm.jmp(at.log_character);
}

function emitPrintLogs({ asm, at }: Program): void {
  const nextLog = asm.label("print_logs.next_log");
  const nextCharacter = asm.label("print_logs.next_character");
  const done = asm.label("print_logs.done");

  asm.here(at.print_logs);
  for (const register of [rbx, rbp, r12, r13]) {
    asm.push(register);
  }
  asm.call(at.console_lock_take);
  asm.lea(rbx, mem(at.processors));
  asm.mov(ebp, mem32(at.processor_count));
  asm.here(nextLog);
  asm.mov(r12, mem64(rbx, { disp: processor.log }));
  asm.mov(r13, mem64(rbx, { disp: processor.logLength }));
  asm.add(r13, r12);
  asm.here(nextCharacter);
  asm.cmp(r12, r13);
  asm.jae(done);
  asm.mov(al, mem8(r12));
  asm.call(at.console_character);
  asm.inc(r12);
  asm.jmp(nextCharacter);
  asm.here(done);
  asm.mov(mem64(rbx, { disp: processor.logLength }), 0);
  asm.add(rbx, processor.size);
  asm.dec(ebp);
  asm.jnz(nextLog);
  asm.call(at.console_lock_release);
  for (const register of [r13, r12, rbp, rbx]) {
    asm.pop(register);
  }
  asm.ret();
}

function emitTheEnd({ asm, at, text }: Program): void {
  asm.here(at.fatal);
  asm.cli();
  asm.mov(rbx, rdi);
  asm.mov(r12, rsi);
  asm.call(at.console_lock_take);
  asm.lea(rdi, mem(text("LP ")));
  asm.call(at.console_text);
  asm.mov(rdi, mem64(r15, { disp: processor.index }));
  asm.call(at.console_number);
  asm.lea(rdi, mem(text(": FATAL: ")));
  asm.call(at.console_text);
  asm.mov(rdi, rbx);
  asm.call(at.console_text);
  asm.lea(rdi, mem(text(" 0x")));
  asm.call(at.console_text);
  asm.mov(rdi, r12);
  asm.call(at.console_hex);
  asm.lea(rdi, mem(text("\n")));
  asm.call(at.console_text);
  asm.mov(edi, 1);

  // The last character may still be on its way. Then three ways to end: the debug-exit device, the port that ends some
  // simulators, and standing still.
  asm.here(at.power_off);
  asm.mov(ecx, idleLooks);
  asm.mov(edx, port.com1 + uart.lineStatus);
  const draining = asm.here("power_off.draining");
  asm.in(al, dx);
  asm.test(al, transmitterIdle);
  asm.loope(draining);
  asm.mov(eax, edi);
  asm.mov(edx, port.debugExit);
  asm.out(dx, eax);
  asm.mov(edx, port.shutdown);
  for (const character of "Shutdown") {
    asm.mov(al, character.charCodeAt(0));
    asm.out(dx, al);
  }
  const forever = asm.here("power_off.forever");
  asm.cli();
  asm.hlt();
  asm.jmp(forever);
}
