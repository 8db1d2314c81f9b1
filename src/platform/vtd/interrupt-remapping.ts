import type { InterruptFabric, TraceSink } from "../../cpu/ports.ts";
import { DeliveryMode, Shorthand } from "../../protocol/interrupt-message.ts";
import {
  claimWholeNotification,
  destinationOf,
  hasReservedBits,
  postRequest,
} from "../../protocol/posted-interrupt-descriptor.ts";
import type { RemappingState } from "../../protocol/shared-remapping.ts";
import { redirected, sendMsi } from "../msi-message.ts";
import { AddressType, type Fault } from "./fault-log.ts";
import { FaultReason } from "./fault-reasons.ts";
import {
  EntryBit,
  entryDeliveryMode,
  entryVector,
  entryWords,
  isEntryReserved,
  isSourceValid,
} from "./interrupt-entry.ts";
import { InterruptEntryCache } from "./interrupt-entry-cache.ts";
import type { TableMemory, VtdMemory } from "./table-memory.ts";

/** How a table entry of 128 bits is fetched. */
export interface EntryFetch {
  /**
   * Given: the entry is fetched in two halves, the lower first, with this between them. An entry that software changes in two
   * steps, or changes at that moment, can then be seen half old and half new, as on a machine that fetches so.
   */
  readonly betweenHalves?: (index: number) => void;
}

/** Where messages are remapped too, away from the unit: nothing may be on its way there while something changes. */
export interface RemappingOutpost {
  close(): void;
  open(state: RemappingState): void;
}

export interface InterruptRemappingOptions {
  readonly memory: Pick<VtdMemory, "words" | "ramBytes">;
  readonly tables: TableMemory;
  readonly faults: { record(fault: Fault): void };
  readonly fabric: InterruptFabric;
  readonly posting: boolean;
  readonly fetch: EntryFetch;
  readonly outposts?: readonly RemappingOutpost[];
  readonly trace?: TraceSink | undefined;
}

/** Bits of a request in the remappable format: the address of a message, or the low half of an I/O APIC's entry. */
const messageBit = { remappable: 1 << 4, subhandleValid: 1 << 3, handleHigh: 1 << 2 } as const;
const messageDataReserved = 0xffff_0000;
const ioapicBit = { indexHigh: 1 << 11, reserved: 0x700, remappableHigh: 1 << 16 } as const;
/** An interrupt's index is reported in bits 63:48 of an address. */
const indexInPage = 2 ** 36;

/** After reset: requests pass as they are. */
const remappingOff: RemappingState = {
  enabled: false,
  compatibilityFormat: false,
  table: 0,
  tableRegister: 0,
};

/** Nobody's requester id. */
export const noRequester = -1;

/** Interrupt remapping and posting: the interrupt remapping table, and the cache of its entries. */
export class InterruptRemapping {
  readonly #cache = new InterruptEntryCache();
  readonly #options: InterruptRemappingOptions;
  readonly #quads: BigInt64Array<ArrayBufferLike>;
  #state: RemappingState = remappingOff;
  /** Of the state: how many entries the table has, and whether destinations are 32 bits wide. */
  #entryCount = 2;
  #wide = false;

  constructor(options: InterruptRemappingOptions) {
    const { words } = options.memory;
    this.#options = options;
    this.#quads = new BigInt64Array(words.buffer, words.byteOffset, words.length >>> 1);
  }

  reset(): void {
    this.#change(() => {
      this.#adopt(remappingOff);
      this.#cache.invalidateAll();
    });
  }

  get state(): RemappingState {
    return this.#state;
  }
  /** What is cached stays. */
  set state(state: RemappingState) {
    const old = this.#state;
    const isSame =
      old.enabled === state.enabled &&
      old.compatibilityFormat === state.compatibilityFormat &&
      old.table === state.table &&
      old.tableRegister === state.tableRegister;
    if (!isSame) {
      this.#change(() => this.#adopt(state));
    }
  }
  #adopt(state: RemappingState): void {
    this.#state = state;
    this.#entryCount = 2 ** ((state.tableRegister & 0xf) + 1);
    this.#wide = (state.tableRegister & 0x800) !== 0;
  }

  invalidateAll(): void {
    this.#change(() => this.#cache.invalidateAll());
  }
  /** The 2^mask entries, naturally aligned, among which `index` is. */
  invalidate(index: number, mask: number): void {
    this.#change(() => this.#cache.invalidate(index, mask));
  }

  #change(act: () => void): void {
    const { outposts = [] } = this.#options;
    for (const outpost of outposts) {
      outpost.close();
    }
    act();
    for (const outpost of outposts) {
      outpost.open(this.#state);
    }
  }

  /** Destinations have 32 bits. */
  get isWide(): boolean {
    return this.#wide;
  }

  /** A message of a function: a write of `data` in the interrupt range. */
  message(requester: number, address: number, data: number): void {
    if (!this.#state.enabled) {
      sendMsi(this.#options.fabric, address, data);
    } else if ((address & messageBit.remappable) === 0) {
      this.#compatible(requester, address, data);
    } else if ((data & messageDataReserved) !== 0) {
      this.#fault(FaultReason.InterruptRequestReserved, requester, 0);
    } else {
      const handle = ((address >>> 5) & 0x7fff) | ((address & messageBit.handleHigh) << 13);
      const hasSubhandle = (address & messageBit.subhandleValid) !== 0;
      this.#remap(requester, noRequester, handle + (hasSubhandle ? data & 0xffff : 0));
    }
  }

  /**
   * An interrupt of an I/O APIC, as the redirection entry has it.
   * @param alias the function whose INTx pin the interrupt is from, which may use its own entries; `noRequester` for none
   * @returns false when the interrupt is not the unit's business: the I/O APIC sends it itself
   */
  ioapicMessage(requester: number, alias: number, low: number, high: number): boolean {
    if (!this.#state.enabled) {
      return false;
    }
    if ((high & ioapicBit.remappableHigh) === 0) {
      if (this.#state.compatibilityFormat && !this.#wide) {
        return false;
      }
      this.#fault(FaultReason.CompatibilityBlocked, requester, 0);
    } else if ((low & ioapicBit.reserved) !== 0) {
      this.#fault(FaultReason.InterruptRequestReserved, requester, 0);
    } else {
      const index = (high >>> 17) | ((low & ioapicBit.indexHigh) << 4);
      this.#remap(requester, alias, index);
    }
    return true;
  }

  #compatible(requester: number, address: number, data: number): void {
    if (this.#state.compatibilityFormat && !this.#wide) {
      sendMsi(this.#options.fabric, address, data);
    } else {
      this.#fault(FaultReason.CompatibilityBlocked, requester, 0);
    }
  }

  /** "Interrupt Remapping": guards in the order of the hardware, then the interrupt. */
  #remap(requester: number, alias: number, index: number): void {
    if (index >= this.#entryCount) {
      this.#fault(FaultReason.InterruptIndex, requester, index);
      return;
    }
    const cache = this.#cache;
    const { words } = cache;
    const at = cache.placeOf(index);
    if (!cache.has(index)) {
      const reason = this.#load(index, at);
      if (reason !== 0) {
        this.#entryFault(reason, requester, index, words[at] ?? 0);
        return;
      }
      cache.keep(index);
    }
    const word0 = words[at] ?? 0;
    const word2 = words[at + 2] ?? 0;
    const isValid =
      isSourceValid(word2, requester) || (alias !== noRequester && isSourceValid(word2, alias));
    if (!isValid) {
      this.#entryFault(FaultReason.SourceNotValid, requester, index, word0);
    } else if ((word0 & EntryBit.Posted) !== 0) {
      this.#post(requester, index, at);
    } else {
      this.#send(word0, words[at + 1] ?? 0);
    }
  }

  /** Fetches an entry to its place in the cache. @returns 0, or why it cannot be used */
  #load(index: number, at: number): FaultReason | 0 {
    const { posting } = this.#options;
    const { words } = this.#cache;
    this.#cache.drop(index);
    words.fill(0, at, at + entryWords);
    if (!this.#fetch(index, at)) {
      return FaultReason.InterruptEntryAccess;
    }
    if (((words[at] ?? 0) & EntryBit.Present) === 0) {
      return FaultReason.InterruptEntryNotPresent;
    }
    return isEntryReserved(words, at, { wide: this.#wide, posting })
      ? FaultReason.InterruptEntryReserved
      : 0;
  }

  #fetch(index: number, at: number): boolean {
    const { tables, fetch } = this.#options;
    const { words } = this.#cache;
    const address = this.#state.table * 4096 + index * entryWords * 4;
    const { betweenHalves } = fetch;
    if (betweenHalves === undefined) {
      return tables.octoword(address, words, at);
    }
    if (!tables.quadword(address)) {
      return false;
    }
    words[at] = tables.low;
    words[at + 1] = tables.high;
    betweenHalves(index);
    tables.quadword(address + 8);
    words[at + 2] = tables.low;
    words[at + 3] = tables.high;
    return true;
  }

  #send(word0: number, word1: number): void {
    const logical = (word0 & EntryBit.Logical) !== 0;
    const hint = (word0 & EntryBit.RedirectionHint) !== 0;
    this.#options.fabric.send({
      vector: entryVector(word0),
      deliveryMode: redirected(entryDeliveryMode(word0), logical, hint),
      logical,
      level: (word0 & EntryBit.Level) !== 0,
      assert: true,
      shorthand: Shorthand.None,
      destination: destinationOf(word1, this.#wide),
      wide: this.#wide,
      source: -1,
    });
  }

  /** "Interrupt Posting": the request is recorded in the descriptor, and the processor told unless it has been or is not to be. */
  #post(requester: number, index: number, at: number): void {
    const { memory, fabric, trace } = this.#options;
    const entry = this.#cache.words;
    const word0 = entry[at] ?? 0;
    const address = ((entry[at + 1] ?? 0) >>> 0) + ((entry[at + 3] ?? 0) >>> 0) * 2 ** 32;
    if (!(address + 64 <= memory.ramBytes)) {
      this.#entryFault(FaultReason.DescriptorAccess, requester, index, word0);
      return;
    }
    const { words } = memory;
    const descriptor = address / 4;
    if (hasReservedBits(words, descriptor)) {
      this.#entryFault(FaultReason.DescriptorReserved, requester, index, word0);
      return;
    }
    const vector = entryVector(word0);
    const urgent = (word0 & EntryBit.Urgent) !== 0;
    trace?.("interrupt-posting", { requester, index, descriptor: address, vector, urgent });
    postRequest(words, descriptor, vector);
    const owed = claimWholeNotification(words, this.#quads, descriptor, urgent);
    if (owed !== undefined) {
      fabric.send({
        vector: owed.vector,
        deliveryMode: DeliveryMode.Fixed,
        logical: false,
        level: false,
        assert: true,
        shorthand: Shorthand.None,
        destination: destinationOf(owed.destination, this.#wide),
        wide: this.#wide,
        source: -1,
      });
    }
  }

  /** A fault that the entry may ask to be kept quiet. */
  #entryFault(reason: FaultReason, requester: number, index: number, word0: number): void {
    if ((word0 & EntryBit.Quiet) === 0) {
      this.#fault(reason, requester, index);
    }
  }

  #fault(reason: FaultReason, requester: number, index: number): void {
    const page = index * indexInPage;
    const addressType = AddressType.Untranslated;
    this.#options.faults.record({ reason, requester, page, isRead: false, addressType });
  }
}
