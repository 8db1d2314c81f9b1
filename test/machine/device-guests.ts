/** Guests that drive devices on the PCI bus through their registers, and count the interrupts they send. */
import type { Assembler } from "../../src/isa/assembler.ts";
import type { Label, Register32 } from "../../src/isa/assembler-operands.ts";
import {
  al,
  ax,
  ds,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  es,
  far,
  mem8,
  mem16,
  mem32,
  mem48,
  ss,
} from "../../src/isa/assembler-operands.ts";
import { emitExit, guest } from "./guests.ts";

const lapic = { base: 0xfee0_0000, eoi: 0xb0, spurious: 0xf0 } as const;
const debugExitPort = 0xf4;
const serialPort = 0x3f8;
const flat = { code: 0x08, data: 0x10 } as const;
const configurationPort = { address: 0xcf8, data: 0xcfc } as const;
const header = { command: 0x04, bars: 0x10, capabilities: 0x34 } as const;
const memoryAndMaster = 6;
/** Vectors of the tests are this and those after it. */
export const firstVector = 0x50;
/** How often each vector has come, one word for each. */
export const interruptCounts = 0x20_0000;

/** EAX = a register of the device in `slot` of bus 0. Clobbers EDX. */
function emitReadConfiguration(asm: Assembler, slot: number, offset: number): void {
  emitSelect(asm, slot, offset);
  asm.in(eax, dx);
}

function emitWriteConfiguration(asm: Assembler, slot: number, offset: number, value: number): void {
  emitSelect(asm, slot, offset);
  asm.mov(eax, value | 0);
  asm.out(dx, eax);
}

function emitSelect(asm: Assembler, slot: number, offset: number): void {
  asm.mov(eax, 0x8000_0000 | (slot << 11) | offset | 0);
  asm.mov(dx, configurationPort.address);
  asm.out(dx, eax);
  asm.mov(dx, configurationPort.data);
}

/** `into` = where a window of the device is. Clobbers EAX, EDX. */
export function emitLoadBar(asm: Assembler, slot: number, n: number, into: Register32): void {
  emitReadConfiguration(asm, slot, header.bars + 4 * n);
  asm.and(eax, ~15);
  asm.mov(into, eax);
}

/** Lets the device master the bus, and turns its MSI-X on: entry n sends vector `firstVector` + n to LP 0. Clobbers EBX. */
export function emitEnableDevice(
  asm: Assembler,
  slot: number,
  entries: number,
  msix: { readonly bar: number; readonly capability: number },
): void {
  emitWriteConfiguration(asm, slot, header.command, memoryAndMaster);
  emitLoadBar(asm, slot, msix.bar, ebx);
  for (let n = 0; n < entries; n++) {
    asm.mov(mem32(ebx, { disp: 16 * n }), lapic.base | 0);
    asm.mov(mem32(ebx, { disp: 16 * n + 4 }), 0);
    asm.mov(mem32(ebx, { disp: 16 * n + 8 }), firstVector + n);
    asm.mov(mem32(ebx, { disp: 16 * n + 12 }), 0);
  }
  emitWriteConfiguration(asm, slot, msix.capability, 0x8000_0000);
}

/** A flat GDT, and gates for `count` vectors from `firstVector` on that count what comes. Enables the local APIC, and IF. */
export function emitCountingHandlers(asm: Assembler, count: number): void {
  const over = asm.label("over tables");
  const gdt = asm.label("gdt");
  const idt = asm.label("idt");
  const gdtPointer = asm.label("gdt pointer");
  const idtPointer = asm.label("idt pointer");
  const loaded = asm.label("cs loaded");
  asm.jmp(over);
  const handlers = Array.from({ length: count }, (_, n) => {
    const handler = asm.here(`handler ${n}`);
    asm.inc(mem32(interruptCounts + 4 * n));
    asm.mov(mem32(lapic.base + lapic.eoi), 0);
    asm.iretd();
    return handler;
  });
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
  asm.jmp(far(flat.code, loaded));
  asm.here(loaded);
  asm.mov(ax, flat.data);
  for (const segment of [ds, es, ss]) asm.mov(segment, ax);
  for (const [n, handler] of handlers.entries()) emitGate(asm, idt, firstVector + n, handler);
  asm.lidt(mem48(idtPointer));
  asm.mov(mem32(lapic.base + lapic.spurious), 0x1ff);
  asm.sti();
}

function emitGate(asm: Assembler, idt: Label, vector: number, handler: Label): void {
  asm.mov(edi, idt.plus(vector * 8));
  asm.mov(eax, handler);
  asm.and(eax, 0xffff);
  asm.or(eax, flat.code << 16);
  asm.mov(mem32(edi), eax);
  asm.mov(eax, handler);
  asm.and(eax, 0xffff_0000 | 0);
  asm.or(eax, 0x8e00);
  asm.mov(mem32(edi, { disp: 4 }), eax);
}

let checks = 0;

/** What a guest that has found something wrong adds to its status. */
const wrong = 100;

/** Ends the machine with `wrong` + `status` unless a word of memory is `value`. */
export function emitExpect(
  asm: Assembler,
  word: ReturnType<typeof mem32>,
  value: number,
  status: number,
): void {
  const good = asm.label(`good ${checks++}`);
  asm.mov(eax, word);
  asm.cmp(eax, value | 0);
  asm.je(good);
  asm.mov(eax, wrong + status);
  asm.mov(dx, debugExitPort);
  asm.out(dx, eax);
  asm.here(good);
}

/** Halts until a word of memory, looked at after every interrupt, is at least `value`. */
export function emitAwait(asm: Assembler, word: ReturnType<typeof mem32>, value: number): void {
  const look = asm.label(`look ${checks++}`);
  const enough = asm.label(`enough ${checks++}`);
  asm.here(look);
  asm.cli();
  asm.mov(eax, word);
  asm.cmp(eax, value | 0);
  asm.jae(enough);
  asm.sti();
  asm.hlt();
  asm.jmp(look);
  asm.here(enough);
  asm.sti();
}

/** Sends bytes from EDI on to COM1. Clobbers EAX, ECX, EDX, EDI. */
function emitPrintMemory(asm: Assembler, bytes: number): void {
  asm.mov(ecx, bytes);
  asm.mov(dx, serialPort);
  const next = asm.here(`next byte ${checks++}`);
  asm.mov(al, mem8(edi));
  asm.out(dx, al);
  asm.inc(edi);
  asm.loop(next);
}

/** Where the devices of these guests say their capability is, and the slot the first of them has. */
export const firstSlot = 4;
const plainMsix = { bar: 1, capability: 0x40 } as const;

/** Two queues of the storm device; each of their messages finds the LP halted. Ends with status 0. */
export const stormGuest = guest((asm) => {
  const record = 0x21_0000;
  const queue = (n: number, register: number) => mem32(ebx, { disp: 0x1000 + 0x40 * n + register });
  emitCountingHandlers(asm, 3);
  emitEnableDevice(asm, firstSlot, 3, plainMsix);
  emitLoadBar(asm, firstSlot, 0, ebx);
  emitExpect(asm, mem32(ebx), 0x4d52_5453, 10);
  for (const [n, first, span, interval, count] of [
    [0, 0, 1, 200_000, 20],
    [1, 1, 2, 300_000, 14],
  ] as const) {
    asm.mov(queue(n, 0x04), first);
    asm.mov(queue(n, 0x08), span);
    asm.mov(queue(n, 0x0c), interval);
    asm.mov(queue(n, 0x14), count);
    asm.mov(queue(n, 0x20), record + 0x100 * n);
  }
  asm.mov(mem32(ebx, { disp: 0x10 }), 1);
  // The last message of each entry finds its record in memory.
  emitAwait(asm, mem32(record), 20);
  emitAwait(asm, mem32(record + 0x100), 7);
  emitAwait(asm, mem32(record + 0x110), 7);
  emitExpect(asm, mem32(ebx, { disp: 0x0c }), 0, 11);
  emitExpect(asm, queue(0, 0x18), 20, 12);
  emitExpect(asm, queue(1, 0x18), 14, 13);
  emitExpect(asm, mem32(ebx, { disp: 0x8004 }), 7, 14);
  asm.mov(eax, mem32(interruptCounts));
  asm.add(eax, mem32(interruptCounts + 4));
  asm.add(eax, mem32(interruptCounts + 8));
  emitExit(asm);
});

/** The DMA engine copies a text in two pieces, is refused a third, and tells both by interrupts. Ends with status 0. */
export const dmaGuest = guest((asm) => {
  const ring = 0x21_0000;
  const copy = 0x22_0000;
  const text = asm.label("text");
  const over = asm.label("over text");
  const engine = (register: number) => mem32(ebx, { disp: register });
  const descriptor = (n: number, offset: number) => mem32(ring + 32 * n + offset);
  asm.jmp(over);
  asm.here(text);
  asm.ascii("two pieces make a whole\n");
  asm.here(over);
  emitCountingHandlers(asm, 2);
  emitEnableDevice(asm, firstSlot, 2, plainMsix);
  emitLoadBar(asm, firstSlot, 0, ebx);
  emitExpect(asm, engine(0), 0x4541_4d44, 10);
  for (const [n, at, to, length, flags] of [
    [0, text, copy, 10, 2],
    [1, text.plus(10), copy + 10, 14, 1],
    [2, text, 0xd000_0000, 4, 0],
  ] as const) {
    asm.mov(descriptor(n, 0), at);
    asm.mov(descriptor(n, 8), to | 0);
    asm.mov(descriptor(n, 16), length);
    asm.mov(descriptor(n, 20), flags);
  }
  asm.mov(engine(0x10), ring);
  asm.mov(engine(0x18), 4);
  asm.mov(engine(0x28), 3);
  asm.mov(engine(0x04), 1);
  asm.mov(engine(0x20), 3);
  emitAwait(asm, mem32(interruptCounts + 4), 1);
  emitExpect(asm, mem32(interruptCounts), 1, 11);
  emitExpect(asm, descriptor(0, 24), 0x8000_0000, 12);
  emitExpect(asm, descriptor(1, 24), 0x8000_0000, 13);
  emitExpect(asm, descriptor(1, 28), 14, 14);
  emitExpect(asm, descriptor(2, 24), 0x8000_0003, 15);
  emitExpect(asm, engine(0x1c), 3, 16);
  asm.mov(edi, copy);
  emitPrintMemory(asm, 24);
  emitExit(asm, 0);
});

/** What a guest sets up of a virtio queue: its parts lie at these places from its base on. */
const virtqueue = { driver: 0x400, device: 0x800, size: 8 } as const;
const virtio = { common: 0, interrupt: 0x1000, device: 0x2000, notify: 0x3000 } as const;
const virtioRegister = {
  featureSelect: 0x08,
  feature: 0x0c,
  status: 0x14,
  queueSelect: 0x16,
  queueSize: 0x18,
  queueVector: 0x1a,
  queueEnable: 0x1c,
  descriptors: 0x20,
  driver: 0x28,
  device: 0x30,
} as const;

/** Initializes a virtio device whose window EBX has, with one queue at `base` that interrupts through entry 0. */
function emitStartVirtio(asm: Assembler, queue: number, base: number): void {
  const register = (offset: number) => mem32(ebx, { disp: offset });
  const setStatus = (value: number): void => {
    asm.mov(mem8(ebx, { disp: virtioRegister.status }), value);
  };
  const set16 = (offset: number, value: number): void => {
    asm.mov(mem16(ebx, { disp: offset }), value);
  };
  setStatus(0);
  setStatus(1);
  setStatus(3);
  for (const [half, bits] of [
    [0, 0],
    [1, 3],
  ] as const) {
    asm.mov(register(virtioRegister.featureSelect), half);
    asm.mov(register(virtioRegister.feature), bits);
  }
  setStatus(11);
  set16(virtioRegister.queueSelect, queue);
  set16(virtioRegister.queueSize, virtqueue.size);
  set16(virtioRegister.queueVector, 0);
  asm.mov(register(virtioRegister.descriptors), base);
  asm.mov(register(virtioRegister.driver), base + virtqueue.driver);
  asm.mov(register(virtioRegister.device), base + virtqueue.device);
  set16(virtioRegister.queueEnable, 1);
  setStatus(15);
}

/** Makes a chain of the buffers available, from descriptor 0 on, as number `index`, and rings. */
function emitSendChain(
  asm: Assembler,
  queue: number,
  base: number,
  index: number,
  buffers: readonly (readonly [address: number | Label, bytes: number, isWritable: boolean])[],
): void {
  for (const [n, [address, bytes, isWritable]] of buffers.entries()) {
    const isLast = n === buffers.length - 1;
    asm.mov(mem32(base + 16 * n), address);
    asm.mov(mem32(base + 16 * n + 8), bytes);
    const flags = (isWritable ? 2 : 0) | (isLast ? 0 : 1);
    asm.mov(mem32(base + 16 * n + 12), flags | ((n + 1) << 16));
  }
  asm.mov(mem16(base + virtqueue.driver + 4 + 2 * index), 0);
  asm.mov(mem16(base + virtqueue.driver + 2), index + 1);
  asm.mov(mem16(ebx, { disp: virtio.notify + 4 * queue }), queue);
}

/** Halts until `count` chains have come back. */
function emitAwaitUsed(asm: Assembler, base: number, count: number): void {
  // Flags are 0; the index is the upper half of the word.
  emitAwait(asm, mem32(base + virtqueue.device), count << 16);
}

/** Prints through a virtio console. Ends with how many interrupts it took. */
export const consoleGuest = guest((asm) => {
  const base = 0x21_0000;
  const transmit = 1;
  const text = asm.label("text");
  const over = asm.label("over text");
  asm.jmp(over);
  asm.here(text);
  asm.ascii("through a queue\n");
  asm.here(over);
  emitCountingHandlers(asm, 1);
  emitEnableDevice(asm, firstSlot, 1, plainMsix);
  emitLoadBar(asm, firstSlot, 0, ebx);
  emitStartVirtio(asm, transmit, base);
  emitSendChain(asm, transmit, base, 0, [[text, 16, false]]);
  emitAwaitUsed(asm, base, 1);
  emitExpect(asm, mem32(ebx, { disp: virtioRegister.status }), 15, 10);
  asm.mov(eax, mem32(interruptCounts));
  emitExit(asm);
});

/** Prints the first bytes of a disk's second sector, writes them to the first, and flushes. Ends with status 0. */
export const diskGuest = guest((asm) => {
  const base = 0x21_0000;
  const header = 0x22_0000;
  const status = 0x22_0010;
  const data = 0x23_0000;
  const request = (index: number, type: number, sector: number, hasData: boolean): void => {
    asm.mov(mem32(header), type);
    asm.mov(mem32(header + 8), sector);
    asm.mov(mem32(status), 0xff);
    emitSendChain(asm, 0, base, index, [
      [header, 16, false],
      ...(hasData ? [[data, 512, type === 0] as const] : []),
      [status, 1, true],
    ]);
    emitAwaitUsed(asm, base, index + 1);
    emitExpect(asm, mem32(status), 0, 20 + index);
  };
  emitCountingHandlers(asm, 1);
  emitEnableDevice(asm, firstSlot, 1, plainMsix);
  emitLoadBar(asm, firstSlot, 0, ebx);
  emitStartVirtio(asm, 0, base);
  emitExpect(asm, mem32(ebx, { disp: virtio.device }), 2, 10);
  request(0, 0, 1, true);
  request(1, 1, 0, true);
  request(2, 4, 0, false);
  asm.mov(edi, data);
  emitPrintMemory(asm, 8);
  emitExit(asm, 0);
});

/** Sends the console's queue a chain that goes in circles. Ends with the device's status. */
export const circularGuest = guest((asm) => {
  const base = 0x21_0000;
  const transmit = 1;
  emitCountingHandlers(asm, 1);
  emitEnableDevice(asm, firstSlot, 1, plainMsix);
  emitLoadBar(asm, firstSlot, 0, ebx);
  // The configuration's interrupt is the one that comes.
  asm.mov(mem16(ebx, { disp: 0x10 }), 0);
  emitStartVirtio(asm, transmit, base);
  asm.mov(mem16(ebx, { disp: 0x10 }), 0);
  asm.mov(mem32(base), base);
  asm.mov(mem32(base + 8), 1);
  asm.mov(mem32(base + 12), 1);
  asm.mov(mem16(base + virtqueue.driver + 2), 1);
  asm.mov(mem16(ebx, { disp: virtio.notify + 4 * transmit }), transmit);
  emitAwait(asm, mem32(interruptCounts), 1);
  emitExpect(asm, mem32(base + virtqueue.device), 0, 99);
  asm.mov(eax, mem32(ebx, { disp: virtioRegister.status }));
  asm.and(eax, 0xff);
  emitExit(asm);
});
