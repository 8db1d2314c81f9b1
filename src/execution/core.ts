import type { MemoryLayout } from "../memory/physical-memory.ts";
import { pageBytes } from "../memory/physical-memory.ts";
import { CodeCache } from "./code-cache.ts";
import { codeMode } from "./code-mode.ts";
import { type CodePagePort, CodePages } from "./code-pages.ts";
import { type CoreHost, RunExit } from "./core-host.ts";
import { recordOffset } from "./instruction-record.ts";
import { lpOffset, Segment, segmentOffset, segmentStride } from "./lp-window.ts";
import { Tlb } from "./tlb.ts";

export interface ExecutionCoreOptions {
  readonly memory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  readonly windowBase: number;
  /** Compiled from `buildInterpreter()`. */
  readonly module: WebAssembly.Module;
  readonly host: CoreHost;
  readonly codePages: CodePagePort;
  /** Which encodings there are, by iced's number; the others are undefined opcodes. Decided once, when code is decoded. */
  readonly offers: (code: number) => boolean;
}

type Run = (budget: number) => number;
/** A Wasm function that does the common case of a system instruction. @returns one of `Assistance` */
export type Assistant = (record: number) => number;

/** Access-rights bits of a code or stack segment that decide how code is decoded. */
const rightsLong = 1 << 13;
const rightsBig = 1 << 14;
const eferLongModeActive = 1 << 10;
const wholeRange = 0xffff_ffff;

/** Executes one LP's machine code. Knows registers, memory and blocks of instructions; everything else it asks of its host. */
export class ExecutionCore {
  readonly tlb: Tlb;
  readonly cache: CodeCache;
  readonly #pages: CodePages;
  readonly #port: CodePagePort;
  readonly #host: CoreHost;
  readonly #base: number;
  readonly #ramBytes: number;
  readonly #busLock: number;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #u64: BigUint64Array;
  readonly #run: Run;
  readonly #functions: WebAssembly.Table;
  #budget = 0;
  #running = false;
  #single = false;
  #retired = 0;
  /** Limit that blocks of a limited code segment were decoded under. */
  #limit = wholeRange;

  constructor(options: ExecutionCoreOptions) {
    const { memory, layout, windowBase, module, host, codePages, offers } = options;
    this.tlb = new Tlb(memory, windowBase);
    this.#pages = new CodePages(memory, layout);
    this.#port = codePages;
    const port: CodePagePort = {
      claim: (page) => {
        this.tlb.protectPhysicalPage(page);
        codePages.claim(page);
      },
      changed: (page) => codePages.changed(page),
    };
    this.cache = new CodeCache(memory, windowBase, this.#pages, port, offers);
    this.#host = host;
    this.#base = windowBase;
    this.#ramBytes = layout.ramBytes;
    this.#busLock = layout.busLock >>> 2;
    this.#u16 = new Uint16Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
    this.#i32 = new Int32Array(memory.buffer);
    this.#u64 = new BigUint64Array(memory.buffer);
    this.#u32[(windowBase + lpOffset.ramBytes) >>> 2] = layout.ramBytes;
    this.#u32[(windowBase + lpOffset.pageInformation) >>> 2] = layout.pageInformation;
    this.#u32[(windowBase + lpOffset.apicFrame) >>> 2] = wholeRange;
    const imports = {
      memory,
      window: windowBase | 0,
      busLock: layout.busLock | 0,
      system: (record: number) => {
        this.#catchUp();
        return host.system(record >>> 0);
      },
      fetch: () => {
        this.#catchUp();
        return host.fetch() | 0;
      },
      miss: (physical: number) => {
        this.#catchUp();
        return this.#miss(physical >>> 0) | 0;
      },
      access: (size: number, kind: number) => {
        this.#catchUp();
        return host.access(size, kind) | 0;
      },
      commit: () => host.commit(),
      store: (size: number) => {
        this.#catchUp();
        host.store(size);
      },
      raise: (exception: number) => {
        this.#catchUp();
        host.raise(exception);
      },
    };
    const instance = new WebAssembly.Instance(module, {
      host: imports as unknown as Record<string, WebAssembly.ImportValue>,
    });
    this.#run = instance.exports["run"] as Run;
    this.#functions = instance.exports["functions"] as WebAssembly.Table;
  }

  /**
   * Gives a system instruction an assistant. Before anything is run.
   * @param code iced's number of the encoding
   * @param assistant exported by a module that has the same memory
   */
  assist(code: number, assistant: Assistant): void {
    this.cache.assist(code, this.addAttendant(assistant));
  }

  /** An assistant that leads to no other source of instructions: here one as any. */
  assistLocally(code: number, assistant: Assistant): void {
    this.assist(code, assistant);
  }
  /**
   * Makes an attendant known, for `lpOffset.attendant`.
   * @param attendant exported by a module that has the same memory
   * @returns its place
   */
  addAttendant(attendant: Assistant): number {
    const place = this.#functions.grow(1);
    this.#functions.set(place, attendant);
    return place;
  }

  #catchUp(): void {
    if (this.#u32[(this.#base + lpOffset.assisted) >>> 2] !== 0) {
      this.#host.catchUp?.();
    }
  }

  /** Instructions retired since reset, those of the present run included. */
  get retired(): number {
    return this.#retired + (this.#running ? this.#budget - this.#remaining : 0);
  }

  /**
   * Runs at most `budget` instructions. A trap of the host passes through; the caller then calls `trapped`.
   * @param single one instruction at a time: nothing is executed beyond a boundary that the host wants to see
   */
  run(budget: number): RunExit {
    let reason = this.#enter(budget, budget === 1);
    while (reason === RunExit.Budget && this.#remaining > 0) {
      // What is left is shorter than the next block.
      reason = this.#enter(this.#remaining, true);
    }
    return reason as RunExit;
  }

  #enter(budget: number, single: boolean): number {
    this.#setSingle(single);
    this.#budget = budget;
    this.#running = true;
    this.#i32[(this.#base + lpOffset.remaining) >>> 2] = budget;
    const reason = this.#run(budget);
    this.#catchUp();
    this.#leave();
    return reason;
  }

  #leave(): void {
    this.#retired += this.#budget - this.#remaining;
    this.#running = false;
    this.#setSingle(false);
  }

  get #remaining(): number {
    return this.#i32[(this.#base + lpOffset.remaining) >>> 2] ?? 0;
  }

  #setSingle(single: boolean): void {
    this.#single = single;
    const at = (this.#base + lpOffset.codeMode) >>> 2;
    const mode = this.#u32[at] ?? 0;
    this.#u32[at] = single ? mode | codeMode.single : mode & ~codeMode.single;
  }

  /** After a trap: the instruction at `current` did not retire; RIP is put back to it. A second call does nothing. */
  trapped(): void {
    // A device that a misaligned locked operation reached may have raised a trap while the bus was held.
    Atomics.compareExchange(this.#i32, this.#busLock, this.#base | 0, 0);
    if (!this.#running) {
      return;
    }
    const current = this.#u32[(this.#base + lpOffset.current) >>> 2] ?? 0;
    if (current !== 0) {
      const left = this.#u16[(current + recordOffset.left) >>> 1] ?? 0;
      const at = (this.#base + lpOffset.remaining) >>> 2;
      this.#i32[at] = (this.#i32[at] ?? 0) + left;
      this.#u64[(this.#base + lpOffset.rip) >>> 3] = this.#ripOf(current);
      this.#u32[(this.#base + lpOffset.current) >>> 2] = 0;
    }
    this.#leave();
  }

  #ripOf(record: number): bigint {
    const next = this.#u64[(record + recordOffset.next) >>> 3] ?? 0n;
    const length = (this.#u16[(record + recordOffset.length) >>> 1] ?? 0) & 0xff;
    return BigInt.asUintN(this.#is64 ? 64 : 32, next - BigInt(length));
  }

  get #is64(): boolean {
    return (
      ((this.#u32[(this.#base + lpOffset.codeMode) >>> 2] ?? 0) & codeMode.sizeMask) ===
      codeMode.bits64
    );
  }

  /**
   * Works out the decode mode from CS, SS, CR0 and EFER in the window. To be called whenever one of them, or the address
   * space, has changed.
   */
  codeContextChanged(): void {
    const word = (offset: number): number => this.#u32[(this.#base + offset) >>> 2] ?? 0;
    const cs = lpOffset.segment + Segment.CS * segmentStride;
    const ss = lpOffset.segment + Segment.SS * segmentStride;
    const rights = word(cs + segmentOffset.rights);
    const long = (word(lpOffset.efer) & eferLongModeActive) !== 0 && (rights & rightsLong) !== 0;
    const big = (rights & rightsBig) !== 0;
    let mode: number = long ? codeMode.bits64 : big ? codeMode.bits32 : codeMode.bits16;
    if (!long && (word(ss + segmentOffset.rights) & rightsBig) !== 0) mode |= codeMode.stack32;
    if (!long) mode |= this.#limitMode(word(cs + segmentOffset.limit), big);
    if (this.#simdBlocked(word)) mode |= codeMode.simdBlocked;
    if (this.#single) mode |= codeMode.single;
    this.#u32[(this.#base + lpOffset.codeMode) >>> 2] = mode;
    const base = (this.#base + lpOffset.codeBase) >>> 2;
    this.#u32[base] = long ? 0 : word(cs + segmentOffset.base);
    this.#u32[base + 1] = 0;
    const mask = (this.#base + lpOffset.linearMask) >>> 2;
    this.#u32[mask] = wholeRange;
    this.#u32[mask + 1] = long ? wholeRange : 0;
    this.fetchChanged();
  }

  /** The translation of the page being executed may have changed. */
  fetchChanged(): void {
    const at = (this.#base + lpOffset.fetchTag) >>> 2;
    this.#u32[at] = 1;
    this.#u32[at + 1] = 0;
  }

  #limitMode(limit: number, big: boolean): number {
    if (limit === (big ? wholeRange : 0xffff)) {
      return 0;
    }
    if (limit !== this.#limit) {
      this.#limit = limit;
      this.cache.flush();
    }
    return codeMode.limited;
  }

  #simdBlocked(word: (offset: number) => number): boolean {
    const emulationOrTaskSwitched = 0b1100;
    const osfxsr = 1 << 9;
    return (
      (word(lpOffset.cr0) & emulationOrTaskSwitched) !== 0 || (word(lpOffset.cr4) & osfxsr) === 0
    );
  }

  /** A store by this LP, perhaps to a page that holds code, has happened. */
  codeWritten(physical: number, size: number): void {
    const announce = (): void => this.#port.changed(physical - (physical % pageBytes));
    if (this.#pages.written(physical, size, announce)) {
      this.cache.drop(physical);
    }
  }
  /** The page must not get write permission in a TLB. */
  holdsCode(physical: number): boolean {
    return this.#pages.holdsCode(physical);
  }
  /** Another LP is going to decode code: no page's write permission may be trusted. */
  dropWritePermission(): void {
    this.tlb.protectAll();
  }

  #miss(physical: number): number {
    const rip = this.#u64[(this.#base + lpOffset.rip) >>> 3] ?? 0n;
    const mode = this.#u32[(this.#base + lpOffset.codeMode) >>> 2] ?? 0;
    if (physical >= this.#ramBytes) {
      // Nothing outside RAM can be executed: reads there give all ones, an undefined opcode.
      this.#host.raise(6);
    }
    const lastOffset = this.#lastOffset(mode);
    if (rip > lastOffset) {
      this.#host.raise(13 | 0x100);
    }
    return this.cache.decode(physical, rip, mode, lastOffset, () =>
      this.#translateNextPage(physical, rip, lastOffset),
    );
  }

  #lastOffset(mode: number): bigint {
    if ((mode & codeMode.sizeMask) === codeMode.bits64) {
      return 0xffff_ffff_ffff_ffffn;
    }
    const cs = lpOffset.segment + Segment.CS * segmentStride;
    return BigInt(this.#u32[(this.#base + cs + segmentOffset.limit) >>> 2] ?? 0);
  }

  /** Physical address of the page after RIP's, for an instruction on two pages; faults there are faults of the instruction. */
  #translateNextPage(physical: number, rip: bigint, lastOffset: bigint): number {
    const slot = (this.#base + lpOffset.rip) >>> 3;
    const next = rip + BigInt(pageBytes - (physical % pageBytes));
    if (next > lastOffset) {
      this.#host.raise(13 | 0x100);
    }
    try {
      this.#u64[slot] = BigInt.asUintN(64, next);
      const second = this.#host.fetch() >>> 0;
      if (second >= this.#ramBytes) {
        this.#host.raise(6);
      }
      return second;
    } finally {
      this.#u64[slot] = rip;
      this.fetchChanged();
    }
  }
}
