import { lpOffset } from "../execution/lp-window.ts";
import { joinHalves } from "./halves.ts";
import type { LpState } from "./lp-state.ts";
import type { CpuModel } from "./models/cpu-model.ts";
import type { PhysicalAccess } from "./physical-access.ts";
import type { SecondStage } from "./ports.ts";
import { cr0Bit, cr4Bit, eferBit } from "./register-bits.ts";
import { pageFault } from "./trap.ts";

/** What a translation is asked for: bits or-ed together. */
export const Request = {
  read: 0,
  write: 1,
  fetch: 2,
  /** User-mode access (CPL 3, and not to a system structure). */
  user: 4,
  /** Explicit supervisor access with RFLAGS.AC set: SMAP does not apply. */
  open: 8,
} as const;

/** Page-fault error code. */
const errorBit = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16, key: 32 } as const;
/** Entries of all levels and formats: low half. */
const entryBit = {
  present: 1,
  writable: 2,
  user: 4,
  accessed: 0x20,
  dirty: 0x40,
  large: 0x80,
} as const;
/** The bits of `access` in `SecondStage.translate` that tell of the linear address's page. */
const PageAccess = { user: 16, writable: 32, executeDisable: 64 } as const;
/** The key in the high half of an entry that maps a page, and the two bits of a key in PKRU and IA32_PKRS. */
const keyShift = 27;
const keyBit = { accessDisable: 1, writeDisable: 2 } as const;
const noExecute = 0x8000_0000;

/** Accesses a TLB entry may be filled for. */
export const TlbRight = { read: 1, write: 2, execute: 4 } as const;

export const PagingMode = { none: 0, bits32: 1, pae: 2, fourLevel: 3 } as const;
export type PagingMode = (typeof PagingMode)[keyof typeof PagingMode];

const giga4 = 0x1_0000_0000;

/**
 * Translates linear addresses by walking the paging structures in memory. No bigint on the way: a linear address is two
 * u32 halves, a physical one a number.
 */
export class PageWalker {
  readonly #state: LpState;
  readonly #physical: PhysicalAccess;
  readonly #physicalBits: number;
  /** Bits of the high half of an address beyond the physical-address width. */
  readonly #beyondWidth: number;
  readonly #pages1G: boolean;
  readonly #pse36: boolean;
  secondStage: SecondStage;

  // What CR0, CR4 and EFER say, kept by `configure`.
  mode: PagingMode = PagingMode.none;
  #writeProtect = false;
  #smep = false;
  #smap = false;
  #noExecute = false;
  #pageSizeExtension = false;
  /** CR4.PKE and CR4.PKS, where they count: under 4-level paging. */
  #userKeys = false;
  #supervisorKeys = false;
  /** Bits of the high half of an entry that must be zero. */
  #reservedHigh = 0;

  /** Bits that tell apart entries which are not interchangeable although the tables are the same. */
  get modeKey(): number {
    return (
      this.mode |
      (this.#writeProtect ? 4 : 0) |
      (this.#smep ? 8 : 0) |
      (this.#smap ? 16 : 0) |
      (this.#noExecute ? 32 : 0) |
      (this.#pageSizeExtension || this.usesKeys ? 64 : 0)
    );
  }
  /** Protection keys restrict data accesses: TLB entries depend on PKRU or IA32_PKRS. */
  get usesKeys(): boolean {
    return this.#userKeys || this.#supervisorKeys;
  }
  /** Some page is not what it seems: who walks must ask `PhysicalAccess.redirect`. */
  get watchesPage(): boolean {
    return this.#physical.watchedPage >= 0;
  }
  get smep(): boolean {
    return this.#smep;
  }
  get smap(): boolean {
    return this.#smap;
  }

  // The translation in progress. Addresses of the entries by level, and their low halves.
  readonly #guest = new Float64Array(4);
  readonly #host = new Float64Array(4);
  readonly #entry = new Uint32Array(4);
  #low = 0;
  #high = 0;
  #entryHigh = 0;
  /** What the guest's paging structures say of the linear address, as bits of `access` in `SecondStage.translate`. */
  #pageAccess = 0;

  // Its result.
  /** Physical address. */
  physical = 0;
  /** Translations done: TLB misses. */
  walks = 0;
  /** `TlbRight` bits: what may be done in the same mode without another walk. */
  rights = 0;
  /** log2 of the guest's page size. */
  pageBits = 12;

  constructor(state: LpState, physical: PhysicalAccess, model: CpuModel, secondStage: SecondStage) {
    this.#state = state;
    this.#physical = physical;
    this.#physicalBits = model.physicalAddressBits;
    this.#beyondWidth = ~(2 ** (model.physicalAddressBits - 32) - 1);
    this.#pages1G = model.features.has("pages1G");
    this.#pse36 = model.features.has("pse36");
    this.secondStage = secondStage;
  }

  /** To be called when CR0, CR4 or EFER have changed. */
  configure(): void {
    const cr0 = this.#state.read32(lpOffset.cr0);
    const cr4 = this.#state.read32(lpOffset.cr4);
    const efer = this.#state.read32(lpOffset.efer);
    this.#writeProtect = (cr0 & cr0Bit.WP) !== 0;
    this.#smep = (cr4 & cr4Bit.SMEP) !== 0;
    this.#smap = (cr4 & cr4Bit.SMAP) !== 0;
    this.#pageSizeExtension = (cr4 & cr4Bit.PSE) !== 0 && (efer & eferBit.LMA) === 0;
    if ((cr0 & cr0Bit.PG) === 0) {
      this.mode = PagingMode.none;
    } else if ((efer & eferBit.LMA) !== 0) {
      this.mode = PagingMode.fourLevel;
    } else {
      this.mode = (cr4 & cr4Bit.PAE) !== 0 ? PagingMode.pae : PagingMode.bits32;
    }
    const isFourLevel = this.mode === PagingMode.fourLevel;
    this.#userKeys = isFourLevel && (cr4 & cr4Bit.PKE) !== 0;
    this.#supervisorKeys = isFourLevel && (cr4 & cr4Bit.PKS) !== 0;
    this.#noExecute = (efer & eferBit.NXE) !== 0 && this.mode >= PagingMode.pae;
    const top = this.mode === PagingMode.pae ? 0x7fff_ffff : 0x000f_ffff;
    const beyond = top & this.#beyondWidth;
    this.#reservedHigh = this.#noExecute ? beyond : beyond | noExecute;
    this.#state.write32(lpOffset.walkReserved, 0);
    this.#state.write32(lpOffset.walkReserved + 4, this.#reservedHigh);
  }

  /**
   * Translates and leaves the result in `physical`, `rights` and `pageBits`. The address is canonical.
   * @param request bits of `Request`
   * @throws #PF, or `vmExitTaken`
   */
  translate(low: number, high: number, request: number): void {
    this.#low = low >>> 0;
    this.#high = high >>> 0;
    this.pageBits = 12;
    this.walks += 1;
    let done = false;
    while (!done) {
      done = this.#walk(request);
    }
    if (this.secondStage.enabled) {
      const access = (request & Request.fetch) !== 0 ? 4 : (request & Request.write) !== 0 ? 2 : 1;
      const all = access | this.#pageAccess;
      this.physical = this.secondStage.translate(this.physical, all, low, high, true);
      this.rights &= this.secondStage.lastRights;
    }
  }

  /**
   * Reads the four PDPTEs at CR3 and, if none has a reserved bit set, makes them the ones in use.
   * @returns false when one is malformed: the load faults
   */
  loadPdptes(cr3: number): boolean {
    const words = new Uint32Array(8);
    for (let n = 0; n < 4; n++) {
      const guest = (cr3 & ~31) >>> 0;
      const host = this.#toHost(guest + n * 8, 1, false);
      words[n * 2] = this.#physical.read32(host);
      words[n * 2 + 1] = this.#physical.read32(host + 4);
    }
    return this.setPdptes(words);
  }
  /** @param words low and high halves of PDPTE0..3 */
  setPdptes(words: Uint32Array): boolean {
    const reservedHigh = this.#beyondWidth;
    for (let n = 0; n < 4; n++) {
      const low = words[n * 2] ?? 0;
      if (
        (low & 1) !== 0 &&
        ((low & 0x1e6) !== 0 || ((words[n * 2 + 1] ?? 0) & reservedHigh) !== 0)
      ) {
        return false;
      }
    }
    for (let n = 0; n < 8; n++) {
      this.#state.write32(lpOffset.pdpte + n * 4, words[n] ?? 0);
    }
    return true;
  }

  /** False when an entry changed under the walk while its flags were being set: to be done again. */
  #walk(request: number): boolean {
    switch (this.mode) {
      case PagingMode.none:
        this.physical = this.#low;
        this.#pageAccess = PageAccess.user | PageAccess.writable;
        this.rights = TlbRight.read | TlbRight.write | TlbRight.execute;
        return true;
      case PagingMode.bits32:
        return this.#walk32(request);
      case PagingMode.pae:
        return this.#walkPae(request);
      default:
        return this.#walkFourLevel(request);
    }
  }

  #walkFourLevel(request: number): boolean {
    const low = this.#low;
    const high = this.#high;
    const cr3 = this.#state.base + lpOffset.cr3;
    let table = this.#tableOf(
      this.#state.u32[cr3 >>> 2] ?? 0,
      this.#state.u32[(cr3 >>> 2) + 1] ?? 0,
    );
    this.#read(3, table + ((high >>> 7) & 511) * 8, request);
    let entry = this.#entry[3] ?? 0;
    if ((entry & entryBit.large) !== 0) {
      this.#fault(errorBit.present | errorBit.reserved, request);
    }
    let allowed = entry;
    let forbidden = this.#entryHigh;
    table = this.#tableOf(entry, this.#entryHigh);
    this.#read(2, table + (((high << 2) | (low >>> 30)) & 511) * 8, request);
    entry = this.#entry[2] ?? 0;
    allowed &= entry;
    forbidden |= this.#entryHigh;
    if ((entry & entryBit.large) !== 0) {
      return this.#finishLarge(2, 3, 30, allowed, forbidden, request);
    }
    return this.#walkLower(3, this.#tableOf(entry, this.#entryHigh), allowed, forbidden, request);
  }

  #walkPae(request: number): boolean {
    const index = this.#low >>> 30;
    const pdpte = this.#state.base + lpOffset.pdpte + index * 8;
    const low = this.#state.u32[pdpte >>> 2] ?? 0;
    if ((low & entryBit.present) === 0) {
      this.#fault(0, request);
    }
    const table = this.#tableOf(low, this.#state.u32[(pdpte >>> 2) + 1] ?? 0);
    return this.#walkLower(1, table, entryBit.writable | entryBit.user, 0, request);
  }

  /** Page directory and page table of the formats with 8-byte entries. @param top highest level with flags to set */
  #walkLower(
    top: number,
    directory: number,
    above: number,
    forbiddenAbove: number,
    request: number,
  ): boolean {
    this.#read(1, directory + ((this.#low >>> 21) & 511) * 8, request);
    let entry = this.#entry[1] ?? 0;
    let allowed = above & entry;
    let forbidden = forbiddenAbove | this.#entryHigh;
    if ((entry & entryBit.large) !== 0) {
      return this.#finishLarge(1, top, 21, allowed, forbidden, request);
    }
    this.#read(0, this.#tableOf(entry, this.#entryHigh) + ((this.#low >>> 12) & 511) * 8, request);
    entry = this.#entry[0] ?? 0;
    allowed &= entry;
    forbidden |= this.#entryHigh;
    this.physical = this.#tableOf(entry, this.#entryHigh) + (this.#low & 0xfff);
    this.#check(allowed, forbidden, request);
    return this.#setFlags(0, top, request);
  }

  #finishLarge(
    level: number,
    top: number,
    bits: number,
    allowed: number,
    forbidden: number,
    request: number,
  ): boolean {
    const entry = this.#entry[level] ?? 0;
    const inside = 2 ** bits - 1;
    // Bit 12 is the PAT bit of a large page.
    if ((entry & inside & ~0x1fff) !== 0 || (level === 2 && !this.#pages1G)) {
      this.#fault(errorBit.present | errorBit.reserved, request);
    }
    this.pageBits = bits;
    this.physical = this.#tableOf((entry & ~inside) >>> 0, this.#entryHigh) + (this.#low & inside);
    this.#check(allowed, forbidden, request);
    return this.#setFlags(level, top, request);
  }

  #walk32(request: number): boolean {
    const directory = this.#state.read32(lpOffset.cr3) & ~0xfff;
    this.#read32(1, (directory >>> 0) + (this.#low >>> 22) * 4, request);
    const pde = this.#entry[1] ?? 0;
    if ((pde & entryBit.large) !== 0 && this.#pageSizeExtension) {
      return this.#finishLarge32(pde, request);
    }
    this.#read32(0, ((pde & ~0xfff) >>> 0) + ((this.#low >>> 12) & 1023) * 4, request);
    const pte = this.#entry[0] ?? 0;
    this.physical = ((pte & ~0xfff) >>> 0) + (this.#low & 0xfff);
    this.#check(pde & pte, 0, request);
    return this.#setFlags(0, 1, request);
  }
  #finishLarge32(pde: number, request: number): boolean {
    // Bits 20:13 are address bits 39:32 as far as the model has them, bit 21 is reserved.
    const beyond32 = this.#pse36 ? Math.min(40, this.#physicalBits) - 32 : 0;
    const highBits = (pde >>> 13) & 0x1ff;
    if (highBits >>> beyond32 !== 0) {
      this.#fault(errorBit.present | errorBit.reserved, request);
    }
    this.pageBits = 22;
    this.physical = highBits * giga4 + ((pde & 0xffc0_0000) >>> 0) + (this.#low & 0x3f_ffff);
    this.#check(pde, 0, request);
    return this.#setFlags(1, 1, request);
  }

  /** Address field of an 8-byte entry or of CR3. */
  #tableOf(low: number, high: number): number {
    return (high & 0x000f_ffff) * giga4 + ((low & ~0xfff) >>> 0);
  }

  #toHost(guest: number, access: number, linearValid: boolean): number {
    return this.secondStage.enabled
      ? this.secondStage.translate(guest, access | 8, this.#low, this.#high, linearValid)
      : guest;
  }

  /** Reads an 8-byte entry; faults when it is not present or has a reserved bit set. */
  #read(level: number, guest: number, request: number): void {
    const host = this.#toHost(guest, 1, true);
    this.#guest[level] = guest;
    this.#host[level] = host;
    // Two halves make one consistent entry when the low half has not changed around the read of the high one.
    let low = this.#physical.read32(host);
    for (;;) {
      this.#entryHigh = this.#physical.read32(host + 4);
      const again = this.#physical.read32(host);
      if (again === low) {
        break;
      }
      low = again;
    }
    this.#entry[level] = low;
    if ((low & entryBit.present) === 0) {
      this.#fault(0, request);
    }
    if ((this.#entryHigh & this.#reservedHigh) !== 0) {
      this.#fault(errorBit.present | errorBit.reserved, request);
    }
  }
  #read32(level: number, guest: number, request: number): void {
    const host = this.#toHost(guest, 1, true);
    this.#guest[level] = guest;
    this.#host[level] = host;
    const entry = this.#physical.read32(host);
    this.#entry[level] = entry;
    if ((entry & entryBit.present) === 0) {
      this.#fault(0, request);
    }
  }

  /**
   * Access rights of the whole path. Leaves in `rights` what else the same mode may do.
   * @param allowed low halves of all entries, and-ed
   * @param forbidden high halves of all entries, or-ed
   */
  #check(allowed: number, forbidden: number, request: number): void {
    const executable = !this.#noExecute || (forbidden & noExecute) === 0;
    this.#pageAccess =
      ((allowed & entryBit.user) !== 0 ? PageAccess.user : 0) |
      ((allowed & entryBit.writable) !== 0 ? PageAccess.writable : 0) |
      (executable ? 0 : PageAccess.executeDisable);
    const byEntries =
      (request & Request.user) !== 0
        ? this.#userRights(allowed, executable)
        : this.#supervisorRights(allowed, executable, (request & Request.open) !== 0);
    const denied = this.usesKeys ? this.#deniedByKey(allowed, request) : 0;
    const rights = byEntries & ~denied;
    const wanted =
      (request & Request.fetch) !== 0
        ? TlbRight.execute
        : (request & Request.write) !== 0
          ? TlbRight.write
          : TlbRight.read;
    if ((rights & wanted) === 0) {
      this.#fault(errorBit.present | ((denied & wanted) !== 0 ? errorBit.key : 0), request);
    }
    this.rights = rights;
  }
  /** "Protection Keys": data accesses that PKRU (user pages) or IA32_PKRS (supervisor pages) denies the key of the leaf entry. */
  #deniedByKey(allowed: number, request: number): number {
    const isUserPage = (allowed & entryBit.user) !== 0;
    if (!(isUserPage ? this.#userKeys : this.#supervisorKeys)) {
      return 0;
    }
    const register = this.#state.read32(isUserPage ? lpOffset.pkru : lpOffset.pkrs);
    const bits = register >>> (((this.#entryHigh >>> keyShift) & 15) * 2);
    if ((bits & keyBit.accessDisable) !== 0) {
      return TlbRight.read | TlbRight.write;
    }
    const isProtected = this.#writeProtect || (request & Request.user) !== 0;
    return (bits & keyBit.writeDisable) !== 0 && isProtected ? TlbRight.write : 0;
  }
  #userRights(allowed: number, executable: boolean): number {
    if ((allowed & entryBit.user) === 0) {
      return 0;
    }
    const write = (allowed & entryBit.writable) !== 0 ? TlbRight.write : 0;
    return TlbRight.read | write | (executable ? TlbRight.execute : 0);
  }
  /** @param open SMAP does not apply */
  #supervisorRights(allowed: number, executable: boolean, open: boolean): number {
    const userPage = (allowed & entryBit.user) !== 0;
    const execute = executable && !(userPage && this.#smep) ? TlbRight.execute : 0;
    if (userPage && this.#smap && !open) {
      return execute;
    }
    const writable = (allowed & entryBit.writable) !== 0 || !this.#writeProtect;
    return execute | TlbRight.read | (writable ? TlbRight.write : 0);
  }

  /** Sets accessed and dirty flags from the top level down to the leaf. */
  #setFlags(leaf: number, top: number, request: number): boolean {
    for (let level = top; level >= leaf; level--) {
      const entry = this.#entry[level] ?? 0;
      const dirty = level === leaf && (request & Request.write) !== 0 ? entryBit.dirty : 0;
      const flags = entryBit.accessed | dirty;
      if ((entry & flags) !== flags && !this.#setEntry(level, entry, entry | flags)) {
        return false;
      }
    }
    if (((this.#entry[leaf] ?? 0) & entryBit.dirty) === 0 && (request & Request.write) === 0) {
      this.rights &= ~TlbRight.write;
    }
    return true;
  }
  /** One atomic update; false when the entry is no longer what was read. Entries outside RAM have no memory to set flags in. */
  #setEntry(level: number, old: number, value: number): boolean {
    const guest = this.#guest[level] ?? 0;
    const host = this.secondStage.enabled ? this.#toHost(guest, 3, true) : (this.#host[level] ?? 0);
    if (!this.#physical.isRam(host)) {
      return true;
    }
    const seen = Atomics.compareExchange(this.#state.u32, host >>> 2, old, value >>> 0);
    if (seen !== old) {
      return false;
    }
    this.#physical.announceWrite(host, 4);
    return true;
  }

  #fault(code: number, request: number): never {
    const fetchKnown = this.#noExecute || this.#smep;
    throw pageFault(
      code |
        ((request & Request.write) !== 0 ? errorBit.write : 0) |
        ((request & Request.user) !== 0 ? errorBit.user : 0) |
        ((request & Request.fetch) !== 0 && fetchKnown ? errorBit.fetch : 0),
      joinHalves(this.#low, this.#high),
    );
  }
}
