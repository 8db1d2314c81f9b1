import type { RequesterPort } from "../../requester.ts";
import type { BufferPiece, DescriptorChain } from "./descriptor-chain.ts";
import { memoryFence } from "./memory-fence.ts";

/** Layouts of "Split Virtqueues": the descriptor, and offsets in the driver's (available) and the device's (used) area. */
const descriptorBytes = 16;
const descriptorFlag = { next: 1, write: 2, indirect: 4 } as const;
const area = { flags: 0, index: 2, ring: 4 } as const;
const availableEntryBytes = 2;
const usedEntryBytes = 8;
const noInterrupt = 1;
/** Longest indirect table. */
const indirectMax = 1024;
/** Longest chain: what a length of 32 bits can tell. */
const chainBytesMax = 2 ** 32 - 1;

/** How the queue is laid out. Addresses are guest-physical, or as the VT-d unit translates them. */
export interface QueuePlace {
  size: number;
  descriptors: number;
  /** The driver's area: what is available. */
  driver: number;
  /** The device's area: what is used. */
  device: number;
}

export interface QueueFeatures {
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

/** The driver has made something of the queue that it must not. */
export type Broken = "broken";

interface DescriptorTable {
  readonly address: number;
  readonly count: number;
  readonly isIndirect: boolean;
}

interface Descriptor {
  readonly address: number;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}

/** The device's end of a split virtqueue. */
export class SplitQueue {
  readonly #port: RequesterPort;
  readonly #place: QueuePlace;
  readonly #features: QueueFeatures;
  readonly #bytes = new Uint8Array(descriptorBytes);
  readonly #view = new DataView(this.#bytes.buffer);
  /** Free-running, modulo 2^16: chains taken, and chains given back. */
  #taken = 0;
  #used = 0;

  constructor(port: RequesterPort, place: QueuePlace, features: QueueFeatures) {
    this.#port = port;
    this.#place = { ...place };
    this.#features = features;
  }

  /** Chains that the driver has made available and nobody has taken. */
  available(): number | Broken {
    const { driver, size } = this.#place;
    const index = this.#readWord(driver + area.index);
    if (index === "broken") {
      return "broken";
    }
    const count = (index - this.#taken) & 0xffff;
    return count <= size ? count : "broken";
  }

  /** The next available chain, undefined when there is none. */
  take(): DescriptorChain | Broken | undefined {
    const available = this.available();
    if (available === "broken") {
      return "broken";
    }
    if (available === 0) {
      return undefined;
    }
    const { driver, device, size } = this.#place;
    const slot = this.#taken % size;
    const head = this.#readWord(driver + area.ring + availableEntryBytes * slot);
    if (head === "broken") {
      return "broken";
    }
    const chain = this.#walk(head);
    if (chain === "broken") {
      return "broken";
    }
    this.#taken = (this.#taken + 1) & 0xffff;
    if (this.#features.eventIndex) {
      // Asks to hear of the next chain; who has added one meanwhile is found by the caller's next look.
      if (!this.#writeWord(device + area.ring + usedEntryBytes * size, this.#taken)) {
        return "broken";
      }
      memoryFence();
    }
    return chain;
  }

  /** Gives a chain back. @returns whether the driver wants to hear of it */
  give(head: number, written: number): boolean | Broken {
    const { device, size } = this.#place;
    this.#view.setUint32(0, head, true);
    this.#view.setUint32(4, written, true);
    const entry = device + area.ring + usedEntryBytes * (this.#used % size);
    if (!this.#port.write(entry, this.#bytes.subarray(0, usedEntryBytes))) {
      return "broken";
    }
    const before = this.#used;
    this.#used = (before + 1) & 0xffff;
    if (!this.#writeWord(device + area.index, this.#used)) {
      return "broken";
    }
    memoryFence();
    return this.#wantsInterrupt(before);
  }

  /** "Used Buffer Notification Suppression". */
  #wantsInterrupt(before: number): boolean | Broken {
    const { driver, size } = this.#place;
    if (!this.#features.eventIndex) {
      const flags = this.#readWord(driver + area.flags);
      return flags === "broken" ? "broken" : (flags & noInterrupt) === 0;
    }
    const event = this.#readWord(driver + area.ring + availableEntryBytes * size);
    return event === "broken" ? "broken" : event === before;
  }

  /** Follows a chain from its head: at most as many descriptors as its table has, or it goes in circles. */
  #walk(head: number): DescriptorChain | Broken {
    const readable: BufferPiece[] = [];
    const writable: BufferPiece[] = [];
    let table: DescriptorTable = {
      address: this.#place.descriptors,
      count: this.#place.size,
      isIndirect: false,
    };
    let bytes = 0;
    let index = head;
    for (let steps = 0; steps < table.count; ) {
      const descriptor = this.#readDescriptor(table, index);
      if (descriptor === "broken") {
        return "broken";
      }
      if ((descriptor.flags & descriptorFlag.indirect) !== 0) {
        const inner = this.#indirectTable(table, descriptor);
        if (inner === "broken") {
          return "broken";
        }
        table = inner;
        index = 0;
        steps = 0;
        continue;
      }
      steps += 1;
      bytes += descriptor.length;
      const isWritable = (descriptor.flags & descriptorFlag.write) !== 0;
      const isMisplaced = !isWritable && writable.length > 0;
      if (descriptor.length === 0 || isMisplaced || bytes > chainBytesMax) {
        return "broken";
      }
      (isWritable ? writable : readable).push(descriptor);
      if ((descriptor.flags & descriptorFlag.next) === 0) {
        return { head, readable, writable };
      }
      index = descriptor.next;
    }
    return "broken";
  }

  /** "Indirect Descriptors": a table of its own takes the rest of the chain; it cannot refer to another. */
  #indirectTable(outer: DescriptorTable, descriptor: Descriptor): DescriptorTable | Broken {
    const { address, length, flags } = descriptor;
    const count = length / descriptorBytes;
    const isAllowed = this.#features.indirect && !outer.isIndirect;
    const isWhole = Number.isInteger(count) && count >= 1 && count <= indirectMax;
    if (!isAllowed || !isWhole || (flags & descriptorFlag.next) !== 0) {
      return "broken";
    }
    return { address, count, isIndirect: true };
  }

  #readDescriptor(table: DescriptorTable, index: number): Descriptor | Broken {
    const inTable = index < table.count;
    if (!inTable || !this.#port.read(table.address + descriptorBytes * index, this.#bytes)) {
      return "broken";
    }
    const view = this.#view;
    return {
      address: view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32,
      length: view.getUint32(8, true),
      flags: view.getUint16(12, true),
      next: view.getUint16(14, true),
    };
  }

  #readWord(address: number): number | Broken {
    return this.#port.read(address, this.#bytes.subarray(0, 2))
      ? this.#view.getUint16(0, true)
      : "broken";
  }

  #writeWord(address: number, value: number): boolean {
    this.#view.setUint16(0, value, true);
    return this.#port.write(address, this.#bytes.subarray(0, 2));
  }
}
