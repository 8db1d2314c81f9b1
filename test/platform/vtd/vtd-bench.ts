import {
  serverCapabilities,
  type VtdCapabilities,
} from "../../../src/platform/vtd/capabilities.ts";
import type {
  EntryFetch,
  RemappingOutpost,
} from "../../../src/platform/vtd/interrupt-remapping.ts";
import {
  FaultStatusBit,
  GlobalBit,
  VtdRegister,
  vtdAddress,
} from "../../../src/platform/vtd/registers.ts";
import { VtdUnit } from "../../../src/platform/vtd/vtd-unit.ts";
import type { InterruptMessage } from "../../../src/protocol/interrupt-message.ts";

export const ramBytes = 4 * 2 ** 20;

/** Where the tests put things. */
export const place = {
  root: 0x1000,
  context: 0x2000,
  interruptTable: 0x4000,
  queue: 0x6000,
  status: 0x8000,
  descriptor: 0x9000,
  /** Second-stage tables, as many as are wanted. */
  tables: 0x10_0000,
  /** Pages to be mapped. */
  data: 0x20_0000,
} as const;

export const function4 = 0x0020;

/** A record of the fault log. */
export interface FaultRecord {
  readonly reason: number;
  readonly requester: number;
  /** Bits 63:12 of the fault information. */
  readonly information: bigint;
  readonly isRead: boolean;
  readonly addressType: number;
}

interface ContextFields {
  readonly kind?: number;
  readonly width?: number;
  readonly domain?: number;
  readonly table?: number;
  readonly quiet?: boolean;
}

/** A unit with memory of its own, and a fabric that remembers messages. */
export class VtdBench {
  readonly sent: InterruptMessage[] = [];
  readonly memory = new Uint8Array(new SharedArrayBuffer(ramBytes));
  readonly view = new DataView(this.memory.buffer);
  readonly words = new Int32Array(this.memory.buffer);
  readonly unit: VtdUnit;
  #nextTable: number = place.tables;

  constructor(
    capabilities: Partial<VtdCapabilities> = {},
    fetch: EntryFetch = {},
    outposts: readonly RemappingOutpost[] = [],
  ) {
    this.unit = new VtdUnit({
      memory: {
        words: this.words,
        ramBytes,
        read: (address, into) => {
          if (!(address + into.length <= ramBytes)) return false;
          into.set(this.memory.subarray(address, address + into.length));
          return true;
        },
        write: (address, from) => {
          if (!(address + from.length <= ramBytes)) return false;
          this.memory.set(from, address);
          return true;
        },
      },
      fabric: { send: (message) => this.sent.push(message) },
      capabilities: { ...serverCapabilities, ...capabilities },
      ...{ fetch, outposts },
    });
  }

  // ---- Registers

  read(offset: number): number {
    return this.unit.readMmio(vtdAddress + offset, 4);
  }
  write(offset: number, value: number): void {
    this.unit.writeMmio(vtdAddress + offset, 4, value >>> 0);
  }
  readWide(offset: number): bigint {
    return (BigInt(this.read(offset + 4)) << 32n) | BigInt(this.read(offset));
  }
  writeWide(offset: number, value: bigint): void {
    this.write(offset, Number(value & 0xffff_ffffn));
    this.write(offset + 4, Number(value >> 32n));
  }
  /** One more bit of the global command, as software sets it. */
  command(bit: number, set = true): void {
    const kept = this.read(VtdRegister.GlobalStatus) & 0x96ff_ffff;
    this.write(VtdRegister.GlobalCommand, set ? kept | bit : kept & ~bit);
  }

  get status(): number {
    return this.read(VtdRegister.FaultStatus);
  }

  /** The faults that are recorded, the oldest first; clears them. */
  takeFaults(): FaultRecord[] {
    const records: FaultRecord[] = [];
    const count = Number((this.readWide(VtdRegister.Capability) >> 40n) & 0xffn) + 1;
    const first = (this.status >>> 8) & 0xff;
    for (let n = 0; n < count; n++) {
      const at = VtdRegister.FaultRecord + ((first + n) % count) * 16;
      const last = this.read(at + 12);
      if (last >>> 31 === 0) continue;
      records.push({
        reason: last & 0xff,
        requester: this.read(at + 8) & 0xffff,
        information: this.readWide(at),
        isRead: (last & 0x4000_0000) !== 0,
        addressType: (last >>> 28) & 3,
      });
      this.write(at + 12, 0x8000_0000);
    }
    this.write(VtdRegister.FaultStatus, FaultStatusBit.Overflow);
    return records;
  }
  /** The reason of the only fault there is. */
  takeReason(): number | undefined {
    const faults = this.takeFaults();
    return faults.length === 1 ? faults[0]?.reason : undefined;
  }

  // ---- Tables

  store(address: number, value: bigint): void {
    this.view.setBigUint64(address, value, true);
  }
  load(address: number): bigint {
    return this.view.getBigUint64(address, true);
  }
  newTable(): number {
    const table = this.#nextTable;
    this.#nextTable += 0x1000;
    return table;
  }

  /** Root and context entry of a function. @returns the context entry's address */
  setContext(requester: number, fields: ContextFields = {}): number {
    const { kind = 0, width = 1, domain = 1, table = this.newTable(), quiet = false } = fields;
    this.store(place.root + (requester >>> 8) * 16, BigInt(place.context) | 1n);
    const entry = place.context + (requester & 0xff) * 16;
    const flags = 1 | (quiet ? 2 : 0) | (kind << 2);
    this.store(entry, BigInt(table) | BigInt(flags));
    this.store(entry + 8, BigInt(width) | (BigInt(domain) << 8n));
    return entry;
  }

  /** Maps a page, by tables that permit everything above the last. @returns the address of the last entry */
  map(table: number, levels: number, page: bigint, entry: bigint, level = 1): number {
    let at = table;
    for (let each = levels; each > level; each--) {
      const slot = at + Number((page >> BigInt(9 * (each - 1))) & 511n) * 8;
      if (this.load(slot) === 0n) this.store(slot, BigInt(this.newTable()) | 3n);
      at = Number(this.load(slot) & 0xffff_ffff_f000n);
    }
    const slot = at + Number((page >> BigInt(9 * (level - 1))) & 511n) * 8;
    this.store(slot, entry);
    return slot;
  }

  enableTranslation(): void {
    this.writeWide(VtdRegister.RootTable, BigInt(place.root));
    this.command(GlobalBit.RootTable);
    this.command(GlobalBit.Translation);
  }

  /** @param size as in the register: 2^(size+1) entries */
  enableInterrupts(size = 7, extended = false): void {
    const low = place.interruptTable | size | (extended ? 0x800 : 0);
    this.writeWide(VtdRegister.InterruptTable, BigInt(low));
    this.command(GlobalBit.InterruptTable);
    this.command(GlobalBit.InterruptRemapping);
  }
  setInterruptEntry(index: number, low: bigint, high = 0n): void {
    this.store(place.interruptTable + index * 16, low);
    this.store(place.interruptTable + index * 16 + 8, high);
  }

  // ---- Queue

  enableQueue(): void {
    this.writeWide(VtdRegister.QueueAddress, BigInt(place.queue));
    this.write(VtdRegister.QueueTail, 0);
    this.command(GlobalBit.Queue);
  }
  /** Puts descriptors at the tail and moves it. */
  submit(...descriptors: (readonly [low: bigint, high: bigint])[]): void {
    let tail = this.read(VtdRegister.QueueTail);
    for (const [low, high] of descriptors) {
      this.store(place.queue + tail, low);
      this.store(place.queue + tail + 8, high);
      tail = (tail + 16) % 4096;
    }
    this.write(VtdRegister.QueueTail, tail);
  }

  // ---- Requests

  /** Reads a byte by DMA. @returns undefined when it is blocked */
  dmaRead(address: number | bigint, requester = function4): number | undefined {
    const into = new Uint8Array(1);
    return this.unit.port(requester).read(address, into) ? into[0] : undefined;
  }
  dmaWrite(address: number | bigint, value: number, requester = function4): boolean {
    return this.unit.port(requester).write(address, Uint8Array.of(value));
  }
}

/** Descriptors of the invalidation queue. */
export const descriptor = {
  context: (granularity: number, domain = 0, requester = 0, mask = 0): [bigint, bigint] => [
    1n |
      (BigInt(granularity) << 4n) |
      (BigInt(domain) << 16n) |
      (BigInt(requester) << 32n) |
      (BigInt(mask) << 48n),
    0n,
  ],
  iotlb: (granularity: number, domain = 0, address = 0n, mask = 0): [bigint, bigint] => [
    2n | (BigInt(granularity) << 4n) | (BigInt(domain) << 16n),
    address | BigInt(mask),
  ],
  deviceTlb: (requester: number, address = 0n, sized = false): [bigint, bigint] => [
    3n | (BigInt(requester) << 32n),
    address | (sized ? 1n : 0n),
  ],
  interruptEntries: (index?: number, mask = 0): [bigint, bigint] => [
    index === undefined ? 4n : 4n | (1n << 4n) | (BigInt(mask) << 27n) | (BigInt(index) << 32n),
    0n,
  ],
  wait: (address: number, data: number): [bigint, bigint] => [
    5n | (1n << 5n) | (BigInt(data) << 32n),
    BigInt(address),
  ],
  waitInterrupt: (): [bigint, bigint] => [5n | (1n << 4n), 0n],
} as const;
