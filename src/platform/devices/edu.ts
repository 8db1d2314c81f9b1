import { allOnes } from "../device.ts";
import type { PciDevice } from "../pci-device.ts";
import { PciFunction } from "../pci-function.ts";
import { MsiCapability } from "../pci-msi.ts";
import type { PciSlot } from "../pci-slot.ts";
import { registerWindow } from "../register-window.ts";

/** Offsets in the memory window. */
const register = {
  identification: 0x00,
  liveness: 0x04,
  factorial: 0x08,
  status: 0x20,
  interruptStatus: 0x24,
  interruptRaise: 0x60,
  interruptAcknowledge: 0x64,
  dmaSource: 0x80,
  dmaDestination: 0x88,
  dmaCount: 0x90,
  dmaCommand: 0x98,
} as const;
/** From here on accesses may also have eight bytes; below, four is the only size. */
const wideStart = 0x80;
const windowBytes = 0x10_0000;

/** Version 1.0, and the letters "ed". */
const identificationValue = 0x0100_00ed;
const statusBit = { computing: 0x01, interruptWhenComputed: 0x80 } as const;
const command = { start: 1, toMemory: 2, interrupt: 4 } as const;
/** Causes in the interrupt status. */
const cause = { factorial: 0x001, dma: 0x100 } as const;
/** The buffer that DMA reaches, in the device's own addresses. */
const buffer = { start: 0x4_0000, bytes: 4096 } as const;

/**
 * The device that QEMU has for teaching ("edu"): factorials, interrupts that software raises itself, and a DMA engine with a
 * buffer of 4 KiB. Everything is done in the write that asks for it, so that no status is ever seen busy.
 */
export class Edu implements PciDevice {
  readonly function: PciFunction;
  readonly #msi = new MsiCapability({ vectors: 1, maskable: false });
  readonly #buffer = new Uint8Array(buffer.bytes);
  /** Source, destination, count: low and high half each. */
  readonly #dma = new Uint32Array(6);
  #liveness = 0;
  #factorial = 0;
  #status = 0;
  #interruptStatus = 0;
  #dmaCommand = 0;

  constructor(slot: PciSlot) {
    const { bus, device, function: fn } = slot;
    this.function = new PciFunction(
      {
        ...{ bus, device, function: fn },
        vendorId: 0x1234,
        deviceId: 0x11e8,
        classCode: 0x00_ff00,
        revision: 0x10,
        interruptPin: 1,
        capabilities: [this.#msi],
        bars: [
          registerWindow(windowBytes, {
            read: (offset) => this.#read(offset),
            write: (offset, value) => this.#write(offset, value),
          }),
        ],
      },
      slot,
    );
  }

  reset(): void {
    this.#buffer.fill(0);
    this.#dma.fill(0);
    this.#liveness = 0;
    this.#factorial = 0;
    this.#status = 0;
    this.#interruptStatus = 0;
    this.#dmaCommand = 0;
  }

  #read(offset: number): number {
    switch (offset) {
      case register.identification:
        return identificationValue;
      case register.liveness:
        return this.#liveness;
      case register.factorial:
        return this.#factorial;
      case register.status:
        return this.#status;
      case register.interruptStatus:
        return this.#interruptStatus;
      case register.dmaCommand:
        return this.#dmaCommand;
      default:
        return this.#dma[(offset - register.dmaSource) >>> 2] ?? allOnes(4);
    }
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case register.liveness:
        this.#liveness = ~value >>> 0;
        break;
      case register.factorial:
        this.#computeFactorial(value);
        break;
      case register.status:
        this.#status = value & statusBit.interruptWhenComputed;
        break;
      case register.interruptRaise:
        this.#raise(value);
        break;
      case register.interruptAcknowledge:
        this.#interruptStatus = (this.#interruptStatus & ~value) >>> 0;
        this.#driveLine();
        break;
      case register.dmaCommand:
        this.#transfer(value);
        break;
      default:
        if (offset >= wideStart) {
          this.#dma[(offset - register.dmaSource) >>> 2] = value;
        }
    }
  }

  /** Modulo 2^32; from 34! on that is 0. */
  #computeFactorial(n: number): void {
    let product = 1;
    for (let factor = Math.min(n, 34); factor > 1; factor--) {
      product = Math.imul(product, factor);
    }
    this.#factorial = product >>> 0;
    if ((this.#status & statusBit.interruptWhenComputed) !== 0) {
      this.#raise(cause.factorial);
    }
  }

  /** Between memory and the buffer. What would leave the buffer is not done; a blocked transfer changes nothing. */
  #transfer(value: number): void {
    this.#dmaCommand = value & ~command.start;
    if ((value & command.start) === 0) {
      return;
    }
    const toMemory = (value & command.toMemory) !== 0;
    const [source, destination, count] = [this.#dmaValue(0), this.#dmaValue(1), this.#dmaValue(2)];
    const own = Number(toMemory ? source : destination) - buffer.start;
    if (own >= 0 && own + Number(count) <= buffer.bytes) {
      const part = this.#buffer.subarray(own, own + Number(count));
      if (toMemory) {
        this.function.port.write(destination, part);
      } else {
        this.function.port.read(source, part);
      }
    }
    if ((value & command.interrupt) !== 0) {
      this.#raise(cause.dma);
    }
  }

  #dmaValue(index: number): bigint {
    return (BigInt(this.#dma[2 * index + 1] ?? 0) << 32n) | BigInt(this.#dma[2 * index] ?? 0);
  }

  #raise(causes: number): void {
    this.#interruptStatus = (this.#interruptStatus | causes) >>> 0;
    if (this.#interruptStatus !== 0 && !this.#msi.signal(0)) {
      this.#driveLine();
    }
  }

  #driveLine(): void {
    this.function.setInterrupt(this.#interruptStatus !== 0 && !this.#msi.isEnabled);
  }
}
