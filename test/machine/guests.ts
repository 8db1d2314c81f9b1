/** Small guests: Multiboot images in flat 32-bit protected mode, made for one question each. */
import { type Assembler, createAssembler } from "../../src/isa/assembler.ts";
import type { Label } from "../../src/isa/assembler-operands.ts";
import {
  al,
  ax,
  cl,
  cr0,
  ds,
  dx,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  esp,
  far,
  mem,
  mem8,
  mem32,
  mem48,
  ss,
} from "../../src/isa/assembler-operands.ts";
import { multibootHeader } from "./images.ts";

const load = 0x10_0000;
const headerBytes = 32;
const serialPort = 0x3f8;
const debugExitPort = 0xf4;
const lapic = {
  base: 0xfee0_0000,
  id: 0x20,
  eoi: 0xb0,
  spurious: 0xf0,
  commandLow: 0x300,
  commandHigh: 0x310,
  timer: 0x320,
  initialCount: 0x380,
  divide: 0x3e0,
} as const;
const flatCode = 0x08;
const flatData = 0x10;

/** Assembles a guest; `body` begins at the entry point. */
export function guest(body: (asm: Assembler) => void): Uint8Array {
  const asm = createAssembler({ origin: load + headerBytes, bits: 32 });
  body(asm);
  const { bytes, end } = asm.assemble();
  const addresses = [
    load,
    load,
    load + headerBytes + bytes.length,
    Number(end),
    load + headerBytes,
  ];
  return Uint8Array.from([...multibootHeader(0x1_0000, addresses), ...bytes]);
}

/** Sends AL to COM1. Clobbers EDX. */
function emitPutCharacter(asm: Assembler): void {
  asm.mov(dx, serialPort);
  asm.out(dx, al);
}

/** Prints a text of the program. Clobbers EAX, EDX, ESI. */
export function emitPrint(asm: Assembler, text: string, name = text): void {
  const string = asm.label(`text ${name}`);
  const over = asm.label(`over ${name}`);
  asm.jmp(over);
  asm.here(string);
  asm.ascii(text);
  asm.u8(0);
  asm.here(over);
  asm.mov(esi, string);
  const next = asm.here(`next ${name}`);
  const done = asm.label(`done ${name}`);
  asm.lodsb();
  asm.test(al, al);
  asm.jz(done);
  emitPutCharacter(asm);
  asm.jmp(next);
  asm.here(done);
}

/** Ends the machine with a status of (EAX << 1) | 1. */
export function emitExit(asm: Assembler, value?: number): void {
  if (value !== undefined) asm.mov(eax, value);
  asm.mov(dx, debugExitPort);
  asm.out(dx, eax);
  const stay = asm.here("exited");
  asm.cli();
  asm.hlt();
  asm.jmp(stay);
}

export const hello = (value: number): Uint8Array =>
  guest((asm) => {
    emitPrint(asm, "hello\n");
    emitExit(asm, value);
  });

export const powerOff = guest((asm) => {
  asm.mov(dx, 0x8900);
  for (const character of "Shutdown") {
    asm.mov(al, character.charCodeAt(0));
    asm.out(dx, al);
  }
  asm.hlt();
});

export const resets = guest((asm) => {
  asm.mov(al, 0x06);
  asm.mov(dx, 0xcf9);
  asm.out(dx, al);
  asm.hlt();
});

export const tripleFault = guest((asm) => {
  const limits = asm.label("no descriptors");
  asm.mov(ebx, 0x1234_5678);
  asm.lidt(mem48(limits));
  asm.int3();
  asm.here(limits);
  asm.u16(0);
  asm.u32(0);
});

export const spins = guest((asm) => {
  asm.cli();
  const here = asm.here("here");
  asm.jmp(here);
});

export const sleepsForEver = guest((asm) => {
  asm.cli();
  const here = asm.here("here");
  asm.hlt();
  asm.jmp(here);
});

export const floodsSerial = guest((asm) => {
  const here = asm.here("here");
  asm.mov(al, 0x78);
  emitPutCharacter(asm);
  asm.jmp(here);
});

export const writesNowhere = guest((asm) => {
  asm.mov(mem32(0xd000_0000), 1);
  asm.mov(eax, mem32(0xd000_0000));
  asm.mov(dx, 0x9999);
  asm.out(dx, al);
  asm.and(eax, 0x3f);
  emitExit(asm);
});

/** Tables that make interrupts possible: a flat GDT, and an IDT with one gate. */
function emitTables(asm: Assembler, vector: number, handler: Label): void {
  const over = asm.label("over tables");
  const gdt = asm.label("gdt");
  const idt = asm.label("idt");
  const gdtPointer = asm.label("gdt pointer");
  const idtPointer = asm.label("idt pointer");
  const loaded = asm.label("cs loaded");
  asm.jmp(over);
  asm.align(8);
  asm.here(gdt);
  asm.u64(0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn);
  asm.here(gdtPointer);
  asm.u16(23);
  asm.u32(gdt);
  asm.here(idtPointer);
  asm.u16(256 * 8 - 1);
  asm.u32(idt);
  asm.align(8);
  asm.here(idt);
  asm.reserve(256 * 8);
  asm.here(over);
  asm.lgdt(mem48(gdtPointer));
  asm.jmp(far(flatCode, loaded));
  asm.here(loaded);
  asm.mov(ax, flatData);
  for (const segment of [ds, es, ss]) asm.mov(segment, ax);
  asm.mov(edi, idt.plus(vector * 8));
  asm.mov(eax, handler);
  asm.and(eax, 0xffff);
  asm.or(eax, flatCode << 16);
  asm.mov(mem32(edi), eax);
  asm.mov(eax, handler);
  asm.and(eax, 0xffff_0000 | 0);
  asm.or(eax, 0x8e00);
  asm.mov(mem32(edi, { disp: 4 }), eax);
  asm.lidt(mem48(idtPointer));
}

/** Halts until its local APIC's timer has interrupted ten times. */
export const timerTicks = guest((asm) => {
  const handler = asm.label("handler");
  const counter = 0x20_0000;
  emitTables(asm, 0x40, handler);
  asm.mov(mem32(lapic.base + lapic.spurious), 0x1ff);
  asm.mov(mem32(lapic.base + lapic.divide), 0xb);
  asm.mov(mem32(lapic.base + lapic.timer), 0x2_0040);
  asm.mov(mem32(lapic.base + lapic.initialCount), 20_000);
  asm.sti();
  const wait = asm.here("wait");
  asm.hlt();
  asm.cmp(mem32(counter), 10);
  asm.jb(wait);
  asm.cli();
  emitPrint(asm, "ten\n");
  emitExit(asm, 0);
  asm.here(handler);
  asm.inc(mem32(counter));
  asm.mov(mem32(lapic.base + lapic.eoi), 0);
  asm.iretd();
});

/** Sends what it receives back in capitals, by interrupts of COM1, until a full stop; then exits with 0. */
export const capitals = guest((asm) => {
  const handler = asm.label("handler");
  const [empty, stop] = [asm.label("empty"), asm.label("stop")];
  const [ioapicIndex, ioapicData] = [0xfec0_0000, 0xfec0_0010];
  emitTables(asm, 0x41, handler);
  asm.mov(mem32(lapic.base + lapic.spurious), 0x1ff);
  // Pin 4, where COM1 is.
  asm.mov(mem32(ioapicIndex), 0x19);
  asm.mov(mem32(ioapicData), 0);
  asm.mov(mem32(ioapicIndex), 0x18);
  asm.mov(mem32(ioapicData), 0x41);
  // FIFOs on and empty; interrupts when something is received; DTR, RTS, OUT2.
  for (const [register, value] of [
    [2, 0x07],
    [1, 0x01],
    [4, 0x0b],
  ] as const) {
    asm.mov(dx, serialPort + register);
    asm.mov(al, value);
    asm.out(dx, al);
  }
  asm.sti();
  const wait = asm.here("wait");
  asm.hlt();
  asm.jmp(wait);

  asm.here(handler);
  const next = asm.here("next");
  asm.mov(dx, serialPort + 5);
  asm.in(al, dx);
  asm.test(al, 1);
  asm.jz(empty);
  asm.mov(dx, serialPort);
  asm.in(al, dx);
  asm.cmp(al, ".".charCodeAt(0));
  asm.je(stop);
  asm.sub(al, 0x20);
  asm.out(dx, al);
  asm.jmp(next);
  asm.here(empty);
  asm.mov(mem32(lapic.base + lapic.eoi), 0);
  asm.iretd();
  asm.here(stop);
  emitExit(asm, 0);
});

/** Spins while its timer runs down, a hundred times; exits with the cycles by which the worst interrupt came late. */
export const timerLateness = guest((asm) => {
  const handler = asm.label("handler");
  const [deadline, fired, worst] = [0x20_0000, 0x20_0040, 0x20_0080];
  emitTables(asm, 0x40, handler);
  asm.mov(mem32(lapic.base + lapic.spurious), 0x1ff);
  asm.mov(mem32(lapic.base + lapic.timer), 0x4_0040);
  asm.mov(ebx, 100);
  asm.sti();
  const again = asm.here("again");
  asm.mov(mem32(fired), 0);
  asm.rdtsc();
  asm.add(eax, 3000);
  asm.adc(edx, 0);
  asm.mov(mem32(deadline), eax);
  asm.mov(ecx, 0x6e0);
  asm.wrmsr();
  const wait = asm.here("wait");
  asm.cmp(mem32(fired), 0);
  asm.je(wait);
  asm.dec(ebx);
  asm.jnz(again);
  asm.cli();
  asm.mov(eax, mem32(worst));
  emitExit(asm);
  asm.here(handler);
  asm.rdtsc();
  asm.sub(eax, mem32(deadline));
  asm.mov(edx, mem32(worst));
  asm.cmp(eax, edx);
  const notWorse = asm.label("not worse");
  asm.jb(notWorse);
  asm.mov(mem32(worst), eax);
  asm.here(notWorse);
  asm.mov(mem32(fired), 1);
  asm.mov(mem32(lapic.base + lapic.eoi), 0);
  asm.iretd();
});

/** The 8254's counter 0 through the I/O APIC, as vector 41H, to the first LP. */
export const deviceTicks = guest((asm) => {
  const handler = asm.label("handler");
  const counter = 0x20_0000;
  const ioapic = 0xfec0_0000;
  const write = (register: number, value: number): void => {
    asm.mov(mem32(ioapic), register);
    asm.mov(mem32(ioapic + 0x10), value);
  };
  emitTables(asm, 0x41, handler);
  asm.mov(mem32(lapic.base + lapic.spurious), 0x1ff);
  write(0x15, 0);
  write(0x14, 0x41);
  // Mode 2, about 1000 Hz.
  asm.mov(al, 0x34);
  asm.out(0x43, al);
  asm.mov(al, 1193 & 0xff);
  asm.out(0x40, al);
  asm.mov(al, 1193 >> 8);
  asm.out(0x40, al);
  asm.sti();
  const wait = asm.here("wait");
  asm.hlt();
  asm.cmp(mem32(counter), 5);
  asm.jb(wait);
  asm.cli();
  emitExit(asm, 5);
  asm.here(handler);
  asm.inc(mem32(counter));
  asm.mov(mem32(lapic.base + lapic.eoi), 0);
  asm.iretd();
});

const trampoline = 0x8000;
const online = 0x20_0000;
const tickets = 0x20_0040;
/** Where the first LP tells the others to go on: u32. */
export const go = 0x20_0080;

/**
 * Starts all other LPs by INIT and SIPI. Each comes to `onOther` in protected mode with its number, 1 and up, in EBP; the
 * first LP goes on at once with EBX = the number of others that it is to wait for.
 */
export function emitStartOthers(
  asm: Assembler,
  others: number,
  onOther: (asm: Assembler) => void,
): void {
  const code = asm.label("trampoline");
  const codeEnd = asm.label("trampoline end");
  const protectedMode = asm.label("other in protected mode");
  const descriptors = asm.label("descriptors");
  const pointer = asm.label("descriptor pointer");
  const over = asm.label("over others");
  asm.jmp(over);

  asm.here(code);
  asm.bits(16);
  asm.runAt(trampoline, () => {
    asm.cli();
    asm.mov(ax, 0);
    asm.mov(ds, ax);
    asm.form("Lgdt_m1632_16", mem(pointerCopy()));
    asm.mov(eax, cr0);
    asm.or(al, 1);
    asm.mov(cr0, eax);
    asm.form("Jmp_ptr1632", far(flatCode, protectedMode));
  });
  asm.here(codeEnd);
  asm.bits(32);
  asm.align(8);
  asm.here(descriptors);
  asm.u64(0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn);
  asm.here(pointer);
  asm.u16(23);
  asm.u32(descriptors);

  asm.here(protectedMode);
  asm.mov(ax, flatData);
  for (const segment of [ds, es, ss]) asm.mov(segment, ax);
  asm.mov(ebp, 1);
  asm.lock.xadd(mem32(tickets), ebp);
  asm.inc(ebp);
  asm.mov(esp, ebp);
  asm.shl(esp, 12);
  asm.add(esp, 0x30_0000);
  asm.lock.inc(mem32(online));
  onOther(asm);

  asm.here(over);
  asm.mov(esi, code);
  asm.mov(edi, trampoline);
  asm.mov(ecx, codeEnd.minus(code));
  asm.rep.movsb();
  asm.mov(esi, pointer);
  asm.mov(edi, pointerCopy());
  asm.mov(ecx, 6);
  asm.rep.movsb();
  asm.mov(mem32(lapic.base + lapic.spurious), 0x1ff);
  asm.mov(mem32(lapic.base + lapic.commandHigh), 0);
  asm.mov(mem32(lapic.base + lapic.commandLow), 0xc_4500);
  asm.mov(mem32(lapic.base + lapic.commandLow), 0xc_4600 | (trampoline >> 12));
  const wait = asm.here("wait for others");
  asm.pause();
  asm.cmp(mem32(online), others);
  asm.jne(wait);
}

/** Another LP waits until the first has got everything ready. */
export function emitAwaitGo(asm: Assembler): void {
  const wait = asm.here("wait for go");
  asm.pause();
  asm.cmp(mem32(go), 1);
  asm.jne(wait);
}

/** Where the first LP copies the trampoline's descriptor pointer to. */
function pointerCopy(): number {
  return trampoline + 0x800;
}

/** Every LP adds 1 to a shared counter a thousand times, LOCKed; the first prints what has come out, in decimal. */
export const countsTogether = (lps: number): Uint8Array =>
  guest((asm) => {
    const counter = 0x20_00c0;
    const done = 0x20_0100;
    const add = (name: string): void => {
      asm.mov(ecx, 1000);
      const again = asm.here(name);
      asm.lock.inc(mem32(counter));
      asm.loop(again);
      asm.lock.inc(mem32(done));
    };
    emitStartOthers(asm, lps - 1, () => {
      emitAwaitGo(asm);
      add("others add");
      const stay = asm.here("other stays");
      asm.cli();
      asm.hlt();
      asm.jmp(stay);
    });
    asm.mov(mem32(go), 1);
    add("first adds");
    const wait = asm.here("wait for sums");
    asm.pause();
    asm.cmp(mem32(done), lps);
    asm.jne(wait);
    asm.mov(eax, mem32(counter));
    asm.mov(ebx, 10);
    asm.mov(edi, 0x20_0200);
    const digit = asm.here("digit");
    asm.xor(edx, edx);
    asm.div(ebx);
    asm.add(edx, 0x30);
    asm.dec(edi);
    asm.mov(mem8(edi), cl);
    asm.mov(ecx, edx);
    asm.mov(mem8(edi), cl);
    asm.test(eax, eax);
    asm.jnz(digit);
    const print = asm.here("print digit");
    asm.mov(al, mem8(edi));
    emitPutCharacter(asm);
    asm.inc(edi);
    asm.cmp(edi, 0x20_0200);
    asm.jne(print);
    emitExit(asm, 1);
  });

/**
 * The second LP runs a function over and over that returns a number; the first changes the number in the function's code,
 * again and again, and each time waits until the second has seen it.
 */
export const changesCode = (changes: number): Uint8Array =>
  guest((asm) => {
    const seen = 0x20_00c0;
    const code = 0x21_0000;
    emitStartOthers(asm, 1, () => {
      emitAwaitGo(asm);
      const again = asm.here("call the code");
      asm.mov(eax, code);
      asm.call(eax);
      asm.mov(mem32(seen), eax);
      asm.jmp(again);
    });
    // mov eax, imm32; ret
    asm.mov(ecx, changes);
    asm.mov(mem8(code + 5), 0xc3);
    asm.mov(mem32(code + 1), 0);
    asm.mov(mem8(code), 0xb8);
    asm.mov(mem32(go), 1);
    const next = asm.here("next change");
    asm.mov(mem32(code + 1), ecx);
    const wait = asm.here("wait until seen");
    asm.pause();
    asm.cmp(mem32(seen), ecx);
    asm.jne(wait);
    asm.loop(next);
    emitExit(asm, 2);
  });

/** Ends with bits 47:40 of the time-stamp counter as its value. */
export const tellsTime = guest((asm) => {
  asm.rdtsc();
  asm.mov(eax, edx);
  asm.shr(eax, 8);
  asm.mov(dx, debugExitPort);
  asm.out(dx, al);
});
