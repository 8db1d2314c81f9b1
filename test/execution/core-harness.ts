import { codeMode } from "../../src/execution/code-mode.ts";
import { ExecutionCore } from "../../src/execution/core.ts";
import { AccessKind, type CoreHost, Outcome } from "../../src/execution/core-host.ts";
import { readStatusFlags, statusFlagsMask, writeStatusFlags } from "../../src/execution/flags.ts";
import { recordOffset } from "../../src/execution/instruction-record.ts";
import { buildInterpreter } from "../../src/execution/interpreter.ts";
import {
  lpOffset,
  lpWindowBytes,
  Segment,
  segmentOffset,
  segmentStride,
} from "../../src/execution/lp-window.ts";
import { contextMode, contextModeBits } from "../../src/execution/tlb.ts";
import {
  createMemory,
  layOutMemory,
  type MemoryLayout,
  windowBase,
} from "../../src/memory/physical-memory.ts";

/** An exception that the core or its host raised: the end of a run. */
export class RecordedFault {
  readonly vector: number;
  readonly errorCode: number;
  /** Of a page fault. */
  readonly address: bigint | undefined;

  constructor(vector: number, errorCode = 0, address?: bigint) {
    this.vector = vector;
    this.errorCode = errorCode;
    this.address = address;
  }
}

/** A system instruction, which this host does not execute: the record's iced numbers. */
export class SystemInstruction {
  readonly code: number;
  readonly mnemonic: number;

  constructor(code: number, mnemonic: number) {
    this.code = code;
    this.mnemonic = mnemonic;
  }
}

export interface HarnessOptions {
  readonly ramBytes?: number;
  /** Another harness, whose memory this one shares as the second LP. */
  readonly beside?: CoreHarness;
  /** Physical page of a linear page, or undefined where nothing is mapped. Default: identity as far as RAM goes. */
  readonly translate?: (linearPage: bigint) => number | undefined;
  /** Compiled interpreter, when several harnesses share it. */
  readonly module?: WebAssembly.Module;
  /** Executes system instructions; without it they end the run with `SystemInstruction`. */
  readonly system?: (harness: CoreHarness, record: number) => number;
}

export function compileInterpreter(): WebAssembly.Module {
  return new WebAssembly.Module(buildInterpreter() as Uint8Array<ArrayBuffer>);
}

const pageMask = 0xfffn;
const user = 4;

/**
 * The least that an execution core needs around it: paging by a function, user mode, flat segments, and exceptions that are
 * recorded instead of delivered.
 */
export class CoreHarness implements CoreHost {
  readonly layout: MemoryLayout;
  readonly memory: WebAssembly.Memory;
  readonly core: ExecutionCore;
  readonly window: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
  translate: (linearPage: bigint) => number | undefined;
  readonly #system: HarnessOptions["system"];
  /** Physical pieces of the access that the bounce buffer stands for. */
  #pieces: { readonly physical: number; readonly size: number }[] = [];

  constructor(options: HarnessOptions = {}) {
    const { ramBytes = 8 * 1024 ** 2, beside } = options;
    this.layout = beside?.layout ?? layOutMemory(ramBytes, 2, lpWindowBytes);
    this.memory = beside?.memory ?? createMemory(this.layout);
    this.window = windowBase(this.layout, beside ? 1 : 0);
    this.u8 = new Uint8Array(this.memory.buffer);
    this.u16 = new Uint16Array(this.memory.buffer);
    this.u32 = new Uint32Array(this.memory.buffer);
    this.u64 = new BigUint64Array(this.memory.buffer);
    this.translate =
      options.translate ?? ((page) => (page < BigInt(ramBytes) ? Number(page) : undefined));
    this.#system = options.system;
    this.core = new ExecutionCore({
      memory: this.memory,
      layout: this.layout,
      windowBase: this.window,
      module: options.module ?? compileInterpreter(),
      host: this,
      offers: () => true,
      codePages: { claim: () => undefined, changed: () => undefined },
    });
    this.set32(lpOffset.tlbContext, (1 << contextModeBits) | contextMode.user);
    this.set32(lpOffset.systemFlags, 0x202);
    this.set32(lpOffset.cpl, 3);
    this.set32(lpOffset.cr4, 1 << 9);
    // Rounding to nearest, all masked, inexact results recorded already.
    this.set32(lpOffset.mxcsr, 0x1fa0);
    this.mode(64);
  }

  /** Flat segments of the code size given. In 64-bit mode FS and GS may have a base. */
  mode(bits: 16 | 32 | 64): void {
    const big = 1 << 14;
    const long = 1 << 13;
    this.set32(lpOffset.efer, bits === 64 ? 1 << 10 : 0);
    for (const number of Object.values(Segment)) {
      const register = lpOffset.segment + number * segmentStride;
      this.set32(register + segmentOffset.rights, bits === 32 ? big : 0);
      this.set32(register + segmentOffset.limit, 0xffff_ffff);
      this.set32(register + segmentOffset.access, 3);
      this.set64(register + segmentOffset.base, 0n);
      this.set32(register + segmentOffset.lowest, 0);
      this.set32(register + segmentOffset.highest, 0xffff_ffff);
    }
    const cs = lpOffset.segment + Segment.CS * segmentStride;
    if (bits === 64) {
      this.set32(cs + segmentOffset.rights, long);
    }
    if (bits === 16) {
      this.set32(cs + segmentOffset.limit, 0xffff);
    }
    this.core.codeContextChanged();
  }

  /** @returns what ended the run early, undefined when the budget did */
  run(budget: number): RecordedFault | SystemInstruction | undefined {
    try {
      this.core.run(budget);
      return undefined;
    } catch (ended) {
      if (ended instanceof RecordedFault || ended instanceof SystemInstruction) {
        this.core.trapped();
        return ended;
      }
      throw ended;
    }
  }

  // ——— state

  get32(offset: number): number {
    return this.u32[(this.window + offset) >>> 2] ?? 0;
  }
  set32(offset: number, value: number): void {
    this.u32[(this.window + offset) >>> 2] = value;
  }
  get64(offset: number): bigint {
    return this.u64[(this.window + offset) >>> 3] ?? 0n;
  }
  set64(offset: number, value: bigint): void {
    this.u64[(this.window + offset) >>> 3] = value;
  }
  gpr(number: number): bigint {
    return this.get64(lpOffset.gpr + number * 8);
  }
  setGpr(number: number, value: bigint): void {
    this.set64(lpOffset.gpr + number * 8, value);
  }
  get rip(): bigint {
    return this.get64(lpOffset.rip);
  }
  set rip(value: bigint) {
    this.set64(lpOffset.rip, value);
  }
  get rflags(): number {
    return this.get32(lpOffset.systemFlags) | readStatusFlags(this.u32, this.window);
  }
  set rflags(value: number) {
    writeStatusFlags(this.u32, this.window, value);
    this.set32(lpOffset.systemFlags, value & ~statusFlagsMask);
  }
  get xmm(): Uint8Array {
    return this.u8.subarray(this.window + lpOffset.xmm, this.window + lpOffset.xmm + 256);
  }
  /** Writes bytes by linear address as another bus agent would: decoded code there is dropped. */
  write(linear: bigint, bytes: Uint8Array): void {
    this.#pieces = this.#locate(linear, bytes.length, 2);
    let done = 0;
    for (const { physical, size } of this.#pieces) {
      this.u8.set(bytes.subarray(done, done + size), physical);
      this.core.codeWritten(physical, size);
      done += size;
    }
  }
  read(linear: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let done = 0;
    for (const { physical, size } of this.#locate(linear, length, 0)) {
      bytes.set(this.u8.subarray(physical, physical + size), done);
      done += size;
    }
    return bytes;
  }

  // ——— CoreHost

  system(record: number): number {
    if (this.#system) {
      return this.#system(this, record);
    }
    const code = this.u16[(record + recordOffset.code) >>> 1] ?? 0;
    throw new SystemInstruction(code, this.u16[(record + recordOffset.mnemonic) >>> 1] ?? 0);
  }

  access(size: number, kind: number): number {
    const linear = this.get64(lpOffset.argument0);
    const write = kind !== AccessKind.Read;
    this.#pieces = this.#locate(linear, size, write ? 2 : 0);
    const [piece, ...others] = this.#pieces;
    if (piece && others.length === 0 && !(write && this.core.holdsCode(piece.physical))) {
      this.#fill(linear, piece.physical, false);
      return piece.physical;
    }
    const bounce = this.window + lpOffset.bounce;
    this.u8.set(this.read(linear, size), bounce);
    return bounce;
  }
  commit(): void {
    let from = this.window + lpOffset.bounce;
    for (const { physical, size } of this.#pieces) {
      this.u8.copyWithin(physical, from, from + size);
      this.core.codeWritten(physical, size);
      from += size;
    }
  }
  store(size: number): void {
    const linear = this.get64(lpOffset.argument0);
    this.#pieces = this.#locate(linear, size, 2);
    const bounce = this.window + lpOffset.bounce;
    const value = this.window + lpOffset.argument1;
    this.u8.copyWithin(bounce, value, value + size);
    this.commit();
    const [piece, ...others] = this.#pieces;
    if (piece && others.length === 0) {
      this.#fill(linear, piece.physical, false);
    }
  }
  raise(exception: number): void {
    throw new RecordedFault(exception & 0xff, exception >>> 16);
  }
  fetch(): number {
    const linear = (this.rip + this.get64(lpOffset.codeBase)) & this.get64(lpOffset.linearMask);
    const physical = this.#page(linear, 16) + Number(linear & pageMask);
    this.#fill(linear, physical, true);
    this.set64(lpOffset.fetchTag, (linear & ~pageMask) | this.get64(lpOffset.tlbContext));
    this.set32(lpOffset.fetchPage, physical - (physical % 4096));
    return physical;
  }

  #fill(linear: bigint, physical: number, execute: boolean): void {
    const page = physical - (physical % 4096);
    const low = Number(linear & 0xffff_ffffn) | 0;
    const high = Number(linear >> 32n) | 0;
    const context = this.get32(lpOffset.tlbContext);
    const writable = !execute && !this.core.holdsCode(page);
    this.core.tlb.fill(low, high, context, page, !execute, writable, execute);
  }
  /** @param error error-code bits of a page fault besides the user bit */
  #page(linear: bigint, error: number): number {
    if (BigInt.asUintN(64, BigInt.asIntN(48, linear)) !== linear) {
      throw new RecordedFault(this.#throughStack(linear) ? 12 : 13);
    }
    const page = this.translate(linear & ~pageMask);
    if (page === undefined) {
      throw new RecordedFault(14, error | user, linear);
    }
    return page;
  }
  #throughStack(linear: bigint): boolean {
    const record = this.get32(lpOffset.current);
    const memory = ((this.u8[record + recordOffset.prefixes] ?? 0) & 8) !== 0;
    const segment = this.u8[record + recordOffset.segment];
    const fromTop = BigInt.asIntN(64, linear - this.gpr(4));
    return (memory && segment === Segment.SS) || (fromTop >= -64n && fromTop <= 64n);
  }
  #locate(linear: bigint, size: number, error: number): { physical: number; size: number }[] {
    const narrow = (this.get32(lpOffset.codeMode) & codeMode.sizeMask) !== codeMode.bits64;
    const first = Math.min(size, 4096 - Number(linear & pageMask));
    const pieces = [
      { physical: this.#page(linear, error) + Number(linear & pageMask), size: first },
    ];
    for (let done = first; done < size; ) {
      const at = BigInt.asUintN(narrow ? 32 : 64, linear + BigInt(done));
      const step = Math.min(size - done, 4096);
      pieces.push({ physical: this.#page(at, error), size: step });
      done += step;
    }
    return pieces;
  }
}

/** A system handler that treats every system instruction as doing nothing. */
export function ignoreSystem(): number {
  return Outcome.Next;
}
