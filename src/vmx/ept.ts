import type { SecondStage } from "../cpu/ports.ts";
import { cr0Bit } from "../cpu/register-bits.ts";
import { Fault, Vector, vmExitTaken } from "../cpu/trap.ts";
import { lpOffset } from "../execution/lp-window.ts";
import type { ApicAccessPage } from "./apic-virtualization/apic-access-page.ts";
import type { VmxProfile } from "./capabilities.ts";
import { secondary } from "./controls.ts";
import type { VmExits } from "./exit.ts";
import { exitReason } from "./exit-reasons.ts";
import { interruptInstruction } from "./interrupted-instruction.ts";
import { eptCapability } from "./reported-msrs.ts";
import { slot } from "./vmcs-fields.ts";
import type { VmxUnit } from "./vmx-unit.ts";

/** Bits of `access` in `SecondStage.translate`. */
const accessBit = {
  read: 1,
  write: 2,
  execute: 4,
  pagingStructure: 8,
  user: 16,
  /** User mode, writable, execute-disable: what the guest's own paging says of the linear address. */
  page: 0x70,
} as const;
/** Entries of all levels, low half. */
const entryBit = {
  read: 1,
  write: 2,
  execute: 4,
  rights: 7,
  memoryType: 0x38,
  ignorePat: 0x40,
  leaf: 0x80,
  accessed: 0x100,
  dirty: 0x200,
  userExecute: 0x400,
} as const;
/**
 * Rights as they are remembered: bits 2:0 of the entries, and with mode-based execute control bit 10 as bit 3. Bit 2 is then
 * about addresses of supervisor mode only.
 */
const userExecute = 8;
/** EPT pointer. */
const pointerBit = { accessedDirty: 0x40 } as const;
/** Exit qualification of EPT violations. */
const qualificationBit = {
  rightsShift: 3,
  linearValid: 0x80,
  translation: 0x100,
  /** Advanced information: the bits of `accessBit.page`, this far up. */
  pageShift: 5,
  nmiUnblocked: 0x1000,
} as const;

const addressHigh = 0x000f_ffff;
const giga4 = 0x1_0000_0000;
/** Guest-physical addresses have 48 bits under four levels. */
const guestPhysicalMax = 2 ** 48;

/** Memory types that an EPT leaf may name: UC, WC, WT, WP, WB. */
const legalMemoryTypes = 0b0111_0011;

/** Virtualization-exception information area: offsets. */
const exceptionArea = {
  reason: 0,
  busy: 4,
  qualification: 8,
  linear: 16,
  guestPhysical: 24,
  /** EPTP index, 16 bits. */
  index: 32,
} as const;

/** Entries of the page-modification log. */
const logEntries = 512;

/** Guest-physical mappings that are remembered, by page: a power of two. */
const mappingCount = 1024;

/**
 * Extended page tables of one LP: guest-physical to host-physical addresses ("The Extended Page Table Mechanism").
 *
 * Guest-physical mappings are remembered per EP4TA until they are invalidated, as the architecture allows: a page walk of
 * the guest asks for the same few pages again and again.
 */
export class ExtendedPageTables implements SecondStage {
  readonly #unit: VmxUnit;
  readonly #exits: VmExits;
  readonly #accessPage: ApicAccessPage;

  lastRights = 7;
  lastPageBits = 12;
  /** EP4TA of the guest, and whether accessed and dirty flags are on: what tags translations. 0 without EPT. */
  tag = 0;
  #root = 0;
  #setsFlags = false;
  #logsPages = false;
  #knowsModes = false;
  /** Bit 63 of the entry that a walk has ended at. */
  #suppressesVe = false;

  // Remembered mappings: guest-physical page and tag, host-physical page, rights.
  readonly #pages = new Float64Array(mappingCount).fill(-1);
  readonly #tags = new Float64Array(mappingCount);
  readonly #hosts = new Float64Array(mappingCount);
  readonly #rights = new Uint8Array(mappingCount);
  readonly #bits = new Uint8Array(mappingCount);

  // The walk in progress: addresses of the entries and their low halves, from the top.
  readonly #at = new Float64Array(5);
  readonly #entries = new Uint32Array(5);
  #leaf = 0;
  #rightsSoFar = 0;
  #host = 0;

  constructor(unit: VmxUnit, exits: VmExits, accessPage: ApicAccessPage) {
    this.#unit = unit;
    this.#exits = exits;
    this.#accessPage = accessPage;
  }

  get enabled(): boolean {
    return this.#unit.usesEpt;
  }

  /** VM entry: takes up the EPT pointer of the current VMCS. */
  begin(): void {
    const { vmcs, controls } = this.#unit;
    this.#unit.usesEpt = (controls.secondary & secondary.enableEpt) !== 0;
    if (!this.enabled) {
      this.tag = 0;
      return;
    }
    const low = vmcs.low(slot.eptPointer);
    this.#root = (vmcs.high(slot.eptPointer) & addressHigh) * giga4 + ((low & ~0xfff) >>> 0);
    this.#setsFlags = (low & pointerBit.accessedDirty) !== 0;
    this.#knowsModes = (controls.secondary & secondary.modeBasedExecuteControlForEpt) !== 0;
    this.#logsPages = this.#setsFlags && (controls.secondary & secondary.enablePml) !== 0;
    this.tag = eptTag(low, vmcs.high(slot.eptPointer));
  }

  translate(
    guestPhysical: number,
    access: number,
    linearLow: number,
    linearHigh: number,
    linearValid: boolean,
  ): number {
    const wanted = this.#wantedRights(access, linearValid);
    const page = Math.floor(guestPhysical / 4096);
    const n = page & (mappingCount - 1);
    // With a log, software clears dirty flags: those of a page in use are looked at as often as the TLB asks.
    const isForgotten = this.#logsPages && (access & accessBit.pagingStructure) === 0;
    const rights = isForgotten ? 0 : (this.#rights[n] ?? 0);
    if (this.#pages[n] === page && this.#tags[n] === this.tag && (rights & wanted) === wanted) {
      this.lastRights = this.#granted(rights, access);
      this.lastPageBits = this.#bits[n] ?? 12;
      return (this.#hosts[n] ?? 0) + (guestPhysical % 4096);
    }
    while (!this.#walk(guestPhysical, access, wanted, linearLow, linearHigh, linearValid)) {}
    const found = this.lastRights;
    this.lastRights = this.#granted(found, access);
    if (this.#unit.lp.physical.isWatched(this.#host)) {
      if ((access & accessBit.pagingStructure) !== 0) {
        this.#accessPage.guestPhysical();
      }
      // It is not remembered, so that no access of the guest's page walks is missed.
      return this.#host;
    }
    this.#pages[n] = page;
    this.#tags[n] = this.tag;
    this.#hosts[n] = this.#host - (this.#host % 4096);
    this.#rights[n] = found;
    this.#bits[n] = this.lastPageBits;
    return this.#host;
  }

  /** Forgets the remembered mappings of one EP4TA. */
  invalidate(tag: number): void {
    for (let n = 0; n < mappingCount; n++) {
      if (this.#tags[n] === tag) {
        this.#pages[n] = -1;
      }
    }
  }
  invalidateAll(): void {
    this.#pages.fill(-1);
  }

  /** With accessed and dirty flags, an access to a guest paging structure counts as a write; loads of PDPTEs do not. */
  #wantedRights(access: number, linearValid: boolean): number {
    const countsAsWrite =
      this.#setsFlags && linearValid && (access & accessBit.pagingStructure) !== 0;
    const wanted = (countsAsWrite ? access | accessBit.write : access) & entryBit.rights;
    const isUserFetch =
      this.#knowsModes && wanted === accessBit.execute && (access & accessBit.user) !== 0;
    return isUserFetch ? userExecute : wanted;
  }
  #rightsOf(low: number): number {
    const rights = low & entryBit.rights;
    return this.#knowsModes && (low & entryBit.userExecute) !== 0 ? rights | userExecute : rights;
  }
  /** What rights mean for a linear address of that mode: read, write, execute. */
  #granted(rights: number, access: number): number {
    if (!this.#knowsModes || (access & accessBit.user) === 0) {
      return rights & entryBit.rights;
    }
    const execute = (rights & userExecute) !== 0 ? entryBit.execute : 0;
    return (rights & (entryBit.read | entryBit.write)) | execute;
  }

  /** @returns false when an entry changed while its flags were being set: to be done again */
  #walk(
    guestPhysical: number,
    access: number,
    wanted: number,
    linearLow: number,
    linearHigh: number,
    linearValid: boolean,
  ): boolean {
    let table = this.#root;
    let rights = entryBit.rights | userExecute;
    let shift = 39;
    let depth = 0;
    const { physical } = this.#unit.lp;
    const isBeyond = guestPhysical >= guestPhysicalMax;
    for (;;) {
      const index = Math.floor(guestPhysical / 2 ** shift) & 511;
      const at = table + index * 8;
      const low = isBeyond ? 0 : physical.read32(at);
      const high = isBeyond ? 0 : physical.read32(at + 4);
      this.#at[depth] = at;
      this.#entries[depth] = low;
      const entryRights = this.#rightsOf(low);
      if (entryRights === 0) {
        this.#rightsSoFar = 0;
        this.#suppressesVe = high >>> 31 !== 0;
        this.#violation(guestPhysical, access, wanted, linearLow, linearHigh, linearValid);
      }
      const isLeaf = shift === 12 || ((low & entryBit.leaf) !== 0 && shift < 39);
      if (this.#isMisconfigured(low, high, shift, isLeaf)) {
        this.#misconfiguration(guestPhysical);
      }
      rights &= entryRights;
      table = (high & addressHigh) * giga4 + ((low & ~0xfff) >>> 0);
      if (isLeaf) {
        break;
      }
      shift -= 9;
      depth += 1;
    }
    this.#rightsSoFar = rights;
    if ((rights & wanted) !== wanted) {
      this.#suppressesVe = physical.read32((this.#at[depth] ?? 0) + 4) >>> 31 !== 0;
      this.#violation(guestPhysical, access, wanted, linearLow, linearHigh, linearValid);
    }
    this.#leaf = depth;
    const inside = 2 ** shift;
    this.#host = table - (table % inside) + (guestPhysical % inside);
    this.lastPageBits = shift;
    this.lastRights = rights;
    return !this.#setsFlags || this.#setFlags(guestPhysical, wanted);
  }

  /** "EPT Misconfigurations". */
  #isMisconfigured(low: number, high: number, shift: number, isLeaf: boolean): boolean {
    const { eptCapabilities, physicalHighMask } = this.#unit.profile;
    const readWrite = low & (entryBit.read | entryBit.write);
    if (readWrite === entryBit.write) {
      return true;
    }
    // The entry is present: without read access it grants execution.
    if (readWrite === 0 && (eptCapabilities & eptCapability.executeOnly) === 0) {
      return true;
    }
    if ((high & addressHigh & physicalHighMask) !== 0) {
      return true;
    }
    if (!isLeaf) {
      // Bits 6:3, and bit 7 of the top level.
      return (low & (shift === 39 ? 0xf8 : 0x78)) !== 0;
    }
    const type = (low & entryBit.memoryType) >>> 3;
    if (((legalMemoryTypes >>> type) & 1) === 0) {
      return true;
    }
    const pages = shift === 30 ? eptCapability.pages1G : eptCapability.pages2M;
    const isUnsupported = shift !== 12 && (eptCapabilities & pages) === 0;
    return isUnsupported || (shift !== 12 && ((low & ~0xfff) >>> 0) % 2 ** shift !== 0);
  }

  /** "Accessed and Dirty Flags for EPT": top down, each by one atomic update. */
  #setFlags(guestPhysical: number, wanted: number): boolean {
    const isWrite = (wanted & accessBit.write) !== 0;
    const isDirtied = isWrite && ((this.#entries[this.#leaf] ?? 0) & entryBit.dirty) === 0;
    const isLogged = isDirtied && this.#logsPages;
    if (isLogged && this.#unit.vmcs.low(slot.pmlIndex) >= logEntries) {
      this.#logFull(guestPhysical);
    }
    for (let depth = 0; depth <= this.#leaf; depth++) {
      const entry = this.#entries[depth] ?? 0;
      const flags = entryBit.accessed | (isWrite && depth === this.#leaf ? entryBit.dirty : 0);
      if (
        (entry & flags) !== flags &&
        !this.#setEntry(this.#at[depth] ?? 0, entry, entry | flags)
      ) {
        return false;
      }
    }
    const isDirty = isWrite || ((this.#entries[this.#leaf] ?? 0) & entryBit.dirty) !== 0;
    if (!isDirty) {
      this.lastRights &= ~entryBit.write;
    }
    if (isLogged) {
      this.#log(guestPhysical);
    }
    return true;
  }
  /** "Page-Modification Logging": from the end of the log to its beginning. */
  #log(guestPhysical: number): void {
    const { lp, vmcs } = this.#unit;
    const index = vmcs.low(slot.pmlIndex);
    const at = vmcs.address(slot.pmlAddress) + index * 8;
    lp.physical.write32(at, ((guestPhysical % giga4) & ~0xfff) >>> 0);
    lp.physical.write32(at + 4, Math.floor(guestPhysical / giga4));
    vmcs.write32(slot.pmlIndex, (index - 1) & 0xffff);
  }
  #setEntry(at: number, old: number, value: number): boolean {
    const { physical, state } = this.#unit.lp;
    if (!physical.isRam(at)) {
      return true;
    }
    return Atomics.compareExchange(state.u32, at >>> 2, old, value >>> 0) === old;
  }

  // ——— exits

  #violation(
    guestPhysical: number,
    access: number,
    wanted: number,
    linearLow: number,
    linearHigh: number,
    linearValid: boolean,
  ): never {
    const { lp, vmcs } = this.#unit;
    const isTranslation = (access & accessBit.pagingStructure) === 0;
    const place =
      (linearValid ? qualificationBit.linearValid : 0) |
      (linearValid && isTranslation ? qualificationBit.translation : 0);
    const isAdvanced =
      linearValid &&
      isTranslation &&
      (this.#unit.profile.eptCapabilities & eptCapability.advancedInformation) !== 0;
    const page = isAdvanced ? (access & accessBit.page) << qualificationBit.pageShift : 0;
    const unblocked = lp.nmiUnblockedByIret ? qualificationBit.nmiUnblocked : 0;
    const accessed = wanted === userExecute ? accessBit.execute : wanted;
    const qualification =
      accessed | (this.#rightsSoFar << qualificationBit.rightsShift) | place | page | unblocked;
    if (this.#becomesException()) {
      this.#exception(guestPhysical, qualification, linearLow, linearHigh);
    }
    if (linearValid) {
      vmcs.write(slot.guestLinearAddress, linearLow, linearHigh);
    }
    this.#exit(exitReason.eptViolation, guestPhysical, qualification);
  }
  /** "Convertible EPT Violations": the information area is free, and no event is on its way through the IDT. */
  #becomesException(): boolean {
    const { lp, vmcs, controls, isInjecting } = this.#unit;
    if ((controls.secondary & secondary.eptViolationVe) === 0 || this.#suppressesVe) {
      return false;
    }
    const area = vmcs.address(slot.virtualizationExceptionInformation);
    return (
      (lp.state.read32(lpOffset.cr0) & cr0Bit.PE) !== 0 &&
      lp.delivering === undefined &&
      !isInjecting &&
      lp.physical.read32(area + exceptionArea.busy) === 0
    );
  }
  /** "Virtualization-Exception Information". @throws #VE */
  #exception(
    guestPhysical: number,
    qualification: number,
    linearLow: number,
    linearHigh: number,
  ): never {
    const { lp, vmcs } = this.#unit;
    const { physical } = lp;
    const area = vmcs.address(slot.virtualizationExceptionInformation);
    physical.write32(area + exceptionArea.reason, exitReason.eptViolation);
    physical.write32(area + exceptionArea.busy, 0xffff_ffff);
    physical.write32(area + exceptionArea.qualification, qualification);
    physical.write32(area + exceptionArea.qualification + 4, 0);
    physical.write32(area + exceptionArea.linear, linearLow);
    physical.write32(area + exceptionArea.linear + 4, linearHigh);
    physical.write32(area + exceptionArea.guestPhysical, guestPhysical % giga4);
    physical.write32(area + exceptionArea.guestPhysical + 4, Math.floor(guestPhysical / giga4));
    const last = physical.read32(area + exceptionArea.index);
    const index = (last & 0xffff_0000) | vmcs.low(slot.eptpIndex);
    physical.write32(area + exceptionArea.index, index >>> 0);
    this.#forget(guestPhysical);
    throw new Fault(Vector.VE, undefined);
  }
  #misconfiguration(guestPhysical: number): never {
    this.#exit(exitReason.eptMisconfiguration, guestPhysical, 0);
  }

  #exit(reason: number, guestPhysical: number, qualification: number): never {
    const { vmcs } = this.#unit;
    vmcs.write(slot.guestPhysicalAddress, guestPhysical % giga4, Math.floor(guestPhysical / giga4));
    this.#leave(reason, guestPhysical, qualification);
  }
  /** No flag has been changed. */
  #logFull(guestPhysical: number): never {
    const unblocked = this.#unit.lp.nmiUnblockedByIret ? qualificationBit.nmiUnblocked : 0;
    this.#leave(exitReason.pageModificationLogFull, guestPhysical, unblocked);
  }
  #leave(reason: number, guestPhysical: number, qualification: number): never {
    const length = interruptInstruction(this.#unit);
    this.#forget(guestPhysical);
    this.#exits.fault(reason, qualification, 0, length);
    throw vmExitTaken;
  }

  /** A violation invalidates what was remembered of the address. */
  #forget(guestPhysical: number): void {
    const page = Math.floor(guestPhysical / 4096);
    const n = page & (mappingCount - 1);
    if (this.#pages[n] === page) {
      this.#pages[n] = -1;
    }
  }
}

/** Whether an EPT pointer could be used for VM entry: what INVEPT asks of its operand too. */
export function isValidEptPointer(profile: VmxProfile, low: number, high: number): boolean {
  const { eptCapabilities, physicalHighMask } = profile;
  const memoryType = low & 7;
  const hasType =
    (memoryType === 0 && (eptCapabilities & eptCapability.uncacheable) !== 0) ||
    (memoryType === 6 && (eptCapabilities & eptCapability.writeBack) !== 0);
  const walkLength = ((low >>> 3) & 7) + 1;
  const flagsAllowed =
    (low & pointerBit.accessedDirty) === 0 || (eptCapabilities & eptCapability.accessedDirty) !== 0;
  const reserved = low & 0xf80;
  return (
    hasType && walkLength === 4 && flagsAllowed && reserved === 0 && (high & physicalHighMask) === 0
  );
}

/**
 * What tags translations under an EPT pointer: the address of its top table, and the accessed-dirty setting in bit 6.
 * @param low, high halves of the EPT pointer
 */
export function eptTag(low: number, high: number): number {
  return (high & addressHigh) * giga4 + ((low & (~0xfff | pointerBit.accessedDirty)) >>> 0);
}
