import { littleEndian, type PciCapability, PciCapabilityId } from "../../pci-capability.ts";

/** "Virtio Structure PCI Capabilities": what a capability of the vendor kind tells the place of. */
export const VirtioStructure = { Common: 1, Notify: 2, Interrupt: 3, Device: 4 } as const;
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
