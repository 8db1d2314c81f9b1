import type { InterruptFabric } from "../cpu/ports.ts";
import { DeliveryMode, Shorthand } from "../protocol/interrupt-message.ts";
import type { MmioDevice } from "./device.ts";

export const ioapicAddress = 0xfec0_0000;
export const ioapicPins = 24;

/** Offsets in the memory window. */
const windowOffset = { select: 0x00, data: 0x10, endOfInterrupt: 0x40 } as const;
const ioapicBytes = 0x1000;

/** Indirect registers. A redirection entry takes two. */
const register = { id: 0, version: 1, arbitration: 2, redirection: 0x10 } as const;

/** Version 20H: has an EOI register. Bits 23:16: number of the last pin. */
const versionValue = ((ioapicPins - 1) << 16) | 0x20;
const idMask = 0x0f00_0000;

/** Low half of a redirection entry. */
const entryBit = {
  logical: 1 << 11,
  deliveryStatus: 1 << 12,
  remoteIrr: 1 << 14,
  level: 1 << 15,
  masked: 1 << 16,
} as const;
const entryWritable = 0x1_afff;

/**
 * Takes an interrupt over, with the redirection entry that it comes from. @returns false: it is to be sent as the entry says
 */
export type InterruptRemapper = (pin: number, low: number, high: number) => boolean;

/**
 * I/O APIC, 82093AA with the EOI register of its successors.
 *
 * A level-triggered pin that has sent its message waits, remote IRR set, for the EOI of its vector. An edge on a masked pin
 * is lost.
 */
export class IoApic implements MmioDevice {
  readonly mmio = [{ start: ioapicAddress, bytes: ioapicBytes }];
  readonly #fabric: InterruptFabric;
  readonly #remap: InterruptRemapper;
  readonly #low = new Uint32Array(ioapicPins);
  readonly #high = new Uint32Array(ioapicPins);
  #lines = 0;
  #select = 0;
  #id = 0;

  /** @param remap is asked first about every interrupt; without it none is remapped */
  constructor(fabric: InterruptFabric, remap: InterruptRemapper = () => false) {
    this.#fabric = fabric;
    this.#remap = remap;
    this.reset();
  }

  /** Lines keep their level: they are other devices' outputs. */
  reset(): void {
    this.#low.fill(entryBit.masked);
    this.#high.fill(0);
    this.#select = 0;
    this.#id = 0;
  }

  setLine(pin: number, high: boolean): void {
    const bit = 1 << pin;
    const rising = high && (this.#lines & bit) === 0;
    this.#lines = high ? this.#lines | bit : this.#lines & ~bit;
    const entry = this.#entry(pin);
    if (isLevel(entry)) {
      this.#evaluateLevel(pin);
    } else if (rising && (entry & entryBit.masked) === 0) {
      this.#deliver(pin);
    }
  }

  /** An EOI message from the bus, or a write of the EOI register: ends every level-triggered request of the vector. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < ioapicPins; pin++) {
      const entry = this.#entry(pin);
      if ((entry & entryBit.remoteIrr) !== 0 && (entry & 0xff) === vector) {
        this.#low[pin] = entry & ~entryBit.remoteIrr;
        this.#evaluateLevel(pin);
      }
    }
  }

  readMmio(address: number, size: number): number {
    switch (address - ioapicAddress) {
      case windowOffset.select:
        return this.#select;
      case windowOffset.data:
        return size === 4 ? this.#readRegister(this.#select) : 0;
      default:
        return 0;
    }
  }

  writeMmio(address: number, size: number, value: number): void {
    switch (address - ioapicAddress) {
      case windowOffset.select:
        this.#select = value & 0xff;
        break;
      case windowOffset.data:
        if (size === 4) {
          this.#writeRegister(this.#select, value);
        }
        break;
      case windowOffset.endOfInterrupt:
        this.endOfInterrupt(value & 0xff);
        break;
      default:
    }
  }

  #readRegister(index: number): number {
    switch (index) {
      case register.id:
      case register.arbitration:
        return this.#id;
      case register.version:
        return versionValue;
      default: {
        const half = index & 1 ? this.#high : this.#low;
        return half[(index - register.redirection) >> 1] ?? 0;
      }
    }
  }

  #writeRegister(index: number, value: number): void {
    if (index === register.id) {
      this.#id = value & idMask;
      return;
    }
    const pin = (index - register.redirection) >> 1;
    if (pin < 0 || pin >= ioapicPins) {
      return;
    }
    if (index & 1) {
      this.#high[pin] = value;
      return;
    }
    this.#writeEntry(pin, value);
  }

  /** Turning a pin to edge triggering forgets a request whose EOI is still owed. */
  #writeEntry(pin: number, value: number): void {
    const kept = isLevel(value) ? this.#entry(pin) & entryBit.remoteIrr : 0;
    this.#low[pin] = (value & entryWritable) | kept;
    this.#evaluateLevel(pin);
  }

  #entry(pin: number): number {
    return this.#low[pin] ?? entryBit.masked;
  }

  /** Sends for a level-triggered pin that is high, open, and owes no EOI. */
  #evaluateLevel(pin: number): void {
    const entry = this.#entry(pin);
    const idle = (entry & (entryBit.masked | entryBit.remoteIrr)) === 0;
    if (idle && isLevel(entry) && (this.#lines & (1 << pin)) !== 0) {
      this.#deliver(pin);
    }
  }

  #deliver(pin: number): void {
    const entry = this.#entry(pin);
    const deliveryMode = modeOf(entry);
    const level = isLevel(entry);
    if (level) {
      this.#low[pin] = entry | entryBit.remoteIrr;
    }
    if (this.#remap(pin, entry, this.#high[pin] ?? 0) || !isKnownMode(deliveryMode)) {
      return;
    }
    this.#fabric.send({
      vector: entry & 0xff,
      deliveryMode,
      logical: (entry & entryBit.logical) !== 0,
      level,
      assert: true,
      shorthand: Shorthand.None,
      destination: (this.#high[pin] ?? 0) >>> 24,
      wide: false,
      source: -1,
    });
  }
}

const modeOf = (entry: number): DeliveryMode => ((entry >>> 8) & 7) as DeliveryMode;

/** The trigger mode counts for fixed and lowest-priority delivery; everything else is an edge. */
function isLevel(entry: number): boolean {
  const mode = modeOf(entry);
  return (
    (entry & entryBit.level) !== 0 &&
    (mode === DeliveryMode.Fixed || mode === DeliveryMode.LowestPriority)
  );
}

const knownModes: readonly number[] = [
  DeliveryMode.Fixed,
  DeliveryMode.LowestPriority,
  DeliveryMode.Smi,
  DeliveryMode.Nmi,
  DeliveryMode.Init,
  DeliveryMode.ExtInt,
];

function isKnownMode(mode: number): boolean {
  return knownModes.includes(mode);
}
