/** Offsets in the configuration header. */
const header = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  revision: 0x08,
  classCode: 0x09,
  headerType: 0x0e,
  bars: 0x10,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

const configurationBytes = 256;
const barCount = 6;
const commandBit = { io: 1, memory: 2 } as const;
/** I/O and memory decoding, bus mastering, interrupt disable. */
const commandWritable = 0x0407;

export type PciSpace = "io" | "memory";

/** A window of a function into I/O or memory space, placed by software through a base address register. */
export interface PciBar {
  readonly space: PciSpace;
  /** A power of two, at least 4 (I/O) or 16 (memory). */
  readonly bytes: number;
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
  readonly isMultiFunction?: boolean;
  /** 1..4 for INTA..INTD, 0 for none. */
  readonly interruptPin?: number;
  readonly bars?: readonly PciBar[];
  readonly registers?: readonly PciRegister[];
}

/** One function of a PCI device: a type 0 configuration header, and the windows its base address registers place. */
export class PciFunction {
  readonly identity: PciIdentity;
  readonly #bytes = new Uint8Array(configurationBytes);
  readonly #writable = new Uint8Array(configurationBytes);

  constructor(identity: PciIdentity) {
    this.identity = identity;
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
    this.#place(header.interruptLine, 1, 0, 0xff);
    this.#place(header.interruptPin, 1, identity.interruptPin ?? 0, 0);
    for (const [n, bar] of (identity.bars ?? []).slice(0, barCount).entries()) {
      this.#place(header.bars + n * 4, 4, bar.space === "io" ? 1 : 0, ~(bar.bytes - 1) >>> 0);
    }
    for (const { offset, values, writable } of identity.registers ?? []) {
      for (const [n, value] of values.entries()) {
        this.#place(offset + n, 1, value, writable);
      }
    }
  }

  readConfiguration(offset: number, size: number): number {
    let value = 0;
    for (let n = 0; n < size; n++) {
      value |= (this.#bytes[offset + n] ?? 0) << (8 * n);
    }
    return value >>> 0;
  }

  writeConfiguration(offset: number, size: number, value: number): void {
    for (let n = 0; n < size; n++) {
      const writable = this.#writable[offset + n] ?? 0;
      const kept = (this.#bytes[offset + n] ?? 0) & ~writable;
      this.#bytes[offset + n] = kept | ((value >>> (8 * n)) & writable);
    }
  }

  /** The window that answers at an address, with the offset in it. */
  decode(space: PciSpace, address: number): { bar: PciBar; offset: number } | undefined {
    const enabled = space === "io" ? commandBit.io : commandBit.memory;
    if ((this.readConfiguration(header.command, 2) & enabled) === 0) {
      return undefined;
    }
    for (const [n, bar] of (this.identity.bars ?? []).entries()) {
      // The low bits say which space; a window is at least as large as they reach.
      const start = this.readConfiguration(header.bars + n * 4, 4) - (space === "io" ? 1 : 0);
      if (bar.space === space && address >= start && address < start + bar.bytes) {
        return { bar, offset: address - start };
      }
    }
    return undefined;
  }

  #place(offset: number, size: number, value: number, writable: number): void {
    for (let n = 0; n < size; n++) {
      this.#bytes[offset + n] = value >>> (8 * n);
      this.#writable[offset + n] = writable >>> (8 * n);
    }
  }
}
