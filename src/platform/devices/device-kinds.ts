import type { Clock } from "../../cpu/ports.ts";
import type { PciDevice } from "../pci-device.ts";
import type { PciSlot } from "../pci-slot.ts";
import { DmaEngine } from "./dma-engine.ts";
import { Edu } from "./edu.ts";
import { Storm, stormEntriesMax, stormQueuesMax } from "./storm.ts";

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
  {
    name: "dma",
    summary: "scatter-gather DMA engine with a ring of descriptors",
    parameters: {},
    create: (slot, _configuration, { clock }) => new DmaEngine(slot, clock),
  },
  {
    name: "storm",
    summary: "interrupts and nothing else: queues that send MSI-X messages at their rates",
    parameters: {
      queues: `queues, 1 to ${stormQueuesMax}; 1 if not given`,
      entries: `MSI-X entries, 1 to ${stormEntriesMax}; as many as queues if not given`,
    },
    check: (parameters) =>
      rangeTrouble(parameters, "queues", stormQueuesMax) ??
      rangeTrouble(parameters, "entries", stormEntriesMax),
    create: (slot, { parameters }, { clock }) => {
      const queues = Number(parameters["queues"] ?? 1);
      const entries = Number(parameters["entries"] ?? queues);
      return new Storm(slot, { queues, entries, clock });
    },
  },
];

/** What is wrong with a parameter that is a whole number from 1 to `max`. */
function rangeTrouble(
  parameters: Readonly<Record<string, string>>,
  name: string,
  max: number,
): string | undefined {
  const text = parameters[name];
  if (text === undefined || (/^\d{1,9}$/.test(text) && Number(text) >= 1 && Number(text) <= max)) {
    return undefined;
  }
  return `${name}=${text} is not a whole number from 1 to ${max}`;
}

export function findDeviceKind(name: string): DeviceKind | undefined {
  return deviceKinds.find((kind) => kind.name === name);
}
