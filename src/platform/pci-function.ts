import { assert } from "../base/assert.ts";
import { littleEndianAt, type PciCapability } from "./pci-capability.ts";
import type { PciWiring } from "./pci-slot.ts";
import type { RequesterPort } from "./requester.ts";

/** Offsets in the configuration header. */
const header = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  headerType: 0x0e,
  bars: 0x10,
  barsEnd: 0x28,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

const configurationBytes = 256;
const barCount = 6;
const commandBit = { io: 1 << 0, memory: 1 << 1, master: 1 << 2, interruptOff: 1 << 10 } as const;
const commandWritable =
  commandBit.io | commandBit.memory | commandBit.master | commandBit.interruptOff;
const statusBit = { interrupt: 1 << 3, capabilities: 1 << 4 } as const;
/** Low bits of a base address register. */
const barBit = { io: 1, wide: 4, prefetchable: 8 } as const;
/** Where capabilities are put when nothing else is said. */
const capabilitiesStart = 0x40;

export type PciSpace = "io" | "memory";

/** A window of a function into I/O or memory space, placed by software through a base address register. */
export interface PciBar {
  readonly space: PciSpace;
  /** A power of two, at least 4 (I/O) or 16 (memory). */
  readonly bytes: number;
  /** May lie above 4 GiB: takes two base address registers. */
  readonly wide?: boolean;
  readonly prefetchable?: boolean;
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

/** Device-specific configuration bytes. */
export interface PciRegister {
  readonly offset: number;
  /** One entry per byte. */
  readonly values: readonly number[];
  /** Bits of each byte that software may change. */
  readonly writable: number;
}

export interface PciIdentity {
  readonly bus: number;
  readonly device: number;
  readonly function: number;
  readonly vendorId: number;
  readonly deviceId: number;
  /** Class, subclass and programming interface: 24 bits. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  readonly isMultiFunction?: boolean;
  /** 1..4 for INTA..INTD, 0 for none. */
  readonly interruptPin?: number;
  /** By base address register; undefined where there is none. A wide one is followed by undefined. */
  readonly bars?: readonly (PciBar | undefined)[];
  readonly registers?: readonly PciRegister[];
  /** In the order in which the list has them. */
  readonly capabilities?: readonly PciCapability[];
}

/** A window where software has put it. */
interface PlacedBar {
  readonly bar: PciBar;
  readonly start: number;
  readonly end: number;
}

/** An answer to an address. */
export interface DecodedAddress {
  readonly bar: PciBar;
  readonly offset: number;
}

const nowhere: RequesterPort = {
  read: () => false,
  write: () => false,
  message: () => undefined,
};

/**
 * One function of a PCI device: a type 0 configuration header with a capability list, the windows its base address registers
 * place, and the way out for a device that masters the bus.
 */
export class PciFunction {
  readonly identity: PciIdentity;
  /** Memory and the interrupt bus; refuses everything until software enables bus mastering. */
  readonly port: RequesterPort;
  readonly #bytes = new Uint8Array(configurationBytes);
  readonly #writable = new Uint8Array(configurationBytes);
  readonly #wiring: PciWiring | undefined;
  readonly #capabilities: readonly PciCapability[];
  /** Where each of them begins. */
  readonly #places = new Map<PciCapability, number>();
  /** Windows that are decoded. */
  #placed: readonly PlacedBar[] = [];
  #isMaster = false;
  /** The device asks for its INTx interrupt. */
  #interrupt = false;

  constructor(identity: PciIdentity, wiring?: PciWiring) {
    this.identity = identity;
    this.#wiring = wiring;
    this.#capabilities = identity.capabilities ?? [];
    const way = wiring?.port ?? nowhere;
    this.port = {
      read: (address, into) => this.#isMaster && way.read(address, into),
      write: (address, from) => this.#isMaster && way.write(address, from),
      message: (address, data) => {
        if (this.#isMaster) {
          way.message(address, data);
        }
      },
    };
    this.#linkCapabilities((capability, offset) => {
      const end = offset + 2 + capability.values.length;
      this.#places.set(capability, offset);
      capability.attach(this.#bytes.subarray(offset, end), this.port);
    });
    this.reset();
  }

  reset(): void {
    const { identity } = this;
    this.#bytes.fill(0);
    this.#writable.fill(0);
    this.#place(header.vendor, 2, identity.vendorId, 0);
    this.#place(header.device, 2, identity.deviceId, 0);
    this.#place(header.command, 2, 0, commandWritable);
    this.#place(header.revision, 1, identity.revision ?? 0, 0);
    this.#place(header.classCode, 3, identity.classCode, 0);
    this.#place(header.headerType, 1, identity.isMultiFunction ? 0x80 : 0, 0);
    this.#place(header.subsystemVendor, 2, identity.subsystemVendorId ?? 0, 0);
    this.#place(header.subsystem, 2, identity.subsystemId ?? 0, 0);
    this.#place(header.interruptLine, 1, 0, 0xff);
    this.#place(header.interruptPin, 1, identity.interruptPin ?? 0, 0);
    for (const [n, bar] of this.#bars()) {
      this.#placeBar(header.bars + n * 4, bar);
    }
    for (const { offset, values, writable } of identity.registers ?? []) {
      for (const [n, value] of values.entries()) {
        this.#place(offset + n, 1, value, writable);
      }
    }
    this.#placeCapabilities();
    this.#interrupt = false;
    this.#commandWritten();
  }

  readConfiguration(offset: number, size: number): number {
    for (const [capability, start] of this.#places) {
      capability.reading?.(offset - start);
    }
    return littleEndianAt(this.#bytes, offset, size);
  }

  writeConfiguration(offset: number, size: number, value: number): void {
    for (let n = 0; n < size; n++) {
      const writable = this.#writable[offset + n] ?? 0;
      const kept = (this.#bytes[offset + n] ?? 0) & ~writable;
      this.#bytes[offset + n] = kept | ((value >>> (8 * n)) & writable);
    }
    if (offset < header.barsEnd) {
      this.#commandWritten();
    }
    for (const [capability, start] of this.#places) {
      capability.written(offset - start);
    }
  }

  /** Windows by the number of their first base address register. */
  get bars(): readonly (readonly [index: number, bar: PciBar])[] {
    return [...this.#bars()];
  }

  /** The window that answers at an address, with the offset in it. */
  decode(space: PciSpace, address: number): DecodedAddress | undefined {
    for (const { bar, start, end } of this.#placed) {
      if (address >= start && address < end && bar.space === space) {
        return { bar, offset: address - start };
      }
    }
    return undefined;
  }

  /** The level of the function's INTx interrupt, as far as software lets it out. */
  setInterrupt(high: boolean): void {
    this.#interrupt = high;
    this.#driveInterrupt();
  }

  #driveInterrupt(): void {
    const status = (this.#bytes[header.status] ?? 0) & ~statusBit.interrupt;
    this.#bytes[header.status] = status | (this.#interrupt ? statusBit.interrupt : 0);
    const isOpen = (this.#command() & commandBit.interruptOff) === 0;
    this.#wiring?.interrupt(this.#interrupt && isOpen);
  }

  #command(): number {
    return this.readConfiguration(header.command, 2);
  }

  /** The command register or a base address register may have changed. */
  #commandWritten(): void {
    const command = this.#command();
    this.#isMaster = (command & commandBit.master) !== 0;
    this.#placed = [...this.#bars()].flatMap(([n, bar]) => {
      const enabled = bar.space === "io" ? commandBit.io : commandBit.memory;
      if ((command & enabled) === 0) {
        return [];
      }
      const start = this.#barStart(header.bars + n * 4, bar);
      return [{ bar, start, end: start + bar.bytes }];
    });
    this.#driveInterrupt();
  }

  *#bars(): Generator<readonly [number, PciBar]> {
    for (const [n, bar] of (this.identity.bars ?? []).slice(0, barCount).entries()) {
      if (bar !== undefined) {
        yield [n, bar];
      }
    }
  }

  #barStart(offset: number, bar: PciBar): number {
    // The low bits say what it is; a window is at least as large as they reach.
    const low = this.readConfiguration(offset, 4) & (bar.space === "io" ? ~3 : ~15);
    const high = bar.wide ? this.readConfiguration(offset + 4, 4) : 0;
    return (low >>> 0) + high * 2 ** 32;
  }

  #placeBar(offset: number, bar: PciBar): void {
    const kind =
      (bar.space === "io" ? barBit.io : 0) |
      (bar.wide ? barBit.wide : 0) |
      (bar.prefetchable ? barBit.prefetchable : 0);
    this.#place(offset, 4, kind, ~(bar.bytes - 1) >>> 0);
    if (bar.wide) {
      assert(bar.bytes <= 2 ** 31, "window is larger than 2 GiB");
      this.#place(offset + 4, 4, 0, 0xffff_ffff);
    }
  }

  /** Chains the capabilities, each aligned to four bytes. */
  #linkCapabilities(link: (capability: PciCapability, offset: number, next: number) => void): void {
    let offset = capabilitiesStart;
    for (const [n, capability] of this.#capabilities.entries()) {
      const end = (offset + 2 + capability.values.length + 3) & ~3;
      assert(end <= configurationBytes, "capabilities do not fit into configuration space");
      link(capability, offset, n + 1 < this.#capabilities.length ? end : 0);
      offset = end;
    }
  }

  #placeCapabilities(): void {
    if (this.#capabilities.length > 0) {
      this.#place(header.status, 2, statusBit.capabilities, 0);
      this.#place(header.capabilities, 1, capabilitiesStart, 0);
    }
    this.#linkCapabilities((capability, offset, next) => {
      this.#place(offset, 1, capability.id, 0);
      this.#place(offset + 1, 1, next, 0);
      for (const [n, value] of capability.values.entries()) {
        this.#place(offset + 2 + n, 1, value, capability.writable[n] ?? 0);
      }
      capability.reset();
    });
  }

  #place(offset: number, size: number, value: number, writable: number): void {
    for (let n = 0; n < size; n++) {
      this.#bytes[offset + n] = value >>> (8 * n);
      this.#writable[offset + n] = writable >>> (8 * n);
    }
  }
}
