import { Heap } from "../../base/heap.ts";
import type { Clock } from "../../cpu/ports.ts";
import type { TimedDevice } from "../device.ts";
import type { PciDevice } from "../pci-device.ts";
import { PciFunction } from "../pci-function.ts";
import { MsixCapability, msixVectorsMax } from "../pci-msix.ts";
import type { PciSlot } from "../pci-slot.ts";
import { registerWindow } from "../register-window.ts";
import { queueControl, queueRegister, StormQueue } from "./storm-queue.ts";

/** Offsets in the memory window. */
const register = {
  identification: 0x00,
  queues: 0x04,
  entries: 0x08,
  running: 0x0c,
  control: 0x10,
  total: 0x14,
  totalHigh: 0x18,
} as const;
const queuesStart = 0x1000;
const queueStride = 0x40;
/** A counter per MSI-X entry, 32 bits each. */
const countersStart = 0x8000;
const windowBytes = 0x1_0000;

/** The letters "STRM". */
const identificationValue = 0x4d52_5453;
const deviceControl = { startAll: 1, stopAll: 2 } as const;
/** A record in guest memory: messages so far for the entry, and clock value; 64 bits each. */
const recordBytes = 16;
/** Messages of one poll: whoever drives the device has others to serve. */
const messagesPerPoll = 64;

export const stormQueuesMax = 256;
export const stormEntriesMax = msixVectorsMax;

export interface StormOptions {
  /** 1 to `stormQueuesMax`. */
  readonly queues: number;
  /** MSI-X entries, 1 to `stormEntriesMax`. */
  readonly entries: number;
  readonly clock: Clock;
}

/**
 * A device that does nothing but interrupt: queues that send MSI-X messages at their rates. What it has sent it counts, and
 * before each message it can write a record to memory, so that nothing of what arrives must be guessed.
 */
export class Storm implements PciDevice, TimedDevice {
  readonly function: PciFunction;
  readonly timed: TimedDevice = this;
  readonly #clock: Clock;
  readonly #msix: MsixCapability;
  readonly #queues: readonly StormQueue[];
  /** Queues that run, by when their next message is due. */
  readonly #running = new Heap<StormQueue>((queue) => queue.due);
  readonly #counters: Uint32Array;
  readonly #record = new Uint8Array(recordBytes);
  readonly #recordView = new DataView(this.#record.buffer);
  #total = 0;

  constructor(slot: PciSlot, { queues, entries, clock }: StormOptions) {
    const { bus, device, function: fn } = slot;
    this.#clock = clock;
    this.#queues = Array.from({ length: queues }, (_, index) => new StormQueue(index));
    this.#counters = new Uint32Array(entries);
    this.#msix = new MsixCapability({ vectors: entries, barIndex: 1 });
    this.function = new PciFunction(
      {
        ...{ bus, device, function: fn },
        vendorId: 0x1234,
        deviceId: 0x5702,
        classCode: 0x00_ff00,
        revision: 1,
        capabilities: [this.#msix],
        bars: [
          registerWindow(windowBytes, {
            read: (offset) => this.#read(offset),
            write: (offset, value) => this.#write(offset, value),
          }),
          this.#msix.bar,
        ],
      },
      slot,
    );
  }

  reset(): void {
    for (const queue of this.#queues) {
      this.#running.remove(queue);
      queue.reset();
    }
    this.#counters.fill(0);
    this.#total = 0;
  }

  deadline(): number | undefined {
    return this.#running.size === 0 ? undefined : this.#running.least;
  }

  /** Sends what is due, at most so much that the next poll is not late. */
  poll(now: number): void {
    for (let n = 0; n < messagesPerPoll && this.#running.least <= now; n++) {
      const queue = this.#running.take();
      if (queue === undefined) {
        return;
      }
      this.#send(queue);
      queue.step();
      if (queue.isRunning) {
        this.#running.add(queue);
      }
    }
  }

  #send(queue: StormQueue): void {
    const place = queue.nextPlace();
    const entry = queue.entryOf(place);
    const counter = this.#counters[entry];
    if (counter === undefined || !this.#msix.isEnabled) {
      queue.countDropped();
      return;
    }
    this.#counters[entry] = counter + 1;
    this.#total += 1;
    queue.countSent();
    const { record } = queue;
    if (record !== 0) {
      this.#writeRecord(queue, record, place, counter + 1);
    }
    this.#msix.signal(entry);
  }

  #writeRecord(queue: StormQueue, base: number | bigint, place: number, counter: number): void {
    const now = this.#clock.now();
    this.#recordView.setUint32(0, counter, true);
    this.#recordView.setUint32(8, now, true);
    this.#recordView.setUint32(12, Math.floor(now / 2 ** 32), true);
    const offset = place * recordBytes;
    const address = typeof base === "bigint" ? base + BigInt(offset) : base + offset;
    if (!this.function.port.write(address, this.#record)) {
      queue.countBlocked();
    }
  }

  #read(offset: number): number {
    if (offset >= countersStart) {
      return this.#counters[(offset - countersStart) / 4] ?? 0;
    }
    if (offset >= queuesStart) {
      return this.#queueAt(offset)?.read(offset % queueStride) ?? 0;
    }
    switch (offset) {
      case register.identification:
        return identificationValue;
      case register.queues:
        return this.#queues.length;
      case register.entries:
        return this.#counters.length;
      case register.running:
        return this.#running.size;
      case register.total:
        return this.#total >>> 0;
      case register.totalHigh:
        return Math.floor(this.#total / 2 ** 32);
      default:
        return 0;
    }
  }

  #write(offset: number, value: number): void {
    if (offset >= countersStart) {
      const index = (offset - countersStart) / 4;
      if (index < this.#counters.length) {
        this.#counters[index] = 0;
      }
    } else if (offset >= queuesStart) {
      const queue = this.#queueAt(offset);
      if (queue !== undefined) {
        this.#writeQueue(queue, offset % queueStride, value);
      }
    } else if (offset === register.control) {
      this.#controlAll(value);
    } else if (offset === register.total) {
      this.#total = 0;
    }
  }

  #writeQueue(queue: StormQueue, which: number, value: number): void {
    if (which !== queueRegister.control) {
      queue.write(which, value);
      return;
    }
    const wasRunning = queue.isRunning;
    queue.write(which, value);
    if (queue.isRunning && !wasRunning) {
      queue.start(this.#clock.now());
      this.#running.add(queue);
    } else if (!queue.isRunning) {
      this.#running.remove(queue);
    }
  }

  #controlAll(value: number): void {
    for (const queue of this.#queues) {
      const control = queue.read(queueRegister.control);
      if ((value & deviceControl.stopAll) !== 0) {
        this.#writeQueue(queue, queueRegister.control, control & ~queueControl.run);
      } else if ((value & deviceControl.startAll) !== 0) {
        this.#writeQueue(queue, queueRegister.control, control | queueControl.run);
      }
    }
  }

  #queueAt(offset: number): StormQueue | undefined {
    return this.#queues[Math.floor((offset - queuesStart) / queueStride)];
  }
}
