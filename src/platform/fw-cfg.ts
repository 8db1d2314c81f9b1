import type { DmaMemory, PortDevice } from "./device.ts";

const fwCfgPort = { selector: 0x510, data: 0x511, dmaHigh: 0x514, dmaLow: 0x518 } as const;

/** Keys with a fixed meaning. */
export const FwCfgKey = {
  signature: 0x00,
  interfaceId: 0x01,
  ramSize: 0x03,
  processorCount: 0x05,
  processorsMax: 0x0f,
  fileDirectory: 0x19,
  firstFile: 0x20,
} as const;

/** Bits 15:14 of the selector ask for writing and for the architecture's own keys; neither changes what is read here. */
const keyMask = 0x3fff;
const architectureKeys = 0x8000;

const interfaceId = { traditional: 1, dma: 2 } as const;
const dmaControl = { error: 1, read: 2, skip: 4, select: 8, write: 16 } as const;
const dmaDescriptorBytes = 16;
const directoryEntryBytes = 64;
const fileNameBytes = 56;
/** Most bytes that one DMA operation moves. */
const dmaBytesMax = 16 * 1024 ** 2;

export interface FwCfgOptions {
  readonly ramBytes: number;
  readonly lpCount: number;
  /** Named files, in directory order. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly memory: DmaMemory;
}

/** QEMU's firmware configuration interface, read only: port and DMA access. */
export class FwCfg implements PortDevice {
  readonly ports = [
    { first: fwCfgPort.selector, count: 1, widest: 2 },
    { first: fwCfgPort.data, count: 1, widest: 1 },
    { first: fwCfgPort.dmaHigh, count: 8, widest: 4 },
  ] as const;
  readonly #items: ReadonlyMap<number, Uint8Array>;
  readonly #memory: DmaMemory;
  #key = 0;
  #offset = 0;
  #dmaHigh = 0;

  constructor(options: FwCfgOptions) {
    this.#memory = options.memory;
    this.#items = buildItems(options);
  }

  reset(): void {
    this.#select(0);
    this.#dmaHigh = 0;
  }

  readPort(port: number, size: number): number {
    switch (port) {
      case fwCfgPort.data:
        return this.#next();
      case fwCfgPort.dmaHigh:
        return size === 4 ? textWord("QEMU") : 0;
      case fwCfgPort.dmaLow:
        return size === 4 ? textWord(" CFG") : 0;
      default:
        return 0;
    }
  }

  /** The DMA address register is big-endian; writing its low half starts the operation. */
  writePort(port: number, size: number, value: number): void {
    if (port === fwCfgPort.selector && size === 2) {
      this.#select(value);
    } else if (port === fwCfgPort.dmaHigh && size === 4) {
      this.#dmaHigh = swap32(value);
    } else if (port === fwCfgPort.dmaLow && size === 4) {
      const high = this.#dmaHigh;
      this.#dmaHigh = 0;
      if (high === 0) {
        this.#transfer(swap32(value));
      }
    }
  }

  #select(key: number): void {
    this.#key = key & (keyMask | architectureKeys);
    this.#offset = 0;
  }

  #next(): number {
    const byte = this.#items.get(this.#key)?.[this.#offset] ?? 0;
    this.#offset++;
    return byte;
  }

  /** Carries out the descriptor at `address` and reports in its control word: zero, or the error bit. */
  #transfer(address: number): void {
    const descriptor = new Uint8Array(dmaDescriptorBytes);
    if (!this.#memory.read(address, descriptor)) {
      return;
    }
    const view = new DataView(descriptor.buffer);
    const control = view.getUint32(0);
    if (control & dmaControl.select) {
      this.#select(control >>> 16);
    }
    const done = this.#move(control, view.getUint32(4), view.getUint32(8), view.getUint32(12));
    view.setUint32(0, done ? 0 : dmaControl.error);
    this.#memory.write(address, descriptor.subarray(0, 4));
  }

  #move(control: number, length: number, high: number, low: number): boolean {
    if (control & dmaControl.read) {
      return length <= dmaBytesMax && high === 0 && this.#copyOut(low, length);
    }
    if (control & dmaControl.write) {
      return false;
    }
    if (control & dmaControl.skip) {
      this.#offset += length;
    }
    return true;
  }

  /** Bytes beyond the end of an item read as zero. */
  #copyOut(address: number, length: number): boolean {
    const bytes = new Uint8Array(length);
    bytes.set(
      (this.#items.get(this.#key) ?? new Uint8Array(0)).subarray(
        this.#offset,
        this.#offset + length,
      ),
    );
    this.#offset += length;
    return length === 0 || this.#memory.write(address, bytes);
  }
}

function buildItems(options: FwCfgOptions): ReadonlyMap<number, Uint8Array> {
  const items = new Map<number, Uint8Array>([
    [FwCfgKey.signature, ascii("QEMU")],
    [FwCfgKey.interfaceId, littleEndian(interfaceId.traditional | interfaceId.dma, 4)],
    [FwCfgKey.ramSize, littleEndian(options.ramBytes, 8)],
    [FwCfgKey.processorCount, littleEndian(options.lpCount, 2)],
    [FwCfgKey.processorsMax, littleEndian(options.lpCount, 2)],
    [FwCfgKey.fileDirectory, directory(options.files)],
  ]);
  let key: number = FwCfgKey.firstFile;
  for (const content of options.files.values()) {
    items.set(key++, content);
  }
  return items;
}

/** Count, then per file its size, key and name; numbers are big-endian. */
function directory(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const bytes = new Uint8Array(4 + files.size * directoryEntryBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, files.size);
  let key: number = FwCfgKey.firstFile;
  let offset = 4;
  for (const [name, content] of files) {
    view.setUint32(offset, content.length);
    view.setUint16(offset + 4, key++);
    bytes.set(ascii(name).subarray(0, fileNameBytes - 1), offset + 8);
    offset += directoryEntryBytes;
  }
  return bytes;
}

const ascii = (text: string): Uint8Array =>
  Uint8Array.from(text, (character) => character.charCodeAt(0));

function littleEndian(value: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, n) => Math.floor(value / 2 ** (8 * n)) % 256);
}

function swap32(value: number): number {
  const swapped =
    (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
  return swapped >>> 0;
}

/** Four characters as a port read shows them: the first in the lowest byte. */
function textWord(text: string): number {
  return ascii(text).reduce((value, byte, n) => (value | (byte << (8 * n))) >>> 0, 0);
}
