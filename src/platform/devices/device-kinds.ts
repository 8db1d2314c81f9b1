import type { Clock } from "../../cpu/ports.ts";
import type { PciDevice } from "../pci-device.ts";
import type { PciSlot } from "../pci-slot.ts";
import { Edu } from "./edu.ts";

/** A device that somebody wants in the machine. A plain value: it can be posted to a worker. */
export interface DeviceConfiguration {
  readonly kind: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** What the machine around a device offers it besides its slot. */
export interface DeviceServices {
  readonly clock: Clock;
}

/** A kind of device that can be put on the PCI bus. */
export interface DeviceKind {
  readonly name: string;
  readonly summary: string;
  /** Names of its parameters, with what each means. */
  readonly parameters: Readonly<Record<string, string>>;
  /** What is wrong with the values of parameters that it has, undefined for nothing. */
  check?(parameters: Readonly<Record<string, string>>): string | undefined;
  create(slot: PciSlot, configuration: DeviceConfiguration, services: DeviceServices): PciDevice;
}

export const deviceKinds: readonly DeviceKind[] = [
  {
    name: "edu",
    summary: "QEMU's teaching device: DMA, INTx and MSI",
    parameters: {},
    create: (slot) => new Edu(slot),
  },
];

export function findDeviceKind(name: string): DeviceKind | undefined {
  return deviceKinds.find((kind) => kind.name === name);
}
