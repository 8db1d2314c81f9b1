import type { Clock } from "../../cpu/ports.ts";
import type { TimedDevice } from "../device.ts";
import type { PciDevice } from "../pci-device.ts";
import { PciFunction } from "../pci-function.ts";
import { MsixCapability } from "../pci-msix.ts";
import type { PciSlot } from "../pci-slot.ts";
import { registerWindow } from "../register-window.ts";
import {
  type DmaDescriptor,
  DmaError,
  descriptorBytes,
  descriptorFlag,
  descriptorOffset,
  isGoodDescriptor,
  parseDescriptor,
  statusDone,
} from "./dma-descriptor.ts";
import { DmaTransfer } from "./dma-transfer.ts";

/** Offsets in the memory window. */
const register = {
  identification: 0x00,
  control: 0x04,
  status: 0x08,
  ring: 0x10,
  ringHigh: 0x14,
  ringSize: 0x18,
  head: 0x1c,
  tail: 0x20,
  interruptStatus: 0x24,
  interruptEnable: 0x28,
  latency: 0x2c,
  completed: 0x30,
  failed: 0x34,
  bytes: 0x38,
  bytesHigh: 0x3c,
} as const;
const windowBytes = 4096;

/** The letters "DMAE". */
const identificationValue = 0x4541_4d44;
const control = { enable: 1, reset: 2 } as const;
const statusBit = { busy: 1, halted: 2 } as const;
const errorShift = 8;
/** Causes of interrupts, and MSI-X entries by cause. */
const cause = { completion: 1, error: 2 } as const;
const entry = { completion: 0, error: 1 } as const;
const ringSizeMax = 4096;
/** Cycles from the doorbell to the first fetch, and from one descriptor to the next, after reset. */
const latencyAtReset = 1000;
const pageBytes = 4096;
/** Pieces of one poll: whoever drives the device has others to serve. */
const piecesPerPoll = 16;

/**
 * A scatter-gather DMA engine: it works off a ring of descriptors in memory, from its head up to the tail that software writes,
 * and leaves in each what has become of it.
 */
export class DmaEngine implements PciDevice, TimedDevice {
  readonly function: PciFunction;
  readonly timed: TimedDevice = this;
  readonly #clock: Clock;
  readonly #msix = new MsixCapability({ vectors: 2, barIndex: 1 });
  readonly #buffer = new Uint8Array(pageBytes);
  readonly #descriptor = new Uint8Array(descriptorBytes);
  readonly #descriptorView = new DataView(this.#descriptor.buffer);
  #isEnabled = false;
  /** Why the engine has stopped by itself. */
  #haltedBy: DmaError = DmaError.None;
  #ring = 0;
  #ringHigh = 0;
  #ringSize = 0;
  #head = 0;
  #tail = 0;
  #interruptStatus = 0;
  #interruptEnable = 0;
  #latency = latencyAtReset;
  #completed = 0;
  #failed = 0;
  #bytes = 0;
  /** When work goes on; undefined: there is none. */
  #due: number | undefined;
  #transfer: DmaTransfer | undefined;
  /** A descriptor has failed whose transfer goes on in the next. */
  #abandons = false;

  constructor(slot: PciSlot, clock: Clock) {
    const { bus, device, function: fn } = slot;
    this.#clock = clock;
    this.function = new PciFunction(
      {
        ...{ bus, device, function: fn },
        vendorId: 0x1234,
        deviceId: 0x5701,
        classCode: 0x08_8000,
        revision: 1,
        interruptPin: 1,
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
    this.#isEnabled = false;
    this.#haltedBy = DmaError.None;
    this.#ring = 0;
    this.#ringHigh = 0;
    this.#ringSize = 0;
    this.#head = 0;
    this.#tail = 0;
    this.#interruptStatus = 0;
    this.#interruptEnable = 0;
    this.#latency = latencyAtReset;
    this.#completed = 0;
    this.#failed = 0;
    this.#bytes = 0;
    this.#due = undefined;
    this.#transfer = undefined;
    this.#abandons = false;
    this.#driveLine();
  }

  deadline(): number | undefined {
    return this.#due;
  }

  /** Carries out what is due, at most so much that the next poll is not late. */
  poll(now: number): void {
    for (let n = 0; n < piecesPerPoll && this.#due !== undefined && this.#due <= now; n++) {
      this.#step(now);
    }
  }

  /** Fetches the next descriptor, or moves the next piece of the one at hand. */
  #step(now: number): void {
    if (this.#transfer === undefined) {
      this.#fetch(now);
      return;
    }
    this.#transfer.step();
    if (this.#transfer.isFinished) {
      const { descriptor, error, result, bytesDone } = this.#transfer;
      this.#transfer = undefined;
      this.#bytes += bytesDone;
      this.#finish(descriptor, error, result, now);
    }
  }

  #fetch(now: number): void {
    if (!this.function.port.read(this.#address(0), this.#descriptor)) {
      this.#halt(DmaError.FetchBlocked);
      return;
    }
    const descriptor = parseDescriptor(this.#descriptorView);
    if (this.#abandons) {
      this.#finish(descriptor, DmaError.Abandoned, 0, now);
    } else if (!isGoodDescriptor(descriptor)) {
      this.#finish(descriptor, DmaError.BadDescriptor, 0, now);
    } else {
      this.#transfer = new DmaTransfer(descriptor, this.function.port, this.#buffer);
    }
  }

  /** Writes back what has become of the descriptor, moves the head and tells software. */
  #finish(descriptor: DmaDescriptor, error: DmaError, result: number, now: number): void {
    const failed = error !== DmaError.None;
    // The status comes last in memory as well: who sees it sees the result.
    this.#descriptorView.setUint32(descriptorOffset.result, result, true);
    this.#descriptorView.setUint32(descriptorOffset.status, statusDone | error, true);
    const { status, result: resultAt } = descriptorOffset;
    const { port } = this.function;
    const written =
      port.write(this.#address(resultAt), this.#descriptor.subarray(resultAt, resultAt + 4)) &&
      port.write(this.#address(status), this.#descriptor.subarray(status, status + 4));
    if (!written) {
      this.#halt(DmaError.WriteBackBlocked);
      return;
    }
    this.#abandons = failed && (descriptor.flags & descriptorFlag.more) !== 0;
    this.#head = (this.#head + 1) % this.#ringSize;
    this.#due = this.#head === this.#tail ? undefined : now + this.#latency;
    if (failed) {
      this.#failed = (this.#failed + 1) >>> 0;
      this.#raise(cause.error, entry.error);
    } else {
      this.#completed = (this.#completed + 1) >>> 0;
    }
    if ((descriptor.flags & descriptorFlag.interrupt) !== 0) {
      this.#raise(cause.completion, entry.completion);
    }
  }

  /** The ring cannot be reached: nothing goes on until software enables the engine again. */
  #halt(error: DmaError): void {
    this.#haltedBy = error;
    this.#isEnabled = false;
    this.#due = undefined;
    this.#transfer = undefined;
    this.#raise(cause.error, entry.error);
  }

  /** Of a byte in the descriptor at the head. */
  #address(offset: number): bigint {
    const ring = (BigInt(this.#ringHigh) << 32n) | BigInt(this.#ring);
    return BigInt.asUintN(64, ring + BigInt(this.#head * descriptorBytes + offset));
  }

  #read(offset: number): number {
    switch (offset) {
      case register.identification:
        return identificationValue;
      case register.control:
        return this.#isEnabled ? control.enable : 0;
      case register.status:
        return this.#status();
      case register.ring:
        return this.#ring;
      case register.ringHigh:
        return this.#ringHigh;
      case register.ringSize:
        return this.#ringSize;
      case register.head:
        return this.#head;
      case register.tail:
        return this.#tail;
      case register.interruptStatus:
        return this.#interruptStatus;
      case register.interruptEnable:
        return this.#interruptEnable;
      case register.latency:
        return this.#latency;
      case register.completed:
        return this.#completed;
      case register.failed:
        return this.#failed;
      case register.bytes:
        return this.#bytes >>> 0;
      case register.bytesHigh:
        return Math.floor(this.#bytes / 2 ** 32);
      default:
        return 0;
    }
  }

  #status(): number {
    const halted = this.#haltedBy === DmaError.None ? 0 : statusBit.halted;
    const busy = this.#due === undefined ? 0 : statusBit.busy;
    return halted | busy | (this.#haltedBy << errorShift);
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case register.control:
        this.#writeControl(value);
        break;
      case register.tail:
        this.#writeTail(value);
        break;
      case register.interruptStatus:
        this.#interruptStatus &= ~value;
        this.#driveLine();
        break;
      case register.interruptEnable:
        this.#interruptEnable = value & (cause.completion | cause.error);
        this.#driveLine();
        break;
      case register.latency:
        this.#latency = value;
        break;
      default:
        this.#writeRing(offset, value);
    }
  }

  /** Where the ring lies can be changed while the engine is off. */
  #writeRing(offset: number, value: number): void {
    if (this.#isEnabled) {
      return;
    }
    switch (offset) {
      case register.ring:
        this.#ring = (value & ~(descriptorBytes - 1)) >>> 0;
        break;
      case register.ringHigh:
        this.#ringHigh = value;
        break;
      case register.ringSize:
        this.#ringSize = value >= 2 && value <= ringSizeMax ? value : 0;
        break;
    }
  }

  #writeControl(value: number): void {
    if ((value & control.reset) !== 0) {
      this.reset();
      return;
    }
    const enable = (value & control.enable) !== 0;
    if (enable && !this.#isEnabled && this.#ringSize !== 0) {
      this.#isEnabled = true;
      this.#haltedBy = DmaError.None;
      this.#head = 0;
      this.#tail = 0;
      this.#abandons = false;
    } else if (!enable) {
      this.#isEnabled = false;
      this.#due = undefined;
      this.#transfer = undefined;
    }
  }

  /** The doorbell. A tail outside the ring is not taken. */
  #writeTail(value: number): void {
    if (!this.#isEnabled || value >= this.#ringSize) {
      return;
    }
    this.#tail = value;
    if (this.#head !== this.#tail && this.#due === undefined) {
      this.#due = this.#clock.now() + this.#latency;
    }
  }

  #raise(causes: number, vector: number): void {
    this.#interruptStatus |= causes;
    if ((this.#interruptEnable & causes) !== 0 && !this.#msix.signal(vector)) {
      this.#driveLine();
    }
  }

  #driveLine(): void {
    const asked = (this.#interruptStatus & this.#interruptEnable) !== 0;
    this.function.setInterrupt(asked && !this.#msix.isEnabled);
  }
}
