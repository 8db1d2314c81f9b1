import { lpMailbox } from "../../src/cpu/local-apic/lp-mailbox.ts";
import type { LpState } from "../../src/cpu/lp-state.ts";
import type { CpuModel } from "../../src/cpu/models/cpu-model.ts";
import { defaultCpuModel } from "../../src/cpu/models/models.ts";
import type { TraceSink } from "../../src/cpu/ports.ts";
import { Processor } from "../../src/cpu/processor.ts";
import { cr0Bit, cr4Bit, eferBit, flagBit } from "../../src/cpu/register-bits.ts";
import { setSegment } from "../../src/cpu/segment-registers.ts";
import { buildInterpreter } from "../../src/execution/interpreter.ts";
import {
  Activity,
  lpOffset,
  lpWindowBytes,
  Pending,
  Segment,
} from "../../src/execution/lp-window.ts";
import { type Assembler, createAssembler } from "../../src/isa/assembler.ts";
import { createMemory, layOutMemory, windowBase } from "../../src/memory/physical-memory.ts";
import type { InterruptMessage } from "../../src/protocol/interrupt-message.ts";
import type { Mailbox } from "../../src/protocol/mailbox.ts";

/** Physical, and by default linear, addresses of what a test finds prepared. */
export const place = {
  gdt: 0x1000,
  idt: 0x2000,
  tss: 0x3000,
  otherTss: 0x3800,
  /** One HLT for each vector, 16 bytes apart. */
  handlers: 0x4000,
  stack0: 0x7000,
  code: 0x8000,
  stack3: 0xa000,
  data: 0xb000,
  innerStack: 0xd000,
  interruptStack: 0xe000,
  ldt: 0xf000,
  pageTables: 0x10_0000,
} as const;

export const selector = {
  code64: 0x08,
  data: 0x10,
  code32: 0x18,
  userCode32: 0x23,
  userData: 0x2b,
  userCode64: 0x33,
  code16: 0x38,
  data16: 0x40,
  conforming32: 0x48,
  tss: 0x50,
  /** 16 bytes for the test. */
  free: 0x60,
  otherTss: 0x70,
  taskGate: 0x80,
  absent: 0x88,
  readOnly: 0x90,
  expandDown: 0x98,
  ldt: 0xa0,
} as const;

export const PageFlag = { present: 1, writable: 2, user: 4, large: 0x80, global: 0x100 } as const;
export const noExecute = 1n << 63n;
/** INT of this ends a program at any level. */
export const exitVector = 0x80;
const all = PageFlag.present | PageFlag.writable | PageFlag.user;

let compiled: WebAssembly.Module | undefined;
function interpreter(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(buildInterpreter() as Uint8Array<ArrayBuffer>);
  return compiled;
}

/** An event as its handler finds it. */
export interface Trap {
  readonly vector: number;
  readonly errorCode: number | undefined;
  readonly rip: bigint;
  readonly cs: number;
  readonly rflags: number;
  /** Only where the frame has them: IA-32e mode, or a change of level. */
  readonly rsp: bigint | undefined;
  readonly ss: number | undefined;
}

const hasErrorCode = new Set([8, 10, 11, 12, 13, 14, 17]);
const ramBytes = 4 * 1024 ** 2;

/** One processor with RAM, a bus that records, and descriptor tables; handlers that halt. */
export class TestMachine {
  readonly lp: Processor;
  readonly memory: WebAssembly.Memory;
  readonly state: LpState;
  readonly mailbox: Mailbox;
  readonly written: { readonly port: number; readonly value: number }[] = [];
  readonly sent: InterruptMessage[] = [];
  /** Exceptions as they were raised, those that could not be delivered included. */
  readonly exceptions: { readonly vector: number; readonly errorCode: number }[] = [];
  /** Hears every event of the trace. */
  hear: TraceSink | undefined;
  readonly mmio = new Map<number, number>();
  readonly ports = new Map<number, number>();
  time = 0;
  #nextTable: number = place.pageTables;

  /** @param isTraced somebody listens: shortcuts that tell nothing of what they do are not taken */
  constructor(model: CpuModel = defaultCpuModel, isTraced = true) {
    const layout = layOutMemory(ramBytes, 1, lpWindowBytes);
    const memory = createMemory(layout);
    this.memory = memory;
    this.lp = new Processor({
      memory,
      layout,
      index: 0,
      module: interpreter(),
      bus: {
        readPort: (port) => this.ports.get(port) ?? 0xffff_ffff,
        writePort: (port, _size, value) => this.written.push({ port, value }),
        readMmio: (address) => this.mmio.get(address) ?? 0xffff_ffff,
        writeMmio: (address, _size, value) => this.mmio.set(address, value),
        endOfInterrupt: () => {},
        acknowledgeExternal: () => 0xff,
      },
      fabric: { send: (message) => this.sent.push(message) },
      clock: { frequencyHz: 1_000_000_000, now: () => this.time },
      codePages: { claim: () => {}, changed: () => {} },
      model,
      lpCount: 1,
      apicIds: [0],
      ...(isTraced ? { trace: this.#trace } : {}),
    });
    this.state = this.lp.state;
    this.mailbox = lpMailbox(this.state.i32, windowBase(layout, 0));
    this.lp.reset();
    this.state.u8.fill(0xf4, place.handlers, place.handlers + 256 * 16);
  }

  readonly #trace: TraceSink = (kind, detail) => {
    this.hear?.(kind, detail);
    if (kind === "exception") {
      const { vector, error } = detail;
      this.exceptions.push({ vector: Number(vector), errorCode: Number(error) });
    }
  };

  // ——— memory

  read16(address: number): number {
    return this.lp.physical.readRam16(address);
  }
  read32(address: number): number {
    return this.lp.physical.readRam32(address);
  }
  read64(address: number): bigint {
    return this.lp.physical.readRam64(address);
  }
  write16(address: number, value: number): void {
    this.lp.physical.writeRam16(address, value);
  }
  write32(address: number, value: number): void {
    this.lp.physical.write32(address, value >>> 0);
  }
  write64(address: number, value: bigint): void {
    this.lp.physical.write64(address, value);
  }
  load(address: number, bytes: Uint8Array): void {
    this.state.u8.set(bytes, address);
    this.lp.core.codeWritten(address, bytes.length);
  }
  /** Assembles at an address. @returns first address behind */
  assemble(
    bits: 16 | 32 | 64,
    write: (asm: Assembler) => void,
    address: number = place.code,
  ): number {
    const asm = createAssembler({ origin: address, bits });
    write(asm);
    const { bytes } = asm.assemble();
    this.load(address, bytes);
    return address + bytes.length;
  }

  // ——— descriptors

  descriptor(at: number, base: number, limit: number, rights: number): void {
    const granular = limit > 0xf_ffff;
    const field = granular ? limit >>> 12 : limit;
    this.write32(at, (field & 0xffff) | (base << 16));
    const high = (base & 0xff00_0000) | (field & 0xf_0000) | ((base >>> 16) & 0xff);
    this.write32(at + 4, high | ((rights & 0xf0ff) << 8) | (granular ? 0x80_0000 : 0));
  }
  gate(at: number, target: number, offset: number, rights: number, low5 = 0): void {
    this.write32(at, (offset & 0xffff) | (target << 16));
    this.write32(at + 4, (offset & 0xffff_0000) | (rights << 8) | low5);
  }
  /** @param type and flags of the gate: 8EH interrupt, 8FH trap, EEH callable from level 3 */
  interruptGate(vector: number, rights: number, ist = 0, target: number = selector.code64): void {
    const long = this.lp.isLongMode;
    const at = place.idt + vector * (long ? 16 : 8);
    this.gate(at, target, place.handlers + vector * 16, rights, ist);
    if (long) {
      this.write64(at + 8, 0n);
    }
  }

  #tables(code: number): void {
    const { gdt, tss, ldt } = place;
    const flat = 0xffff_ffff;
    this.descriptor(gdt + selector.code64, 0, flat, 0xa09b);
    this.descriptor(gdt + selector.data, 0, flat, 0xc093);
    this.descriptor(gdt + selector.code32, 0, flat, 0xc09b);
    this.descriptor(gdt + (selector.userCode32 & ~3), 0, flat, 0xc0fb);
    this.descriptor(gdt + (selector.userData & ~3), 0, flat, 0xc0f3);
    this.descriptor(gdt + (selector.userCode64 & ~3), 0, flat, 0xa0fb);
    this.descriptor(gdt + selector.code16, 0, 0xffff, 0x009b);
    this.descriptor(gdt + selector.data16, 0, 0xffff, 0x0093);
    this.descriptor(gdt + selector.conforming32, 0, flat, 0xc09f);
    this.descriptor(gdt + selector.tss, tss, 0x167, 0x008b);
    this.descriptor(gdt + selector.otherTss, place.otherTss, 0x67, 0x0089);
    this.descriptor(gdt + selector.absent, 0, flat, 0xc013);
    this.descriptor(gdt + selector.readOnly, 0, flat, 0xc091);
    this.descriptor(gdt + selector.expandDown, 0, 0x0fff, 0x4097);
    this.descriptor(gdt + selector.ldt, ldt, 0xff, 0x0082);
    const { state } = this;
    state.set("gdtrBase", BigInt(gdt));
    state.write32(lpOffset.gdtrLimit, 0xfff);
    state.set("idtrBase", BigInt(place.idt));
    state.write32(lpOffset.idtrLimit, 0xfff);
    setSegment(state, Segment.TR, selector.tss, 0x8b, 0x167, BigInt(tss));
    setSegment(state, Segment.LDTR, 0, 0x10000, 0, 0n);
    for (let vector = 0; vector < 256; vector++) {
      this.interruptGate(vector, vector === exitVector ? 0xee : 0x8e, 0, code);
    }
  }

  // ——— modes; each leaves the processor at `place.code`, level 0, interrupts off

  real(): this {
    const { state } = this;
    for (let vector = 0; vector < 256; vector++) {
      this.write32(vector * 4, place.handlers + vector * 16);
    }
    for (const segment of [Segment.ES, Segment.SS, Segment.DS, Segment.FS, Segment.GS]) {
      setSegment(state, segment, 0, 0x93, 0xffff, 0n);
    }
    setSegment(state, Segment.CS, 0, 0x93, 0xffff, 0n);
    return this.#start();
  }

  protected32(): this {
    this.state.setLow("cr0", cr0Bit.PE | cr0Bit.ET);
    this.#tables(selector.code32);
    this.write32(place.tss + 4, place.innerStack);
    this.write32(place.tss + 8, selector.data);
    this.#flat(selector.code32, 0xc09b, selector.data, 0xc093);
    return this.#start();
  }

  /** Everything below 4 MiB is mapped by 4 KiB pages, accessible to all. */
  long64(): this {
    const { state } = this;
    state.setLow("cr0", cr0Bit.PE | cr0Bit.ET | cr0Bit.PG | cr0Bit.WP);
    state.setLow("cr4", cr4Bit.PAE | cr4Bit.OSFXSR);
    state.setLow("efer", eferBit.LME | eferBit.LMA | eferBit.SCE | eferBit.NXE);
    state.set("cr3", BigInt(this.table()));
    for (let page = 0; page < ramBytes; page += 4096) {
      this.map(BigInt(page), BigInt(page | all));
    }
    this.#tables(selector.code64);
    this.write64(place.tss + 4, BigInt(place.innerStack));
    this.write64(place.tss + 0x24, BigInt(place.interruptStack));
    this.#flat(selector.code64, 0xa09b, selector.data, 0xc093);
    return this.#start();
  }

  /** 32-bit protected mode with PAE or 32-bit paging, identity mapped. */
  paged32(pae: boolean): this {
    this.protected32();
    const { state } = this;
    state.setLow("cr4", pae ? cr4Bit.PAE | cr4Bit.PSE : cr4Bit.PSE);
    state.set("cr3", BigInt(this.table()));
    state.setLow("efer", pae ? eferBit.NXE : 0);
    if (pae) {
      this.write64(state.low("cr3"), BigInt(this.table() | 1));
      this.lp.walker.loadPdptes(state.low("cr3"));
    }
    state.setLow("cr0", cr0Bit.PE | cr0Bit.ET | cr0Bit.PG | cr0Bit.WP);
    for (let page = 0; page < ramBytes; page += 4096) {
      this.map(BigInt(page), BigInt(page | all));
    }
    this.lp.loadControlState();
    return this;
  }

  /** Goes on at level 3 with flat segments, in 64-bit or 32-bit code as before. */
  user(long = this.lp.is64Bit): this {
    if (long) {
      this.#flat(selector.userCode64, 0xa0fb, selector.userData, 0xc0f3);
    } else {
      this.#flat(selector.userCode32, 0xc0fb, selector.userData, 0xc0f3);
    }
    this.state.setGpr(4, BigInt(place.stack3));
    this.lp.loadControlState();
    return this;
  }

  #flat(code: number, codeRights: number, data: number, dataRights: number): void {
    setSegment(this.state, Segment.CS, code, codeRights, 0xffff_ffff, 0n);
    for (const segment of [Segment.ES, Segment.SS, Segment.DS, Segment.FS, Segment.GS]) {
      setSegment(this.state, segment, data, dataRights, 0xffff_ffff, 0n);
    }
  }
  #start(): this {
    this.state.rip = BigInt(place.code);
    this.state.setGpr(4, BigInt(place.stack0));
    this.lp.writeFlags(flagBit.fixed);
    this.lp.loadControlState();
    return this;
  }

  // ——— paging

  /** A fresh, empty table. */
  table(): number {
    const at = this.#nextTable;
    this.#nextTable += 4096;
    this.state.u8.fill(0, at, at + 4096);
    return at;
  }
  /** Address of the lowest-level entry of a linear address; tables above are made as needed, allowing everything. */
  entryOf(linear: bigint, level = 0): number {
    const mode = this.lp.isLongMode ? 4 : (this.state.low("cr4") & cr4Bit.PAE) !== 0 ? 3 : 2;
    const wide = mode !== 2;
    const bits = wide ? 9n : 10n;
    let table = this.state.low("cr3") & ~0xfff;
    for (let at = mode - 1; at > level; at--) {
      const index = Number((linear >> (12n + bits * BigInt(at))) & ((1n << bits) - 1n));
      const entry = table + index * (wide ? 8 : 4);
      if ((this.read32(entry) & 1) === 0) {
        // A PDPTE of PAE paging has no rights.
        this.write32(entry, this.table() | (mode === 3 && at === 2 ? 1 : all));
      }
      table = this.read32(entry) & ~0xfff;
    }
    const index = Number((linear >> (12n + bits * BigInt(level))) & ((1n << bits) - 1n));
    return table + index * (wide ? 8 : 4);
  }
  /** Writes the entry that maps a page. */
  map(linear: bigint, entry: bigint, level = 0): void {
    const at = this.entryOf(linear, level);
    const wide = this.lp.isLongMode || (this.state.low("cr4") & cr4Bit.PAE) !== 0;
    if (wide) {
      this.write64(at, entry);
    } else {
      this.write32(at, Number(entry));
    }
  }

  // ——— running

  /** Assembles `write` at `place.code` and runs it until the processor rests. */
  run(bits: 16 | 32 | 64, write: (asm: Assembler) => void, budget = 10_000): string {
    this.assemble(bits, write);
    this.state.rip = BigInt(place.code);
    return this.goOn(budget);
  }
  /** Runs on, as a driver does that gets the processor back because a timer was set. */
  goOn(budget: number): string {
    const pending = (this.state.base + lpOffset.pending) >>> 2;
    let left = budget;
    while (left > 0) {
      const before = this.lp.core.retired;
      const stop = this.lp.run(left);
      if (stop !== "stop") return stop;
      Atomics.and(this.state.i32, pending, ~Pending.Stop);
      // A program that does nothing but set timers comes to the end of its budget too.
      left -= Math.max(1, this.lp.core.retired - before);
    }
    return "budget";
  }

  /** The event whose handler has halted the processor. */
  trap(): Trap {
    const { state } = this;
    if (state.activity !== Activity.Halted) {
      throw new Error(`not halted: activity ${state.activity}, rip ${state.rip.toString(16)}`);
    }
    const vector = (Number(state.rip) - 1 - place.handlers) / 16;
    if (!Number.isInteger(vector) || vector < 0 || vector > 255) {
      throw new Error(`halted outside a handler, at ${state.rip.toString(16)}`);
    }
    return this.#frame(vector);
  }

  #frame(vector: number): Trap {
    const { state } = this;
    const size = this.lp.isLongMode ? 8 : this.lp.isProtected ? 4 : 2;
    let at = Number(state.segmentBase(Segment.SS) + state.gpr(4));
    const take = (): bigint => {
      const value =
        size === 8 ? this.read64(at) : BigInt(size === 4 ? this.read32(at) : this.read16(at));
      at += size;
      return value;
    };
    const errorCode = hasErrorCode.has(vector) && size !== 2 ? Number(take()) : undefined;
    const rip = take();
    const cs = Number(take() & 0xffffn);
    const rflags = Number(take());
    const outer =
      size === 8 || (size === 4 && (cs & 3) !== state.cpl) || (rflags & flagBit.VM) !== 0;
    const rsp = outer ? take() : undefined;
    const ss = outer ? Number(take() & 0xffffn) : undefined;
    return { vector, errorCode, rip, cs, rflags, rsp, ss };
  }

  /** The program ran to its end: it has halted outside any handler, or made an INT 80H. */
  get finished(): boolean {
    const rip = Number(this.state.rip);
    const inHandler = rip > place.handlers && rip <= place.handlers + 256 * 16;
    const exited = rip === place.handlers + exitVector * 16 + 1;
    return this.state.activity === Activity.Halted && (exited || !inHandler);
  }
}
