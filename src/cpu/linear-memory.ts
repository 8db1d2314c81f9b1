import { AccessKind } from "../execution/core-host.ts";
import { prefixBit, recordOffset } from "../execution/instruction-record.ts";
import { lpOffset, Pending, Segment } from "../execution/lp-window.ts";
import { type Tlb, TlbAccess } from "../execution/tlb.ts";
import { AccessClass, type AddressSpace } from "./address-space.ts";
import type { Breakpoints } from "./breakpoints.ts";
import { isCanonical } from "./canonical.ts";
import { highHalf, joinHalves, lowHalf } from "./halves.ts";
import { privateOffset } from "./lp-private.ts";
import type { LpState } from "./lp-state.ts";
import { type PageWalker, Request, TlbRight } from "./paging.ts";
import type { PhysicalAccess } from "./physical-access.ts";
import { alignmentCheck, generalProtection, stackFault, undefinedOpcode } from "./trap.ts";

/**
 * Accesses by linear address: the slow path of generated code, and the accesses that TypeScript makes itself.
 *
 * An access to RAM within one page goes straight to the shared memory. One that crosses a page, meets a device or writes to
 * a page of decoded code goes through the bounce buffer (generated code) or byte by byte (TypeScript).
 */
export class LinearMemory {
  readonly #state: LpState;
  readonly #walker: PageWalker;
  readonly #space: AddressSpace;
  readonly #physical: PhysicalAccess;
  readonly #tlb: Tlb;
  readonly #breakpoints: Breakpoints;

  // Where the bounce buffer is to be written back: two runs of bytes, the second one often empty.
  #firstPhysical = 0;
  #firstBytes = 0;
  #secondPhysical = 0;
  #secondBytes = 0;

  /** Where a locked operation wrote to a page of decoded code in place; to be announced once more when it is done. */
  #lockedCodeWrite = -1;

  /** Upper half of what `read64At` has read. */
  highHalf = 0;

  constructor(
    state: LpState,
    walker: PageWalker,
    space: AddressSpace,
    physical: PhysicalAccess,
    tlb: Tlb,
    breakpoints: Breakpoints,
  ) {
    this.#state = state;
    this.#walker = walker;
    this.#space = space;
    this.#physical = physical;
    this.#tlb = tlb;
    this.#breakpoints = breakpoints;
  }

  // ——— for the execution core (see `CoreHost`)

  access(size: number, kind: number): number {
    const argument = (this.#state.base + lpOffset.argument0) >>> 2;
    const low = this.#state.u32[argument] ?? 0;
    const high = this.#state.u32[argument + 1] ?? 0;
    const write = kind !== AccessKind.Read;
    this.#checkProgramAddress(low, high, size, write);
    if ((low & 0xfff) + size > 4096) {
      this.#locateAcross(low, high, size, write, AccessClass.Current);
      return this.#bounce(size, kind);
    }
    const found = this.#locate(low, high, write, AccessClass.Current);
    const physical = this.#physical.redirect(found, size, kind);
    if (!this.#physical.isPlain(physical)) {
      this.#oneRun(physical, size);
      return this.#bounce(size, kind);
    }
    // With permission in the TLB the store is heard of: whoever claims the page for decoding waits for this instruction.
    if (!write || (!this.#space.slow && !this.#physical.holdsCode(physical))) {
      return physical;
    }
    if (kind === AccessKind.Write) {
      this.#oneRun(physical, size);
      return this.#bounce(size, kind);
    }
    // A locked operation must happen in place.
    this.#physical.announceWrite(physical, size);
    this.#lockedCodeWrite = physical;
    this.#state.write32(lpOffset.attendant, 0);
    Atomics.or(this.#state.i32, (this.#state.base + lpOffset.pending) >>> 2, Pending.Events);
    return physical;
  }

  /** Between instructions: code that others decoded while a locked operation was changing it is to be read anew. */
  announceLockedWrite(): void {
    if (this.#lockedCodeWrite >= 0) {
      this.#physical.announceWrite(this.#lockedCodeWrite, 8);
      this.#lockedCodeWrite = -1;
    }
  }

  commit(): void {
    const bounce = this.#state.base + lpOffset.bounce;
    this.#storeRun(this.#firstPhysical, bounce, this.#firstBytes);
    this.#storeRun(this.#secondPhysical, bounce + this.#firstBytes, this.#secondBytes);
  }

  store(size: number): void {
    const argument = (this.#state.base + lpOffset.argument0) >>> 2;
    const low = this.#state.u32[argument] ?? 0;
    const high = this.#state.u32[argument + 1] ?? 0;
    this.#checkProgramAddress(low, high, size, true);
    const valueAt = this.#state.base + lpOffset.argument1;
    if ((low & 0xfff) + size > 4096) {
      this.#locateAcross(low, high, size, true, AccessClass.Current);
      this.#storeRun(this.#firstPhysical, valueAt, this.#firstBytes);
      this.#storeRun(this.#secondPhysical, valueAt + this.#firstBytes, this.#secondBytes);
      return;
    }
    const found = this.#locate(low, high, true, AccessClass.Current);
    this.#storeRun(this.#physical.redirect(found, size, AccessKind.Write), valueAt, size);
  }

  fetch(): number {
    const { u32, base } = this.#state;
    const rip = (base + lpOffset.rip) >>> 2;
    const code = (base + lpOffset.codeBase) >>> 2;
    let low = u32[rip] ?? 0;
    let high = u32[rip + 1] ?? 0;
    if ((u32[(base + lpOffset.linearMask + 4) >>> 2] ?? 0) === 0) {
      if (low > this.#state.limit(Segment.CS)) {
        throw generalProtection();
      }
      low = (low + (u32[code] ?? 0)) >>> 0;
      high = 0;
    } else if (!isCanonical(high)) {
      throw generalProtection();
    }
    const context = this.#space.contexts[AccessClass.Current] ?? 0;
    let physical = this.#tlb.lookup(low, high, context, TlbAccess.Execute);
    if (physical < 0) {
      const user = (this.#space.requests[AccessClass.Current] ?? 0) & Request.user;
      this.#walker.translate(low, high, Request.fetch | user);
      physical = this.#walker.physical;
      if (!this.#physical.isPlain(physical)) {
        if (this.#physical.isWatched(physical)) {
          this.#physical.watcher?.fetch(physical % 4096);
        }
        // Nothing to execute on the bus: it reads as ones, and FF FF is no instruction.
        throw undefinedOpcode();
      }
      this.#noteSize(low, high);
      this.#tlb.fill(low, high, context, (physical & -4096) >>> 0, false, false, true);
    }
    this.#state.write32(lpOffset.fetchTag, (low & ~0xfff) | context);
    this.#state.write32(lpOffset.fetchTag + 4, high);
    this.#state.write32(lpOffset.fetchPage, (physical & -4096) >>> 0);
    return physical;
  }

  // ——— for TypeScript. The address is canonical or this raises #GP(0); callers that owe #SS check before.

  read8(linear: bigint, as: AccessClass): number {
    return this.read8At(lowHalf(linear), highHalf(linear), as);
  }
  read16(linear: bigint, as: AccessClass): number {
    return this.read16At(lowHalf(linear), highHalf(linear), as);
  }
  read32(linear: bigint, as: AccessClass): number {
    return this.read32At(lowHalf(linear), highHalf(linear), as);
  }
  read64(linear: bigint, as: AccessClass): bigint {
    const host = this.#readable(lowHalf(linear), highHalf(linear), 8, as);
    return host >= 0
      ? this.#physical.readRam64(host)
      : joinHalves(this.#gather(0, 4), this.#gather(4, 4));
  }
  write8(linear: bigint, value: number, as: AccessClass): void {
    this.#write(lowHalf(linear), highHalf(linear), 1, value, as);
  }
  write16(linear: bigint, value: number, as: AccessClass): void {
    this.#write(lowHalf(linear), highHalf(linear), 2, value, as);
  }
  write32(linear: bigint, value: number, as: AccessClass): void {
    this.#write(lowHalf(linear), highHalf(linear), 4, value, as);
  }
  write64(linear: bigint, value: bigint, as: AccessClass): void {
    const host = this.#writable(lowHalf(linear), highHalf(linear), 8, as);
    if (host >= 0) {
      this.#physical.writeRam64(host, value);
      this.#announceSlow(host, 8);
    } else {
      this.#scatter(0, 4, lowHalf(value));
      this.#scatter(4, 4, highHalf(value));
    }
  }
  /** Fills `target` from memory. Faults of the last page come before anything is read from a device. */
  readBytes(linear: bigint, target: Uint8Array, as: AccessClass): void {
    for (let done = 0; done < target.length; ) {
      const size = Math.min(8, target.length - done);
      this.#locateAt(linear + BigInt(done), size, false, as);
      for (let n = 0; n < size; n++) {
        target[done + n] = this.#gather(n, 1);
      }
      done += size;
    }
  }
  /** Writes all of `source`; nothing is written when any part of it faults (at most one page boundary is crossed). */
  writeBytes(linear: bigint, source: Uint8Array, as: AccessClass): void {
    this.checkWritable(linear, source.length, as);
    for (let done = 0; done < source.length; ) {
      const size = Math.min(8, source.length - done);
      this.#locateAt(linear + BigInt(done), size, true, as);
      for (let n = 0; n < size; n++) {
        this.#scatter(n, 1, source[done + n] ?? 0);
      }
      done += size;
    }
  }
  /** Raises what a write of these bytes would raise. */
  checkWritable(linear: bigint, size: number, as: AccessClass): void {
    this.#locateAt(linear, 1, true, as);
    this.#locateAt(linear + BigInt(size - 1), 1, true, as);
  }
  checkReadable(linear: bigint, size: number, as: AccessClass): void {
    this.#locateAt(linear, 1, false, as);
    this.#locateAt(linear + BigInt(size - 1), 1, false, as);
  }
  /**
   * Physical address of an access within one page, faults raised.
   * @param write also sets the dirty flag
   */
  translate(linear: bigint, write: boolean, as: AccessClass): number {
    return this.#locate(lowHalf(linear), highHalf(linear), write, as);
  }
  /** Sets bits of a byte atomically: accessed and busy bits of descriptors. */
  setBits8(linear: bigint, bits: number, as: AccessClass): void {
    const physical = this.translate(linear, true, as);
    if (this.#physical.isPlain(physical)) {
      Atomics.or(this.#state.u8, physical, bits);
      this.#physical.announceWrite(physical, 1);
    }
  }

  // The same by halves, for paths that should not make bigints. 64 bits are two accesses.

  read8At(low: number, high: number, as: AccessClass): number {
    const host = this.#readable(low, high, 1, as);
    return host >= 0 ? this.#physical.readRam8(host) : this.#gather(0, 1);
  }
  read16At(low: number, high: number, as: AccessClass): number {
    const host = this.#readable(low, high, 2, as);
    return host >= 0 ? this.#physical.readRam16(host) : this.#gather(0, 2);
  }
  read32At(low: number, high: number, as: AccessClass): number {
    const host = this.#readable(low, high, 4, as);
    return host >= 0 ? this.#physical.readRam32(host) : this.#gather(0, 4);
  }
  /** @returns the low half; the high one is left in `highHalf` */
  read64At(low: number, high: number, as: AccessClass): number {
    const host = this.#readable(low, high, 8, as);
    if (host >= 0) {
      this.highHalf = this.#physical.readRam32(host + 4);
      return this.#physical.readRam32(host);
    }
    const value = this.#gather(0, 4);
    this.highHalf = this.#gather(4, 4);
    return value;
  }
  write16At(low: number, high: number, value: number, as: AccessClass): void {
    this.#write(low, high, 2, value, as);
  }
  write32At(low: number, high: number, value: number, as: AccessClass): void {
    this.#write(low, high, 4, value, as);
  }
  write64At(low: number, high: number, valueLow: number, valueHigh: number, as: AccessClass): void {
    const host = this.#writable(low, high, 8, as);
    if (host >= 0) {
      this.#physical.writeRam32(host, valueLow);
      this.#physical.writeRam32(host + 4, valueHigh);
      this.#announceSlow(host, 8);
    } else {
      this.#scatter(0, 4, valueLow);
      this.#scatter(4, 4, valueHigh);
    }
  }

  #write(low: number, high: number, size: 1 | 2 | 4, value: number, as: AccessClass): void {
    const host = this.#writable(low, high, size, as);
    if (host < 0) {
      this.#scatter(0, size, value);
      return;
    }
    if (size === 4) {
      this.#physical.writeRam32(host, value);
    } else if (size === 2) {
      this.#physical.writeRam16(host, value);
    } else {
      this.#physical.writeRam8(host, value);
    }
    this.#announceSlow(host, size);
  }
  /** A store was made without a TLB entry, so that who claims the page for decoding did not wait for it. */
  #announceSlow(host: number, size: number): void {
    if (this.#space.slow) {
      this.#physical.announceWrite(host, size);
    }
  }

  /** RAM address to read at, or -1: then the two runs say where the bytes are. */
  #readable(low: number, high: number, size: number, as: AccessClass): number {
    if ((low & 0xfff) + size > 4096) {
      this.#checkSlow(low, high, size, false, as);
      this.#locateAcross(low, high, size, false, as);
      return -1;
    }
    const hit = this.#tlb.lookup(low, high, this.#space.contexts[as] ?? 0, TlbAccess.Read);
    if (hit >= 0) {
      return hit;
    }
    const found = this.#locate(low, high, false, as);
    this.#checkSlow(low, high, size, false, as);
    const physical = this.#physical.redirect(found, size, AccessKind.Read);
    if (this.#physical.isPlain(physical)) {
      return physical;
    }
    this.#oneRun(physical, size);
    return -1;
  }
  #writable(low: number, high: number, size: number, as: AccessClass): number {
    if ((low & 0xfff) + size > 4096) {
      this.#checkSlow(low, high, size, true, as);
      this.#locateAcross(low, high, size, true, as);
      return -1;
    }
    const hit = this.#tlb.lookup(low, high, this.#space.contexts[as] ?? 0, TlbAccess.Write);
    if (hit >= 0) {
      return hit;
    }
    const found = this.#locate(low, high, true, as);
    this.#checkSlow(low, high, size, true, as);
    const physical = this.#physical.redirect(found, size, AccessKind.Write);
    if (this.#physical.isPlain(physical) && !this.#physical.holdsCode(physical)) {
      return physical;
    }
    this.#oneRun(physical, size);
    return -1;
  }

  #locateAt(linear: bigint, size: number, write: boolean, as: AccessClass): void {
    const low = lowHalf(linear);
    const high = highHalf(linear);
    if ((low & 0xfff) + size > 4096) {
      this.#locateAcross(low, high, size, write, as);
    } else {
      const found = this.#locate(low, high, write, as);
      this.#oneRun(this.#physical.redirect(found, size, kindOf(write)), size);
    }
  }

  // ——— translation

  /** Physical address of an access within one page; enters the translation into the TLB. */
  #locate(low: number, high: number, write: boolean, as: AccessClass): number {
    if (!isCanonical(high)) {
      throw generalProtection();
    }
    const walker = this.#walker;
    const request = (this.#space.requests[as] ?? 0) | (write ? Request.write : Request.read);
    walker.translate(low, high, request);
    const { physical, rights } = walker;
    if (this.#physical.isPlain(physical) && !(this.#space.slow && as === AccessClass.Current)) {
      const writable = (rights & TlbRight.write) !== 0 && !this.#physical.holdsCode(physical);
      const readable = (rights & TlbRight.read) !== 0;
      this.#noteSize(low, high);
      this.#tlb.fill(
        low,
        high,
        this.#space.contexts[as] ?? 0,
        (physical & -4096) >>> 0,
        readable,
        writable,
        false,
      );
      // Claimed for decoding in the meantime (see `CodePages`).
      if (writable && this.#physical.holdsCode(physical)) {
        this.#tlb.revokeWrite(low);
      }
    }
    return physical;
  }
  /** An access of `size` bytes that crosses into the next page: leaves its two runs. */
  #locateAcross(low: number, high: number, size: number, write: boolean, as: AccessClass): void {
    const first = 4096 - (low & 0xfff);
    const firstPhysical = this.#locate(low, high, write, as);
    const nextLow = (low + first) >>> 0;
    const carry = nextLow === 0 ? 1 : 0;
    // Outside 64-bit addressing linear addresses wrap at 4 GiB.
    const nextHigh = high === 0 && this.#isNarrow() ? 0 : (high + carry) >>> 0;
    const secondPhysical = this.#locate(nextLow, nextHigh, write, as);
    const kind = kindOf(write);
    this.#firstPhysical = this.#physical.redirect(firstPhysical, first, kind);
    this.#secondPhysical = this.#physical.redirect(secondPhysical, size - first, kind);
    this.#firstBytes = first;
    this.#secondBytes = size - first;
  }
  #isNarrow(): boolean {
    return this.#state.readHigh32(lpOffset.linearMask) === 0;
  }
  #oneRun(physical: number, size: number): void {
    this.#firstPhysical = physical;
    this.#firstBytes = size;
    this.#secondBytes = 0;
  }
  #noteSize(low: number, high: number): void {
    if (this.#walker.pageBits !== 12) {
      this.#space.noteLargePage(low, high, this.#walker.pageBits);
    }
  }

  // ——— checks of the program's own accesses

  #checkProgramAddress(low: number, high: number, size: number, write: boolean): void {
    if (!isCanonical(high)) {
      throw this.#isStackReference(low, high) ? stackFault() : generalProtection();
    }
    if (this.#space.slow) {
      this.#checkAfterTranslation(low, high, size, write);
    }
  }
  /** A page fault comes before an alignment check, a breakpoint counts only when the access is made: translate first. */
  #checkAfterTranslation(low: number, high: number, size: number, write: boolean): void {
    const request =
      (this.#space.requests[AccessClass.Current] ?? 0) | (write ? Request.write : Request.read);
    this.#walker.translate(low, high, request);
    this.#checkSlow(low, high, size, write, AccessClass.Current);
  }
  #checkSlow(low: number, high: number, size: number, write: boolean, as: AccessClass): void {
    if (!this.#space.slow || as !== AccessClass.Current) {
      return;
    }
    if (this.#space.alignment && size <= 8 && (low & (size - 1)) !== 0) {
      throw alignmentCheck();
    }
    const hits = this.#breakpoints.dataHits(joinHalves(low, high), size, write);
    if (hits !== 0) {
      const { dataHits } = privateOffset;
      this.#state.write32(dataHits, this.#state.read32(dataHits) | hits);
    }
  }
  /** Whether the access of the instruction in progress goes through SS, so that a bad address is a stack fault. */
  #isStackReference(low: number, high: number): boolean {
    const record = this.#state.read32(lpOffset.current);
    const prefixes = this.#state.u8[record + recordOffset.prefixes] ?? 0;
    const segment = this.#state.u8[record + recordOffset.segment] ?? 0;
    if ((prefixes & prefixBit.memory) !== 0 && segment === Segment.SS) {
      return true;
    }
    // Pushes and pops name no operand, but they are made at the stack pointer.
    const fromTop = BigInt.asIntN(64, joinHalves(low, high) - this.#state.gpr(4));
    return fromTop >= -64n && fromTop <= 64n;
  }

  // ——— bytes of the two runs

  #bounce(size: number, kind: number): number {
    const bounce = this.#state.base + lpOffset.bounce;
    if (kind !== AccessKind.Write) {
      this.#loadRun(this.#firstPhysical, bounce, this.#firstBytes);
      this.#loadRun(this.#secondPhysical, bounce + this.#firstBytes, size - this.#firstBytes);
    }
    return bounce;
  }
  #loadRun(physical: number, address: number, size: number): void {
    if (size === 0) {
      return;
    }
    if (this.#physical.isPlain(physical)) {
      this.#state.u8.copyWithin(address, physical, physical + size);
      return;
    }
    for (let done = 0; done < size; ) {
      const step = deviceStep(size - done);
      const value = this.#physical.readDevice(physical + done, step);
      for (let n = 0; n < step; n++) {
        this.#state.u8[address + done + n] = value >>> (n * 8);
      }
      done += step;
    }
  }
  #storeRun(physical: number, address: number, size: number): void {
    if (size === 0) {
      return;
    }
    if (this.#physical.isPlain(physical)) {
      this.#storeRam(physical, address, size);
      return;
    }
    for (let done = 0; done < size; ) {
      const step = deviceStep(size - done);
      let value = 0;
      for (let n = 0; n < step; n++) {
        value |= (this.#state.u8[address + done + n] ?? 0) << (n * 8);
      }
      this.#physical.writeDevice(physical + done, step, value >>> 0);
      done += step;
    }
  }
  #storeRam(physical: number, address: number, size: number): void {
    const { u8, u16, u32, u64 } = this.#state;
    if (((physical | address) & (size - 1)) !== 0) {
      u8.copyWithin(physical, address, address + size);
    } else if (size === 8) {
      u64[physical >>> 3] = u64[address >>> 3] ?? 0n;
    } else if (size === 4) {
      u32[physical >>> 2] = u32[address >>> 2] ?? 0;
    } else if (size === 2) {
      u16[physical >>> 1] = u16[address >>> 1] ?? 0;
    } else {
      u8.copyWithin(physical, address, address + size);
    }
    this.#physical.announceWrite(physical, size);
  }

  /** Little-endian value of bytes `from`..`from + size` of the located runs. */
  #gather(from: number, size: number): number {
    if (this.#secondBytes === 0 && !this.#physical.isPlain(this.#firstPhysical)) {
      return this.#physical.readDevice(this.#firstPhysical + from, size);
    }
    let value = 0;
    for (let n = 0; n < size; n++) {
      const at = this.#byteAddress(from + n);
      const byte = this.#physical.isPlain(at)
        ? this.#physical.readRam8(at)
        : this.#physical.readDevice(at, 1);
      value |= byte << (n * 8);
    }
    return value >>> 0;
  }
  #scatter(from: number, size: number, value: number): void {
    if (this.#secondBytes === 0 && !this.#physical.isPlain(this.#firstPhysical)) {
      this.#physical.writeDevice(this.#firstPhysical + from, size, value >>> 0);
      return;
    }
    for (let n = 0; n < size; n++) {
      const at = this.#byteAddress(from + n);
      const byte = (value >>> (n * 8)) & 0xff;
      if (!this.#physical.isPlain(at)) {
        this.#physical.writeDevice(at, 1, byte);
        continue;
      }
      this.#physical.writeRam8(at, byte);
      this.#physical.announceWrite(at, 1);
    }
  }
  #byteAddress(n: number): number {
    return n < this.#firstBytes
      ? this.#firstPhysical + n
      : this.#secondPhysical + n - this.#firstBytes;
  }
}

const kindOf = (write: boolean): number => (write ? AccessKind.Write : AccessKind.Read);

/** Devices are accessed by 4, 2 or 1 bytes. */
function deviceStep(left: number): 1 | 2 | 4 {
  if (left >= 4) {
    return 4;
  }
  return left >= 2 ? 2 : 1;
}
