import type { Assembler } from "../../../src/isa/assembler.ts";
import {
  al,
  cl,
  cx,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  esp,
  mem8,
  mem16,
  mem32,
} from "../../../src/isa/assembler-operands.ts";
import { emitExit, guest } from "../../machine/guests.ts";

/** What the guest does, one after the other. Addresses are physical. */
export type Step =
  | readonly ["write" | "write16" | "write8", address: number, value: number]
  /** Prints a doubleword, or what is read of a word or a byte. */
  | readonly ["print" | "print16" | "print8", address: number]
  /** Reads a byte until it is not 0, and prints it: a register that is read clear, and set some time after what leads to it. */
  | readonly ["printSet8", address: number]
  /** Waits until all these bits are 0. */
  | readonly ["await", address: number, bits: number]
  /** Waits until the doubleword is this. */
  | readonly ["awaitValue", address: number, value: number]
  | readonly ["port", port: number, value: number];

const operation = {
  end: 0,
  write: 1,
  print: 2,
  await: 3,
  port: 4,
  write16: 5,
  write8: 6,
  print16: 7,
  print8: 8,
  awaitValue: 9,
  printSet8: 10,
} as const;
const serialPort = 0x3f8;
const stack = 0x7_f000;

/** A guest that does the steps with interrupts off, prints a line for each `print`, and exits. */
export function peerGuest(steps: readonly Step[]): Uint8Array {
  return guest((asm) => {
    const script = asm.label("script");
    asm.cli();
    asm.mov(esp, stack);
    asm.mov(esi, script);
    emitInterpreter(asm);
    asm.align(4);
    asm.here(script);
    for (const [name, address, value = 0] of steps) {
      asm.u32(operation[name], address >>> 0, value >>> 0);
    }
    asm.u32(operation.end, 0, 0);
  });
}

function emitInterpreter(asm: Assembler): void {
  const next = asm.here("next");
  const print = asm.label("print");
  asm.mov(eax, mem32(esi));
  asm.mov(edi, mem32(esi, { disp: 4 }));
  asm.mov(ecx, mem32(esi, { disp: 8 }));
  asm.add(esi, 12);
  for (const [code, emit, then = next] of [
    [operation.write, () => asm.mov(mem32(edi), ecx)],
    [operation.write16, () => asm.mov(mem16(edi), cx)],
    [operation.write8, () => asm.mov(mem8(edi), cl)],
    [operation.print, () => asm.mov(ebx, mem32(edi)), print],
    [operation.print16, () => asm.movzx(ebx, mem16(edi)), print],
    [operation.print8, () => asm.movzx(ebx, mem8(edi)), print],
    [operation.printSet8, () => emitReadSet(asm), print],
    [operation.await, () => emitAwait(asm)],
    [operation.awaitValue, () => emitAwaitValue(asm)],
    [operation.port, () => emitPort(asm)],
  ] as const) {
    const other = asm.label(`not ${code}`);
    asm.cmp(eax, code);
    asm.jnz(other);
    emit();
    asm.jmp(then);
    asm.here(other);
  }
  emitExit(asm, 0);
  asm.here(print);
  emitPrintWord(asm);
  asm.jmp(next);
}

function emitReadSet(asm: Assembler): void {
  const again = asm.here("not set");
  asm.movzx(ebx, mem8(edi));
  asm.test(ebx, ebx);
  asm.jz(again);
}

function emitAwait(asm: Assembler): void {
  const again = asm.here("again");
  asm.mov(eax, mem32(edi));
  asm.and(eax, ecx);
  asm.jnz(again);
}

function emitAwaitValue(asm: Assembler): void {
  const again = asm.here("not yet");
  asm.mov(eax, mem32(edi));
  asm.cmp(eax, ecx);
  asm.jnz(again);
}

function emitPort(asm: Assembler): void {
  asm.mov(edx, edi);
  asm.mov(eax, ecx);
  asm.out(dx, eax);
}

/** EBX in eight digits, and a line feed. */
function emitPrintWord(asm: Assembler): void {
  asm.mov(ecx, 8);
  const digit = asm.here("digit");
  const decimal = asm.label("decimal");
  asm.rol(ebx, 4);
  asm.mov(eax, ebx);
  asm.and(eax, 15);
  asm.add(al, 0x30);
  asm.cmp(al, 0x3a);
  asm.jb(decimal);
  asm.add(al, 0x27);
  asm.here(decimal);
  emitSend(asm, "digit");
  asm.dec(ecx);
  asm.jnz(digit);
  asm.mov(eax, 0x0a);
  emitSend(asm, "end of line");
}

/** Sends AL when the line is free. Clobbers EAX, EDX, EDI. */
function emitSend(asm: Assembler, name: string): void {
  const statusPort = serialPort + 5;
  const isFree = 0x20;
  asm.mov(edi, eax);
  asm.mov(dx, statusPort);
  const busy = asm.here(`busy before ${name}`);
  asm.in(al, dx);
  asm.test(al, isFree);
  asm.jz(busy);
  asm.mov(eax, edi);
  asm.mov(dx, serialPort);
  asm.out(dx, al);
}

/** What the steps of a guest have printed, as numbers. */
export function printedWords(text: string): number[] {
  return text
    .split("\n")
    .filter((line) => /^[0-9a-f]{8}\r?$/.test(line))
    .map((line) => Number.parseInt(line, 16));
}
