import type { PciDevice } from "../pci-device.ts";
import type { PciSlot } from "../pci-slot.ts";
import type { DeviceServices } from "./device-services.ts";
import { DmaEngine } from "./dma-engine.ts";
import { Edu } from "./edu.ts";
import { Storm, stormEntriesMax, stormQueuesMax } from "./storm.ts";
import { VirtioBlk } from "./virtio/virtio-blk.ts";
import { VirtioConsole } from "./virtio/virtio-console.ts";
import { VirtioNet } from "./virtio/virtio-net.ts";
import { VirtioPci } from "./virtio/virtio-pci.ts";

/** A device that somebody wants in the machine. A plain value: it can be posted to a worker. */
export interface DeviceConfiguration {
  readonly kind: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Value of a parameter that is written without one. */
export const flagSet = "on";

/** A parameter of every kind that is an actor. */
const threadParameter = "thread";
const threadChoices = ["own", "platform"] as const;

/** Whether a device has a thread of its own where machines have threads. */
export function hasOwnThread({ kind, parameters }: DeviceConfiguration): boolean {
  return findDeviceKind(kind)?.isActor === true && parameters[threadParameter] !== "platform";
}

/** All parameters of a kind, with what each means. */
export function parametersOf(kind: DeviceKind): Readonly<Record<string, string>> {
  const thread = "own, or platform to share the platform's; own if not given";
  return kind.isActor ? { ...kind.parameters, [threadParameter]: thread } : kind.parameters;
}

/** What is wrong with the parameters of a device whose names are known, undefined for nothing. */
export function parameterTrouble(
  kind: DeviceKind,
  parameters: Readonly<Record<string, string>>,
): string | undefined {
  const thread = parameters[threadParameter];
  if (thread !== undefined && !threadChoices.some((choice) => choice === thread)) {
    return `${threadParameter}=${thread}: unknown; give one of ${threadChoices.join(", ")}`;
  }
  return kind.check?.(parameters);
}

/** A kind of device that can be put on the PCI bus. */
export interface DeviceKind {
  readonly name: string;
  readonly summary: string;
  /** It does things by itself: where machines have threads, it has one of its own. */
  readonly isActor: boolean;
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
    isActor: false,
    parameters: {},
    create: (slot) => new Edu(slot),
  },
  {
    name: "dma",
    summary: "scatter-gather DMA engine with a ring of descriptors",
    isActor: true,
    parameters: {},
    create: (slot, _configuration, { clock }) => new DmaEngine(slot, clock),
  },
  {
    name: "storm",
    summary: "interrupts and nothing else: queues that send MSI-X messages at their rates",
    isActor: true,
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
  {
    name: "virtio-blk",
    summary: "virtio disk whose sectors are a file",
    isActor: true,
    parameters: { file: "the file, a whole number of sectors", readonly: "writes are refused" },
    check: ({ file, readonly }) => {
      if (file === undefined || file === "" || file === flagSet) {
        return "no file; write virtio-blk,file=F";
      }
      return flagTrouble("readonly", readonly);
    },
    create: (slot, { parameters }, { clock, openStore }) => {
      const isReadOnly = parameters["readonly"] === flagSet;
      const store = openStore(parameters["file"] ?? "", isReadOnly);
      return new VirtioPci(slot, clock, new VirtioBlk(store, isReadOnly));
    },
  },
  {
    name: "virtio-console",
    summary: "virtio console that speaks to where COM1 does",
    isActor: true,
    parameters: {},
    create: (slot, _configuration, { clock, output }) => {
      return new VirtioPci(slot, clock, new VirtioConsole(output));
    },
  },
  {
    name: "virtio-net",
    summary: "virtio network card that receives what it sends",
    isActor: true,
    parameters: {},
    create: (slot, _configuration, { clock }) => new VirtioPci(slot, clock, new VirtioNet()),
  },
];

function flagTrouble(name: string, value: string | undefined): string | undefined {
  return value === undefined || value === flagSet ? undefined : `${name} takes no value`;
}

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
