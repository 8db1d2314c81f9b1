import type { TraceSink } from "../../cpu/ports.ts";
import { handleMaskMax } from "./capabilities.ts";
import { DeviceInvalidation, type DeviceTlbs, invalidatedRange } from "./device-tlbs.ts";
import type { DmaRemapping } from "./dma-remapping.ts";
import type { EventInterrupt } from "./event-interrupt.ts";
import type { FaultLog } from "./fault-log.ts";
import type { InterruptRemapping } from "./interrupt-remapping.ts";
import { invalidateContexts, invalidateIotlb } from "./invalidation.ts";
import { FaultStatusBit, type RegisterFile, VtdRegister } from "./registers.ts";
import type { TableMemory, VtdMemory } from "./table-memory.ts";

const descriptorBytes = 16;
/** Descriptors in a queue of the smallest size: one page. */
const smallestQueue = 256;

export const DescriptorType = {
  ContextCache: 1,
  Iotlb: 2,
  DeviceTlb: 3,
  InterruptEntryCache: 4,
  Wait: 5,
} as const;

/** Words of a descriptor: bits that must be 0, by type. */
const reservedBits: Readonly<Record<number, readonly [number, number, number, number]>> = {
  [DescriptorType.ContextCache]: [0x0000_ffc0, 0xfffc_0000, 0xffff_ffff, 0xffff_ffff],
  [DescriptorType.Iotlb]: [0x0000_ff00, 0xffff_ffff, 0x0000_0f80, 0],
  [DescriptorType.DeviceTlb]: [0xffe0_fff0, 0xffff_0000, 0x0000_0ffe, 0],
  [DescriptorType.InterruptEntryCache]: [0x07ff_ffe0, 0xffff_0000, 0xffff_ffff, 0xffff_ffff],
  [DescriptorType.Wait]: [0xffff_ff80, 0, 0x0000_0003, 0],
};
const waitBit = { interrupt: 1 << 4, status: 1 << 5 } as const;

/** Why the queue stopped, as the error record tells. */
const QueueError = { Tail: 1, Fetch: 2, Type: 3, Reserved: 4 } as const;
type QueueError = (typeof QueueError)[keyof typeof QueueError];

const stopping =
  FaultStatusBit.QueueError | FaultStatusBit.TimeOut | FaultStatusBit.CompletionError;
/** IWC: a wait descriptor that asks for an interrupt has been reached. */
const waitComplete = 1;

export interface InvalidationQueueOptions {
  readonly registers: RegisterFile;
  readonly memory: VtdMemory;
  readonly tables: TableMemory;
  readonly faults: FaultLog;
  readonly completion: EventInterrupt;
  readonly remapping: DmaRemapping;
  readonly interrupts: InterruptRemapping;
  readonly deviceTlbs: DeviceTlbs;
  /** Descriptors of the device-TLB kind are known. */
  readonly deviceTlb: boolean;
  readonly trace?: TraceSink | undefined;
}

/**
 * "Queued Invalidation Interface": a ring of descriptors, done in order when software moves the tail. The head advances as a
 * descriptor is fetched. What a descriptor asks for has been done before the next is fetched, so a wait descriptor finds all before
 * it complete, and requests that used what was invalidated have long ended.
 *
 * ```
 *   running ──bad descriptor, tail, or fetch──▶ stopped by IQE (head stays at the descriptor)
 *      │  ▲──────────── software clears it ───────┘
 *      └──a device-TLB invalidation goes wrong──▶ stopped by ITE or ICE (head is past the descriptor)
 * ```
 */
export class InvalidationQueue {
  #enabled = false;
  #base = 0;
  #bytes = 0;
  readonly #options: InvalidationQueueOptions;
  readonly #descriptor = new Int32Array(4);

  constructor(options: InvalidationQueueOptions) {
    this.#options = options;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  reset(): void {
    this.#enabled = false;
  }

  /** The queue address counts from here on. */
  enable(): void {
    const { registers } = this.#options;
    this.#enabled = true;
    this.#base = registers.page(VtdRegister.QueueAddress) * 4096;
    const size = registers.get(VtdRegister.QueueAddress) & 7;
    this.#bytes = (smallestQueue * descriptorBytes) << size;
    this.run();
  }

  disable(): void {
    this.#enabled = false;
    this.#options.registers.set(VtdRegister.QueueHead, 0);
  }

  /** Does what lies between head and tail, unless an error stops it. */
  run(): void {
    const { registers, faults } = this.#options;
    while (this.#enabled && (faults.status & stopping) === 0) {
      const head = registers.get(VtdRegister.QueueHead);
      const tail = registers.get(VtdRegister.QueueTail);
      if (head === tail) {
        return;
      }
      if (tail >= this.#bytes) {
        this.#fail(QueueError.Tail);
        return;
      }
      const error = this.#step(head);
      if (error !== 0) {
        this.#fail(error);
        return;
      }
    }
  }

  /** Software's write to the completion status: a one clears. */
  writeCompletionStatus(value: number): void {
    const { registers, completion } = this.#options;
    if ((value & waitComplete) !== 0) {
      registers.set(VtdRegister.CompletionStatus, 0);
      completion.settle();
    }
  }

  /** Fetches a descriptor and does what it says. @returns 0, or why it is none */
  #step(head: number): QueueError | 0 {
    const { registers, tables } = this.#options;
    const words = this.#descriptor;
    if (!tables.octoword(this.#base + head, words, 0)) {
      return QueueError.Fetch;
    }
    const error = this.#check(words);
    if (error === 0) {
      registers.set(VtdRegister.QueueHead, (head + descriptorBytes) % this.#bytes);
      this.#perform(words);
    }
    return error;
  }

  #check(words: Int32Array): QueueError | 0 {
    const type = (words[0] ?? 0) & 0xf;
    const reserved = reservedBits[type];
    if (reserved === undefined || (type === DescriptorType.DeviceTlb && !this.#options.deviceTlb)) {
      return QueueError.Type;
    }
    for (let n = 0; n < 4; n++) {
      if (((words[n] ?? 0) & (reserved[n] ?? 0)) !== 0) {
        return QueueError.Reserved;
      }
    }
    const isGranular = type === DescriptorType.ContextCache || type === DescriptorType.Iotlb;
    const granularity = ((words[0] ?? 0) >>> 4) & 3;
    const handleMask = (words[0] ?? 0) >>> 27;
    const isUndefined =
      (isGranular && granularity === 0) ||
      (type === DescriptorType.InterruptEntryCache && handleMask > handleMaskMax);
    return isUndefined ? QueueError.Reserved : 0;
  }

  #perform(words: Int32Array): void {
    const { remapping, trace } = this.#options;
    const [word0 = 0, word1 = 0, word2 = 0, word3 = 0] = words;
    const page = (word2 >>> 12) + (word3 >>> 0) * 2 ** 20;
    const granularity = (word0 >>> 4) & 3;
    const domain = word0 >>> 16;
    trace?.("invalidation", { type: word0 & 0xf });
    switch (word0 & 0xf) {
      case DescriptorType.ContextCache: {
        const requester = word1 & 0xffff;
        const functionMask = (word1 >>> 16) & 3;
        const what = { granularity, domain, requester, functionMask };
        invalidateContexts(remapping.contexts, what);
        break;
      }
      case DescriptorType.Iotlb:
        invalidateIotlb(remapping.iotlb, { granularity, domain, page, mask: word2 & 0x3f });
        break;
      case DescriptorType.DeviceTlb:
        this.#invalidateDeviceTlb(word1 & 0xffff, page, (word2 & 1) !== 0);
        break;
      case DescriptorType.InterruptEntryCache:
        this.#invalidateInterruptEntries(word0, word1);
        break;
      default:
        this.#wait(word0, word1, word2, word3);
    }
  }

  #invalidateInterruptEntries(word0: number, word1: number): void {
    const { interrupts } = this.#options;
    if ((word0 & (1 << 4)) === 0) {
      interrupts.invalidateAll();
    } else {
      interrupts.invalidate(word1 & 0xffff, word0 >>> 27);
    }
  }

  /** Nobody there, or no TLB: no answer comes. */
  #invalidateDeviceTlb(requester: number, page: number, sized: boolean): void {
    const { deviceTlbs, registers, faults } = this.#options;
    const range = invalidatedRange(page, sized);
    const outcome =
      deviceTlbs.get(requester)?.invalidate(range.page, range.count) ?? DeviceInvalidation.TimeOut;
    if (outcome === DeviceInvalidation.Done) {
      return;
    }
    const isTimeOut = outcome === DeviceInvalidation.TimeOut;
    const record = registers.get(VtdRegister.QueueErrorRecord + 4);
    registers.set(
      VtdRegister.QueueErrorRecord + 4,
      isTimeOut ? (record & 0xffff_0000) | requester : (record & 0xffff) | (requester << 16),
    );
    faults.raise(isTimeOut ? FaultStatusBit.TimeOut : FaultStatusBit.CompletionError);
  }

  /** A status address that is not RAM takes nothing, as a write to nowhere does. */
  #wait(word0: number, data: number, word2: number, word3: number): void {
    const { memory, registers, completion, trace } = this.#options;
    if ((word0 & waitBit.status) !== 0) {
      const address = (word2 >>> 0) + (word3 >>> 0) * 2 ** 32;
      const bytes = new Uint8Array(Uint32Array.of(data).buffer);
      trace?.("invalidation-status", { address, data: data >>> 0 });
      memory.write(address, bytes);
    }
    if ((word0 & waitBit.interrupt) !== 0 && registers.get(VtdRegister.CompletionStatus) === 0) {
      registers.set(VtdRegister.CompletionStatus, waitComplete);
      completion.raise();
    }
  }

  #fail(error: QueueError): void {
    const { registers, faults } = this.#options;
    const record = registers.get(VtdRegister.QueueErrorRecord) & ~0xf;
    registers.set(VtdRegister.QueueErrorRecord, record | error);
    faults.raise(FaultStatusBit.QueueError);
  }
}
