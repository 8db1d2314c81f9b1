import type { CodePages } from "../execution/code-pages.ts";
import { lpOffset } from "../execution/lp-window.ts";
import { highHalf, joinHalves, lowHalf } from "./halves.ts";
import type { LocalApic } from "./local-apic/local-apic.ts";
import type { LpState } from "./lp-state.ts";
import type { Bus, PageWatcher } from "./ports.ts";

/**
 * Accesses by physical address: RAM, this LP's APIC page, or the bus. Addresses are numbers, sizes bytes.
 * RAM accesses that are naturally aligned are single accesses of the shared memory.
 */
export class PhysicalAccess {
  readonly #state: LpState;
  readonly #bus: Bus;
  readonly #apic: LocalApic;
  readonly #ramBytes: number;
  readonly #codePages: CodePages;
  readonly #codeWritten: (physical: number, size: number) => void;
  #apicPage = -1;
  /** Address of the page whose linear accesses `watcher` is asked about, -1 when there is none. It is never in the TLB. */
  watchedPage = -1;
  watcher: PageWatcher | undefined;

  constructor(
    state: LpState,
    bus: Bus,
    apic: LocalApic,
    ramBytes: number,
    codePages: CodePages,
    codeWritten: (physical: number, size: number) => void,
  ) {
    this.#state = state;
    this.#bus = bus;
    this.#apic = apic;
    this.#ramBytes = ramBytes;
    this.#codePages = codePages;
    this.#codeWritten = codeWritten;
  }

  /** Physical address of the page that is the local APIC, or -1 when there is none (disabled, x2APIC mode). */
  get apicPage(): number {
    return this.#apicPage;
  }
  set apicPage(address: number) {
    this.#apicPage = address;
    this.#state.write32(lpOffset.apicFrame, address < 0 ? 0xffff_ffff : address / 4096);
  }

  isRam(physical: number): boolean {
    return physical < this.#ramBytes;
  }
  /** RAM that a linear access reaches without more ado: the APIC page hides what lies under it. */
  isPlain(physical: number): boolean {
    const page = (physical & -4096) >>> 0;
    return physical < this.#ramBytes && page !== this.#apicPage && page !== this.watchedPage;
  }
  isWatched(physical: number): boolean {
    return this.watchedPage >= 0 && physical - (physical % 4096) === this.watchedPage;
  }
  /** Where an access to the watched page is made instead; any other address stays as it is. @throws vmExitTaken */
  redirect(physical: number, size: number, kind: number): number {
    return this.watcher !== undefined && this.isWatched(physical)
      ? this.watcher.access(physical % 4096, size, kind)
      : physical;
  }
  /** The page of a RAM address holds decoded code, so that no TLB may let stores to it through. */
  holdsCode(physical: number): boolean {
    return this.#codePages.holdsCode(physical);
  }
  /** A store to RAM has been made in a way that no TLB entry of this LP allows: whoever has decoded the bytes hears of it. */
  announceWrite(physical: number, size: number): void {
    this.#codeWritten(physical, size);
  }

  // RAM, no questions asked.

  readRam8(address: number): number {
    return this.#state.u8[address] ?? 0;
  }
  readRam16(address: number): number {
    const { u8, u16 } = this.#state;
    return (address & 1) === 0
      ? (u16[address >>> 1] ?? 0)
      : (u8[address] ?? 0) | ((u8[address + 1] ?? 0) << 8);
  }
  readRam32(address: number): number {
    return (address & 3) === 0
      ? (this.#state.u32[address >>> 2] ?? 0)
      : (this.readRam16(address) | (this.readRam16(address + 2) << 16)) >>> 0;
  }
  readRam64(address: number): bigint {
    return (address & 7) === 0
      ? (this.#state.u64[address >>> 3] ?? 0n)
      : joinHalves(this.readRam32(address), this.readRam32(address + 4));
  }
  writeRam8(address: number, value: number): void {
    this.#state.u8[address] = value;
  }
  writeRam16(address: number, value: number): void {
    if ((address & 1) === 0) {
      this.#state.u16[address >>> 1] = value;
    } else {
      this.#state.u8[address] = value;
      this.#state.u8[address + 1] = value >>> 8;
    }
  }
  writeRam32(address: number, value: number): void {
    if ((address & 3) === 0) {
      this.#state.u32[address >>> 2] = value;
    } else {
      this.writeRam16(address, value);
      this.writeRam16(address + 2, value >>> 16);
    }
  }
  writeRam64(address: number, value: bigint): void {
    if ((address & 7) === 0) {
      this.#state.u64[address >>> 3] = value;
    } else {
      this.writeRam32(address, lowHalf(value));
      this.writeRam32(address + 4, highHalf(value));
    }
  }

  // What is not RAM.

  /** @param size 1, 2 or 4 */
  readDevice(physical: number, size: number): number {
    const offset = this.#apicOffset(physical);
    return offset >= 0 ? this.#apic.readMmio(offset, size) : this.#bus.readMmio(physical, size);
  }
  writeDevice(physical: number, size: number, value: number): void {
    const offset = this.#apicOffset(physical);
    if (offset >= 0) {
      this.#apic.writeMmio(offset, size, value);
    } else {
      this.#bus.writeMmio(physical, size, value);
    }
  }
  #apicOffset(physical: number): number {
    const offset = physical - this.#apicPage;
    return this.#apicPage >= 0 && offset >= 0 && offset < 4096 ? offset : -1;
  }

  // RAM or device, as a table walk or a VMX structure access wants.

  read32(physical: number): number {
    return physical < this.#ramBytes
      ? this.readRam32(physical)
      : this.#bus.readMmio(physical, 4) >>> 0;
  }
  read64(physical: number): bigint {
    return physical < this.#ramBytes
      ? this.readRam64(physical)
      : joinHalves(this.read32(physical), this.read32(physical + 4));
  }
  write32(physical: number, value: number): void {
    if (physical < this.#ramBytes) {
      this.writeRam32(physical, value);
      this.#codeWritten(physical, 4);
    } else {
      this.#bus.writeMmio(physical, 4, value);
    }
  }
  write64(physical: number, value: bigint): void {
    this.write32(physical, lowHalf(value));
    this.write32(physical + 4, highHalf(value));
  }
}
