import {
  littleEndian,
  littleEndianAt,
  type PciCapability,
  PciCapabilityId,
} from "../../pci-capability.ts";
import type { PciBar } from "../../pci-function.ts";

/** "Virtio Structure PCI Capabilities": what a capability of the vendor kind tells the place of. */
export const VirtioStructure = {
  Common: 1,
  Notify: 2,
  Interrupt: 3,
  Device: 4,
  Access: 5,
} as const;
export type VirtioStructure = (typeof VirtioStructure)[keyof typeof VirtioStructure];

export interface StructurePlace {
  readonly bar: number;
  readonly offset: number;
  readonly bytes: number;
}

/** Bytes of a capability, its id and next pointer included; the one of notifications has four more. */
const capabilityBytes = 16;

/** Tells a driver where one of the device's structures lies. @param more what follows the common part */
export function virtioCapability(
  structure: VirtioStructure,
  { bar, offset, bytes }: StructurePlace,
  more: readonly number[] = [],
): PciCapability {
  const values = [
    ...[capabilityBytes + more.length, structure, bar, 0, 0, 0],
    ...littleEndian(offset, 4),
    ...littleEndian(bytes, 4),
    ...more,
  ];
  return {
    id: PciCapabilityId.Vendor,
    values,
    writable: values.map(() => 0),
    attach: () => undefined,
    written: () => undefined,
    reset: () => undefined,
  };
}

/** Offsets in the body of the access capability. */
const access = { bar: 4, offset: 8, length: 12, data: 16, end: 20 } as const;

/**
 * "PCI configuration access capability": reading its data reads a structure, writing it writes one, for software that cannot
 * reach memory windows yet.
 */
export class AccessCapability implements PciCapability {
  readonly id = PciCapabilityId.Vendor;
  readonly values = [access.end, VirtioStructure.Access, ...littleEndian(0, 16)];
  readonly writable: readonly number[];
  readonly #window: (bar: number) => PciBar | undefined;
  #body: Uint8Array = new Uint8Array(access.end);

  /** @param window of a base address register */
  constructor(window: (bar: number) => PciBar | undefined) {
    this.#window = window;
    this.writable = this.values.map((_, n) => {
      return n + 2 === access.bar || n + 2 >= access.offset ? 0xff : 0;
    });
  }

  attach(body: Uint8Array): void {
    this.#body = body;
  }

  reading(offset: number): void {
    if (offset >= access.data && offset < access.end) {
      this.#reach((bar, at, length) => {
        this.#body.set(littleEndian(bar.read(at, length), 4), access.data);
      });
    }
  }

  written(offset: number): void {
    if (offset >= access.data && offset < access.end) {
      this.#reach((bar, at, length) => {
        bar.write(at, length, littleEndianAt(this.#body, access.data, length));
      });
    }
  }

  reset(): void {
    // All state is in the body.
  }

  /** What is not aligned, of no known size or outside the window is not done. */
  #reach(act: (bar: PciBar, at: number, length: number) => void): void {
    const bar = this.#window(this.#body[access.bar] ?? 0);
    const at = littleEndianAt(this.#body, access.offset, 4);
    const length = littleEndianAt(this.#body, access.length, 4);
    const isSize = length === 1 || length === 2 || length === 4;
    if (bar !== undefined && isSize && at % length === 0 && at + length <= bar.bytes) {
      act(bar, at, length);
    }
  }
}
