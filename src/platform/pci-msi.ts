import { assert } from "../base/assert.ts";
import {
  littleEndian,
  littleEndianAt,
  type PciCapability,
  PciCapabilityId,
} from "./pci-capability.ts";
import type { RequesterPort } from "./requester.ts";

/** Offsets in the capability, with a 64-bit message address. */
const msi = { control: 2, address: 4, addressHigh: 8, data: 12, mask: 16, pending: 20 } as const;
const bodyBytes = { plain: 12, maskable: 22 } as const;
const controlBit = { enable: 1 << 0, wide: 1 << 7, maskable: 1 << 8 } as const;
/** Log2 of the vectors there are (bits 3:1) and of the vectors software has given (bits 6:4). */
const controlShift = { capable: 1, enabled: 4 } as const;

export interface MsiOptions {
  /** 1, 2, 4, 8, 16 or 32. */
  readonly vectors: number;
  /** Vectors can be masked one by one. */
  readonly maskable: boolean;
}

/** "MSI Capability": one address and one datum, whose low bits tell the vector. */
export class MsiCapability implements PciCapability {
  readonly id = PciCapabilityId.Msi;
  readonly values: readonly number[];
  readonly writable: readonly number[];
  readonly #maskable: boolean;
  #body: Uint8Array = new Uint8Array(bodyBytes.maskable + 2);
  #port: RequesterPort | undefined;

  constructor({ vectors, maskable }: MsiOptions) {
    const log2 = Math.log2(vectors);
    assert(Number.isInteger(log2) && vectors <= 32, "MSI vectors are a power of two up to 32");
    const body = new Array<number>(maskable ? bodyBytes.maskable : bodyBytes.plain).fill(0);
    const control =
      controlBit.wide | (maskable ? controlBit.maskable : 0) | (log2 << controlShift.capable);
    const place = (target: number[], offset: number, bytes: readonly number[]): void => {
      target.splice(offset - 2, bytes.length, ...bytes);
    };
    const values = [...body];
    place(values, msi.control, littleEndian(control, 2));
    const writable = [...body];
    place(writable, msi.control, [controlBit.enable | (7 << controlShift.enabled), 0]);
    place(writable, msi.address, littleEndian(0xffff_fffc, 4));
    place(writable, msi.addressHigh, littleEndian(0xffff_ffff, 4));
    place(writable, msi.data, [0xff, 0xff]);
    if (maskable) {
      place(writable, msi.mask, littleEndian(2 ** vectors - 1, 4));
    }
    this.values = values;
    this.writable = writable;
    this.#maskable = maskable;
  }

  attach(body: Uint8Array, port: RequesterPort): void {
    this.#body = body;
    this.#port = port;
  }

  /** Software has chosen MSI; the function's INTx pin is then silent. */
  get isEnabled(): boolean {
    return (littleEndianAt(this.#body, msi.control, 2) & controlBit.enable) !== 0;
  }

  /** Sends vector `n`, or leaves it pending while it is masked. @returns false: MSI is off, nothing has happened */
  signal(n: number): boolean {
    if (!this.isEnabled) {
      return false;
    }
    const vector = n % this.#given();
    if (this.#maskable && (littleEndianAt(this.#body, msi.mask, 4) & (1 << vector)) !== 0) {
      this.#setPending(littleEndianAt(this.#body, msi.pending, 4) | (1 << vector));
    } else {
      this.#send(vector);
    }
    return true;
  }

  /** What was pending and is masked no longer goes out. */
  written(): void {
    if (!this.#maskable || !this.isEnabled) {
      return;
    }
    const pending = littleEndianAt(this.#body, msi.pending, 4);
    const open = pending & ~littleEndianAt(this.#body, msi.mask, 4);
    if (open === 0) {
      return;
    }
    this.#setPending(pending & ~open);
    for (let vector = 0; vector < 32; vector++) {
      if ((open & (1 << vector)) !== 0) {
        this.#send(vector);
      }
    }
  }

  reset(): void {
    // All state is in the body.
  }

  #send(vector: number): void {
    const low = littleEndianAt(this.#body, msi.address, 4);
    const high = littleEndianAt(this.#body, msi.addressHigh, 4);
    const data = littleEndianAt(this.#body, msi.data, 2);
    const address = high === 0 ? low : (BigInt(high) << 32n) | BigInt(low);
    this.#port?.message(address, (data & ~(this.#given() - 1)) | vector);
  }

  /** Vectors that software lets the function use. */
  #given(): number {
    const control = littleEndianAt(this.#body, msi.control, 2);
    const capable = (control >>> controlShift.capable) & 7;
    return 1 << Math.min(capable, (control >>> controlShift.enabled) & 7);
  }

  #setPending(bits: number): void {
    this.#body.set(littleEndian(bits, 4), msi.pending);
  }
}
