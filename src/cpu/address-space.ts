import { largePageRegions, lpOffset, walkFlag } from "../execution/lp-window.ts";
import { addressSpaceIdMax, contextMode, contextModeBits, type Tlb } from "../execution/tlb.ts";
import type { LpState } from "./lp-state.ts";
import { type PageWalker, PagingMode, Request } from "./paging.ts";
import { cr0Bit, cr4Bit, flagBit } from "./register-bits.ts";

/** Whose rights an access made by TypeScript has. */
export const AccessClass = {
  /** The program's: CPL, RFLAGS.AC. */
  Current: 0,
  /** Implicit supervisor: descriptor tables and TSS. RFLAGS.AC does not lift SMAP. */
  System: 1,
  /** Explicit supervisor whatever CPL is: the stack of an inner level during a change of level. */
  Supervisor: 2,
} as const;
export type AccessClass = (typeof AccessClass)[keyof typeof AccessClass];

const vmIndexMax = 511;
/** A key: VM index in 27:19, PCID in 18:7, mode of the walker in 6:0. */
const pcidShift = 7;
const vmShift = 19;
const noKey = -1;
const giantRegions = 64;

/**
 * Which TLB entries are in force.
 *
 * A TLB context is an address-space id and the access mode. An id stands for (VPID, EP4TA, PCID, paging mode); to invalidate
 * an address space is to forget its id. Ids are not reused before the whole TLB is flushed, which happens when they run out.
 * Global pages are dropped together with the others of their address space, as the architecture allows.
 */
export class AddressSpace {
  readonly #state: LpState;
  readonly #walker: PageWalker;
  readonly #tlb: Tlb;
  // Live ids, unordered.
  readonly #keys = new Int32Array(addressSpaceIdMax + 1);
  readonly #ids = new Int32Array(addressSpaceIdMax + 1);
  #live = 0;
  // Pairs (VPID, EP4TA) seen, by VM index. Index 0 is VPID 0 without EPT.
  readonly #vpids = new Int32Array(vmIndexMax + 1);
  readonly #ep4tas = new Float64Array(vmIndexMax + 1);
  #vms = 1;
  /** The guest met last. */
  #lastVm = 0;
  /** Index of the VM whose translations are in force. */
  #vm = 0;
  #id = 0;
  /** Told when ids that were remembered elsewhere may stand for nothing any more. */
  onForget: () => void = () => {};
  #dataBreakpoints = false;
  /** Address of the window's `largePages`. */
  readonly #largePages: number;
  /** By 1 GiB region (hashed): a page of that size was met there. */
  readonly #giantPages = new Uint8Array(giantRegions);

  // By access class: context for the TLB, request bits for the walker.
  readonly contexts = new Int32Array(3);
  readonly requests = new Int32Array(3);
  /** Data accesses of the program are checked one by one: alignment or breakpoints. */
  slow = false;
  /** Alignment is being checked. */
  alignment = false;

  constructor(state: LpState, walker: PageWalker, tlb: Tlb) {
    this.#state = state;
    this.#walker = walker;
    this.#tlb = tlb;
    this.#largePages = state.base + lpOffset.largePages;
    this.#nextId = 1;
  }

  /** In the window: an assistant gives out ids too. */
  get #nextId(): number {
    return this.#state.read32(lpOffset.nextAddressSpace);
  }
  set #nextId(id: number) {
    this.#state.write32(lpOffset.nextAddressSpace, id);
  }
  /** What `adopt` is to be called with when this VM is to be in force again. */
  get vmIndex(): number {
    return this.#vm;
  }

  /** CR0, CR3, CR4, EFER or the VM may have changed. Nothing is invalidated. */
  changed(): void {
    this.#walker.configure();
    this.#chooseId();
    this.modeChanged();
  }

  /** CPL or RFLAGS.AC may have changed. */
  modeChanged(): void {
    const state = this.#state;
    const user = state.cpl === 3;
    const ac = (state.read32(lpOffset.systemFlags) & flagBit.AC) !== 0;
    const open = ac && this.#walker.smap;
    this.alignment = user && ac && (state.read32(lpOffset.cr0) & cr0Bit.AM) !== 0;
    this.slow = this.alignment || this.#dataBreakpoints;
    const space = this.#id << contextModeBits;
    const supervisor = open ? contextMode.accessOpen : 0;
    const current =
      space | (user ? contextMode.user : supervisor) | (this.slow ? contextMode.slow : 0);
    this.contexts[AccessClass.Current] = current;
    this.contexts[AccessClass.System] = space;
    this.contexts[AccessClass.Supervisor] = space | supervisor;
    const supervisorRequest = open ? Request.open : Request.read;
    this.requests[AccessClass.Current] = user ? Request.user : supervisorRequest;
    this.requests[AccessClass.Supervisor] = supervisorRequest;
    state.write32(lpOffset.tlbContext, current);
    state.write32(lpOffset.walkFlags, this.#walkFlags(user, open));
  }
  /** What the generated page walk may do by itself. */
  #walkFlags(user: boolean, open: boolean): number {
    const walker = this.#walker;
    if (this.slow || walker.mode !== PagingMode.fourLevel || walker.secondStage.enabled) {
      return 0;
    }
    if (walker.watchesPage || walker.usesKeys) {
      return 0;
    }
    if (user) {
      return walkFlag.enabled | walkFlag.user;
    }
    const data = walker.smap && !open ? walkFlag.dataRefusesUser : 0;
    return walkFlag.enabled | data | (walker.smep ? walkFlag.fetchRefusesUser : 0);
  }

  watchData(on: boolean): void {
    if (this.#dataBreakpoints !== on) {
      this.#dataBreakpoints = on;
      this.modeChanged();
    }
  }

  /**
   * VM entry and exit: from now on translations are those of this VM. `changed` or `vmChanged` is to follow.
   * @param vpid 0 in root operation and without VPID
   * @param ep4ta EPT PML4 address with the bits that matter, 0 without EPT
   * @param forgetsZero VPIDs are off: what is known under VPID 0 does not outlive the transition
   */
  enter(vpid: number, ep4ta: number, forgetsZero: boolean): void {
    if (forgetsZero) {
      this.#dropVpidZero();
    }
    if (this.#vpids[this.#vm] !== vpid || this.#ep4tas[this.#vm] !== ep4ta) {
      this.#vm = this.#vmIndex(vpid, ep4ta);
    }
  }
  /** After `enter`, when CR0, CR4 and EFER are as they were. */
  vmChanged(): void {
    this.#chooseId();
    this.modeChanged();
    this.#forgetFetch();
  }

  /**
   * An assistant has put another VM's context into the window, and the control registers that go with it.
   * @param vm its index
   * @param forgetsZero the id is a new one: VPIDs are off, what was known under VPID 0 is known no longer
   */
  adopt(vm: number, forgetsZero: boolean): void {
    this.#walker.configure();
    this.#vm = vm;
    if (forgetsZero) {
      this.#dropVpidZero();
      this.#enterId(this.#key(), this.#state.read32(lpOffset.tlbContext) >>> contextModeBits);
    } else {
      this.#chooseId();
    }
    this.modeChanged();
  }

  // Invalidation. Each leaves a valid context in force.

  /** INVLPG: the page, whatever its size, in every address space. Halves of the linear address. */
  invalidatePage(low: number, high: number): void {
    const pageBits = this.#state.u8[this.#largeRegion(low)] ?? 0;
    if (this.#giantPages[giantRegion(low, high)] !== 0) {
      this.#tlb.invalidateGiant(low, high);
    } else if (pageBits !== 0) {
      const first = (low & -(1 << pageBits)) >>> 0;
      for (let n = 0; n < 1 << (pageBits - 12); n++) {
        this.#tlb.invalidatePage((first + n * 4096) | 0, high | 0);
      }
    } else {
      this.#tlb.invalidatePage(low | 0, high | 0);
    }
    this.#forgetFetch();
  }
  /** One PCID of the current VM. */
  invalidatePcid(pcid: number): void {
    this.#forget(-1 << pcidShift, (this.#vm << vmShift) | (pcid << pcidShift));
  }
  /** Everything of the current VPID and EP4TA: changes of CR0.PG and CR4, INVPCID of all contexts. */
  invalidateVm(): void {
    this.#forget(-1 << vmShift, this.#vm << vmShift);
  }
  invalidateVpid(vpid: number): void {
    for (let vm = 0; vm < this.#vms; vm++) {
      if (this.#vpids[vm] === vpid) {
        this.#forget(-1 << vmShift, vm << vmShift);
      }
    }
  }
  /** Every VPID but 0 (INVVPID all-context) when `zeroToo` is false. */
  invalidateVpids(zeroToo: boolean): void {
    for (let vm = 0; vm < this.#vms; vm++) {
      if (zeroToo || this.#vpids[vm] !== 0) {
        this.#forget(-1 << vmShift, vm << vmShift);
      }
    }
  }
  /** INVEPT single-context. */
  invalidateEp4ta(ep4ta: number): void {
    for (let vm = 0; vm < this.#vms; vm++) {
      if (this.#ep4tas[vm] === ep4ta) {
        this.#forget(-1 << vmShift, vm << vmShift);
      }
    }
  }
  invalidateAll(): void {
    this.#live = 0;
    this.onForget();
    this.#chooseId();
    this.modeChanged();
    this.#forgetFetch();
  }
  /** MOV to CR3 has loaded CR3. @param keep bit 63 was set, with PCIDs enabled */
  cr3Loaded(keep: boolean): void {
    if (!keep) {
      this.invalidatePcid(this.#pcid());
    }
    this.#chooseId();
    this.modeChanged();
    this.#forgetFetch();
  }

  /**
   * PKRU or IA32_PKRS is loaded. What the TLB knows depends on them, in every address space.
   * @param offset of the register in the window
   */
  loadKeys(offset: number, value: number): void {
    if (this.#state.read32(offset) !== value) {
      this.#state.write32(offset, value);
      this.invalidateAll();
    }
  }

  /** A translation out of a large page is being entered into the TLB. */
  noteLargePage(low: number, high: number, pageBits: number): void {
    if (pageBits === 30) {
      this.#giantPages[giantRegion(low, high)] = 1;
      return;
    }
    const { u8 } = this.#state;
    const region = this.#largeRegion(low);
    u8[region] = Math.max(u8[region] ?? 0, pageBits);
    if (pageBits === 22) {
      u8[this.#largeRegion(low ^ 0x20_0000)] = pageBits;
    }
  }

  /** Address of what is known of the 2 MiB region of a linear address: log2 of the largest page met there, 0 when none. */
  #largeRegion(low: number): number {
    return this.#largePages + ((low >>> 21) & (largePageRegions - 1));
  }

  #pcid(): number {
    return (this.#state.read32(lpOffset.cr4) & cr4Bit.PCIDE) !== 0
      ? this.#state.read32(lpOffset.cr3) & 0xfff
      : 0;
  }

  #key(): number {
    return (this.#vm << vmShift) | (this.#pcid() << pcidShift) | this.#walker.modeKey;
  }

  #chooseId(): void {
    const key = this.#key();
    for (let n = 0; n < this.#live; n++) {
      if (this.#keys[n] === key) {
        this.#id = this.#ids[n] ?? 0;
        if (n > 0) this.#bringForward(n);
        return;
      }
    }
    if (this.#nextId > addressSpaceIdMax) {
      this.#flush();
    }
    this.#enterId(key, this.#nextId);
    this.#nextId += 1;
  }
  /** Those that are used often are found soon. */
  #bringForward(n: number): void {
    const keys = this.#keys;
    const ids = this.#ids;
    const key = keys[n - 1] ?? noKey;
    const id = ids[n - 1] ?? 0;
    keys[n - 1] = keys[n] ?? noKey;
    ids[n - 1] = ids[n] ?? 0;
    keys[n] = key;
    ids[n] = id;
  }
  #enterId(key: number, id: number): void {
    this.#id = id;
    this.#keys[this.#live] = key;
    this.#ids[this.#live] = id;
    this.#live += 1;
  }

  #forget(mask: number, value: number): void {
    for (let n = this.#live - 1; n >= 0; n--) {
      if (((this.#keys[n] ?? noKey) & mask) === value) {
        this.#drop(n);
      }
    }
    this.onForget();
    this.#chooseId();
    this.modeChanged();
    this.#forgetFetch();
  }
  #dropVpidZero(): void {
    for (let n = this.#live - 1; n >= 0; n--) {
      if (this.#vpids[(this.#keys[n] ?? 0) >>> vmShift] === 0) {
        this.#drop(n);
      }
    }
  }
  #drop(n: number): void {
    this.#live -= 1;
    this.#keys[n] = this.#keys[this.#live] ?? noKey;
    this.#ids[n] = this.#ids[this.#live] ?? 0;
  }

  #vmIndex(vpid: number, ep4ta: number): number {
    const last = this.#lastVm;
    if (last < this.#vms && this.#vpids[last] === vpid && this.#ep4tas[last] === ep4ta) return last;
    for (let vm = 0; vm < this.#vms; vm++) {
      if (this.#vpids[vm] === vpid && this.#ep4tas[vm] === ep4ta) {
        // Software of the host, which is the first, is found at once.
        if (vm > 0) this.#lastVm = vm;
        return vm;
      }
    }
    if (this.#vms > vmIndexMax) {
      this.#flush();
      this.#vms = 1;
      if (vpid === 0 && ep4ta === 0) {
        return 0;
      }
    }
    this.#vpids[this.#vms] = vpid;
    this.#ep4tas[this.#vms] = ep4ta;
    this.#vms += 1;
    return this.#vms - 1;
  }

  /** Ids have run out. */
  #flush(): void {
    this.onForget();
    this.#tlb.flushAll();
    this.#state.u8.fill(0, this.#largePages, this.#largePages + largePageRegions);
    this.#giantPages.fill(0);
    this.#live = 0;
    this.#nextId = 1;
    this.#forgetFetch();
  }

  #forgetFetch(): void {
    this.#state.write32(lpOffset.fetchTag, 1);
    this.#state.write32(lpOffset.fetchTag + 4, 0);
  }
}

function giantRegion(low: number, high: number): number {
  return ((high << 2) | (low >>> 30)) & (giantRegions - 1);
}
