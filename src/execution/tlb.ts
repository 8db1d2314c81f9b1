import { lpOffset, tlbEntries, tlbEntryBytes, tlbEntryOffset } from "./lp-window.ts";

/**
 * The software TLB of one LP, 4096 direct-mapped entries of 4 KiB granularity.
 *
 * A tag is the linear page or-ed with the 12-bit context it was filled under: an address-space id (bits 11:3) and the access
 * mode (bits 2:0). A context switch changes the context in the window and nothing else; invalidating an address space means
 * giving it a fresh id. An invalid tag is 1 with page 0: no context has that value (ids start at 1).
 */
export const contextModeBits = 3;
export const addressSpaceIdMax = (1 << (12 - contextModeBits)) - 1;
/** Access modes: user; supervisor with AC set under SMAP; never filled (alignment checking, data breakpoints). */
export const contextMode = { user: 1, accessOpen: 2, slow: 4 } as const;

const invalidTag = 1;

export const TlbAccess = { Read: 0, Write: 1, Execute: 2 } as const;
export type TlbAccess = (typeof TlbAccess)[keyof typeof TlbAccess];

export class Tlb {
  readonly #base: number;
  readonly #i32: Int32Array;
  /** Fills since reset. */
  misses = 0;

  constructor(memory: WebAssembly.Memory, windowBase: number) {
    this.#base = windowBase + lpOffset.tlb;
    this.#i32 = new Int32Array(memory.buffer);
    this.flushAll();
  }

  /**
   * Enters a translation for the accesses allowed. The page's entry for another page or context is evicted; tags of the same
   * page and context are kept.
   * @param low low 32 bits of the linear address
   * @param high high 32 bits
   * @param context 12-bit context
   * @param physical physical page address, also the address in the shared memory
   * @param read, write, execute which tags to set. Write permission counts for other LPs from the return of this on: the
   *   caller then looks once more whether the page has been claimed for decoding, and `revokeWrite`s when it has
   */
  fill(
    low: number,
    high: number,
    context: number,
    physical: number,
    read: boolean,
    write: boolean,
    execute: boolean,
  ): void {
    this.misses += 1;
    const entry = this.#entry(low);
    const tagLow = (low & ~0xfff) | context;
    const words = this.#i32;
    const addend = (physical - (low & ~0xfff)) | 0;
    const same =
      words[entry + (tlbEntryOffset.addend >> 2)] === addend &&
      (this.#isTag(entry, TlbAccess.Read, tagLow, high) ||
        this.#isTag(entry, TlbAccess.Execute, tagLow, high) ||
        this.#isTag(entry, TlbAccess.Write, tagLow, high));
    if (!same) {
      this.#clear(entry);
      words[entry + (tlbEntryOffset.addend >> 2)] = addend;
    }
    if (read) this.#setTag(entry, TlbAccess.Read, tagLow, high);
    if (write) {
      this.#setTag(entry, TlbAccess.Write, tagLow, high);
      // The barrier that `CodePages` asks for: the permission before the caller's second look at the page.
      Atomics.store(words, entry + (tlbEntryOffset.write >> 2), tagLow);
    }
    if (execute) this.#setTag(entry, TlbAccess.Execute, tagLow, high);
  }

  /** Takes back the write permission that `fill` has just entered. */
  revokeWrite(low: number): void {
    this.#invalidate(this.#entry(low), TlbAccess.Write);
  }

  /** Host address of an access inside one page, or -1 on a miss. */
  lookup(low: number, high: number, context: number, access: TlbAccess): number {
    const entry = this.#entry(low);
    if (!this.#isTag(entry, access, (low & ~0xfff) | context, high)) {
      return -1;
    }
    return (low + (this.#i32[entry + (tlbEntryOffset.addend >> 2)] ?? 0)) >>> 0;
  }

  /** Drops whatever is known of one linear page, in every context. */
  invalidatePage(low: number, high: number): void {
    const entry = this.#entry(low);
    for (let access = 0; access < 3; access++) {
      const at = entry + access * 2;
      if (((this.#i32[at] ?? 0) ^ low) >>> 12 === 0 && this.#i32[at + 1] === high) {
        this.#clear(entry);
        return;
      }
    }
  }

  /** The same of the 1 GiB that a linear address lies in. */
  invalidateGiant(low: number, high: number): void {
    const words = this.#i32;
    for (let n = 0; n < tlbEntries; n++) {
      const entry = (this.#base >>> 2) + n * (tlbEntryBytes >> 2);
      for (let access = 0; access < 3; access++) {
        const at = entry + access * 2;
        if (((words[at] ?? 0) ^ low) >>> 30 === 0 && words[at + 1] === (high | 0)) {
          this.#clear(entry);
          break;
        }
      }
    }
  }

  /** Drops write permission of every entry that maps a physical page: it now holds decoded code. */
  protectPhysicalPage(physical: number): void {
    const words = this.#i32;
    for (let n = 0; n < tlbEntries; n++) {
      const entry = (this.#base >>> 2) + n * (tlbEntryBytes >> 2);
      const tagLow = words[entry + (tlbEntryOffset.write >> 2)] ?? 0;
      if (
        ((tagLow & ~0xfff) + (words[entry + (tlbEntryOffset.addend >> 2)] ?? 0)) >>> 0 ===
        physical
      ) {
        this.#invalidate(entry, TlbAccess.Write);
      }
    }
  }

  /** Drops write permission everywhere. */
  protectAll(): void {
    for (let n = 0; n < tlbEntries; n++) {
      this.#invalidate((this.#base >>> 2) + n * (tlbEntryBytes >> 2), TlbAccess.Write);
    }
  }

  flushAll(): void {
    for (let n = 0; n < tlbEntries; n++) {
      this.#clear((this.#base >>> 2) + n * (tlbEntryBytes >> 2));
    }
  }

  #entry(low: number): number {
    return (this.#base >>> 2) + ((low >>> 12) & (tlbEntries - 1)) * (tlbEntryBytes >> 2);
  }
  #isTag(entry: number, access: TlbAccess, tagLow: number, high: number): boolean {
    return (
      this.#i32[entry + access * 2] === (tagLow | 0) &&
      this.#i32[entry + access * 2 + 1] === (high | 0)
    );
  }
  #setTag(entry: number, access: TlbAccess, tagLow: number, high: number): void {
    this.#i32[entry + access * 2] = tagLow;
    this.#i32[entry + access * 2 + 1] = high;
  }
  #invalidate(entry: number, access: TlbAccess): void {
    this.#i32[entry + access * 2] = invalidTag;
    this.#i32[entry + access * 2 + 1] = 0;
  }
  #clear(entry: number): void {
    this.#invalidate(entry, TlbAccess.Read);
    this.#invalidate(entry, TlbAccess.Write);
    this.#invalidate(entry, TlbAccess.Execute);
  }
}
