import { lpOffset, segmentOffset, segmentStride } from "../execution/lp-window.ts";

/** A 64-bit register of the window, by name. */
export type WideRegister = Exclude<
  keyof typeof lpOffset,
  | "gpr"
  | "zero"
  | "segment"
  | "xmm"
  | "x87"
  | "bounce"
  | "cpuPrivate"
  | "apicPage"
  | "vmxPrivate"
  | "vmcsCache"
  | "mailbox"
  | "scripts"
  | "tlb"
  | "blocks"
  | "records"
  | "systemFlags"
  | "pending"
  | "remaining"
  | "current"
  | "fetchPage"
  | "codeMode"
  | "cpl"
  | "activity"
  | "interruptibility"
  | "index"
  | "mxcsr"
  | "iteration"
  | "pkru"
  | "fcw"
  | "fsw"
  | "ftw"
  | "fop"
>;

/** Views of one LP's window and of physical memory. Offsets passed in are window offsets of `lpOffset`. */
export class LpState {
  readonly base: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;

  constructor(memory: WebAssembly.Memory, windowBase: number) {
    this.base = windowBase;
    const { buffer } = memory;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
  }

  read32(offset: number): number {
    return this.u32[(this.base + offset) >>> 2] ?? 0;
  }
  write32(offset: number, value: number): void {
    this.u32[(this.base + offset) >>> 2] = value;
  }
  read16(offset: number): number {
    return this.u16[(this.base + offset) >>> 1] ?? 0;
  }
  write16(offset: number, value: number): void {
    this.u16[(this.base + offset) >>> 1] = value;
  }
  read64(offset: number): bigint {
    return this.u64[(this.base + offset) >>> 3] ?? 0n;
  }
  write64(offset: number, value: bigint): void {
    this.u64[(this.base + offset) >>> 3] = value;
  }
  /** High half of a 64-bit slot. */
  readHigh32(offset: number): number {
    return this.u32[(this.base + offset + 4) >>> 2] ?? 0;
  }

  /** 64-bit register by name. */
  get(name: WideRegister): bigint {
    return this.read64(lpOffset[name]);
  }
  set(name: WideRegister, value: bigint): void {
    this.write64(lpOffset[name], BigInt.asUintN(64, value));
  }
  /** Low 32 bits of a register that has no more (CR0, CR4, EFER, DR6, DR7…), as an unsigned number. */
  low(name: WideRegister): number {
    return this.read32(lpOffset[name]);
  }
  setLow(name: WideRegister, value: number): void {
    this.write32(lpOffset[name], value >>> 0);
    this.write32(lpOffset[name] + 4, 0);
  }

  gpr(number: number): bigint {
    return this.read64(lpOffset.gpr + number * 8);
  }
  setGpr(number: number, value: bigint): void {
    this.write64(lpOffset.gpr + number * 8, BigInt.asUintN(64, value));
  }
  /** Low 32 bits of a general register. */
  gpr32(number: number): number {
    return this.read32(lpOffset.gpr + number * 8);
  }
  /** Writes a 32-bit value zero-extended to 64 bits, as every 32-bit destination is. */
  setGpr32(number: number, value: number): void {
    this.write32(lpOffset.gpr + number * 8, value >>> 0);
    this.write32(lpOffset.gpr + number * 8 + 4, 0);
  }

  get rip(): bigint {
    return this.read64(lpOffset.rip);
  }
  set rip(value: bigint) {
    this.write64(lpOffset.rip, BigInt.asUintN(64, value));
  }
  get cpl(): number {
    return this.read32(lpOffset.cpl);
  }
  get activity(): number {
    return this.read32(lpOffset.activity);
  }
  set activity(value: number) {
    this.write32(lpOffset.activity, value);
  }
  get interruptibility(): number {
    return this.read32(lpOffset.interruptibility);
  }
  set interruptibility(value: number) {
    this.write32(lpOffset.interruptibility, value);
  }

  selector(segment: number): number {
    return this.read16(lpOffset.segment + segment * segmentStride + segmentOffset.selector);
  }
  rights(segment: number): number {
    return this.read32(lpOffset.segment + segment * segmentStride + segmentOffset.rights);
  }
  limit(segment: number): number {
    return this.read32(lpOffset.segment + segment * segmentStride + segmentOffset.limit);
  }
  segmentBase(segment: number): bigint {
    return this.read64(lpOffset.segment + segment * segmentStride + segmentOffset.base);
  }
}
