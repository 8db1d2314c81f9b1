import type { Clock, TraceSink } from "../cpu/ports.ts";
import { windowBase } from "../memory/physical-memory.ts";
import type { DeviceConfiguration } from "../platform/devices/device-kinds.ts";
import type { ExitRequest } from "../platform/exit-request.ts";
import { MailboxFabric } from "../platform/interrupt-fabric.ts";
import type { PciSlot } from "../platform/pci-slot.ts";
import { Platform } from "../platform/platform.ts";
import type { RemappingOutpost } from "../platform/vtd/interrupt-remapping.ts";
import type { DeviceChannel } from "../protocol/device-channel.ts";
import { DeviceOperation, type DeviceServer } from "../protocol/device-request.ts";
import type { ControlRegion } from "./control-region.ts";
import { AccessUnderWay } from "./device-actors/access-under-way.ts";
import { OpenFiles } from "./device-actors/file-store.ts";
import { RemoteDevice } from "./device-actors/remote-device.ts";
import type { ServedDevices } from "./drivers/platform-runner.ts";
import { machineGone } from "./drivers/remote-bus.ts";
import type { MachineBlueprint } from "./machine.ts";
import { firmwareArea, memoryMap } from "./memory-map.ts";
import { RamDma } from "./ram-dma.ts";
import type { Ending } from "./run-result.ts";

export interface PlatformHostOptions {
  readonly blueprint: MachineBlueprint;
  readonly control: ControlRegion;
  readonly clock: Clock;
  /** Time of day at clock value 0, seconds since 1970. */
  readonly epochSeconds: number;
  readonly serial: (byte: number) => void;
  /** The next byte for the serial line, if there is one by now; undefined: there never is. */
  readonly serialInput?: (() => number | undefined) | undefined;
  readonly debug: (byte: number) => void;
  readonly end: (ending: Ending) => void;
  /** An LP's mailbox is full: make room in it, or wait. */
  readonly whenFull: (lp: number) => void;
  /** An LP has been sent a message. */
  readonly posted?: (lp: number) => void;
  /** The channels of devices that have threads of their own, by their number; the others live here. */
  readonly channels?: readonly (DeviceChannel | undefined)[];
  /** Hears what devices do. */
  readonly trace?: TraceSink | undefined;
}

/** The devices of a machine as its drivers use them. */
export class PlatformHost implements ServedDevices {
  readonly platform: Platform;
  readonly #clock: Clock;
  readonly #files = new OpenFiles();
  readonly #access = new AccessUnderWay();
  readonly #remote: RemoteDevice[] = [];
  #answer: (lp: number, value: number) => void = () => undefined;

  /** @throws {UserError} a device's file cannot be opened */
  constructor(options: PlatformHostOptions) {
    const { blueprint, control, clock } = options;
    const { layout, apicIds } = blueprint;
    this.#clock = clock;
    this.platform = new Platform({
      clock,
      fabric: new MailboxFabric({
        words: control.words,
        windows: apicIds.map((_, lp) => windowBase(layout, lp)),
        whenFull: options.whenFull,
        ...(options.posted === undefined ? {} : { posted: options.posted }),
      }),
      memory: new RamDma(blueprint.memory, control),
      ramBytes: layout.ramBytes,
      apicIds,
      epochSeconds: options.epochSeconds,
      acpiBase: firmwareArea.start,
      serialOutput: options.serial,
      serialInput: options.serialInput,
      debugOutput: options.debug,
      exit: (request) => options.end(endingOf(request)),
      testDevice: true,
      devices: blueprint.devices,
      openStore: this.#files.open,
      createElsewhere: (slot, configuration, index) => {
        const channel = options.channels?.[index];
        return channel && this.#createRemote(slot, configuration, channel, options.serial);
      },
      ...(blueprint.iommu === undefined
        ? {}
        : {
            iommu: {
              capabilities: blueprint.iommu,
              words: control.words,
              outposts: outpostsOf(options),
              trace: options.trace,
            },
          }),
      files: new Map([["etc/e820", memoryMapFile(layout.ramBytes)]]),
    });
    this.platform.initializeAsFirmware();
  }

  serverFor(lp: number): DeviceServer {
    return {
      access: (...request) => this.#access.serve(lp, () => this.#perform(...request)),
    };
  }

  serveDevices(answer: (lp: number, value: number) => void): boolean {
    this.#answer = answer;
    let heard = this.platform.receiveSerial();
    for (const device of this.#remote) {
      heard = device.serve() || heard;
    }
    return heard;
  }

  #createRemote(
    slot: PciSlot,
    configuration: DeviceConfiguration,
    channel: DeviceChannel,
    output: (byte: number) => void,
  ): RemoteDevice {
    const device = new RemoteDevice({
      ...{ slot, configuration, channel, output },
      access: this.#access,
      answer: (lp, value) => this.#answer(lp, value),
    });
    this.#remote.push(device);
    return device;
  }

  #perform(operation: DeviceOperation, address: number, size: number, value: number): number {
    const { platform } = this;
    switch (operation) {
      case DeviceOperation.ReadPort:
        return platform.readPort(address, size);
      case DeviceOperation.WritePort:
        platform.writePort(address, size, value);
        return 0;
      case DeviceOperation.ReadMmio:
        return platform.readMmio(address, size);
      case DeviceOperation.WriteMmio:
        platform.writeMmio(address, size, value);
        return 0;
      case DeviceOperation.EndOfInterrupt:
        platform.endOfInterrupt(address);
        return 0;
      case DeviceOperation.AcknowledgeExternal:
        return platform.acknowledgeExternal();
    }
  }

  /** The machine is not used any more. */
  close(): void {
    this.#files.close();
  }

  nextDeadline(): number | undefined {
    return this.platform.deadline();
  }
  advance(): void {
    this.platform.poll(this.#clock.now());
  }
}

/** The devices that remap their messages themselves. One that waits in the middle of a message goes on, or leaves with the machine. */
function outpostsOf({ channels = [], control }: PlatformHostOptions): readonly RemappingOutpost[] {
  const giveUp = (): void => {
    if (control.isFinished) throw machineGone;
  };
  return channels.flatMap((channel) =>
    channel === undefined
      ? []
      : [
          {
            close: () => channel.remapping.close(giveUp),
            open: (state) => channel.remapping.open(state),
          },
        ],
  );
}

/** Either kind of reset ends the run: there is no firmware to reset into. */
function endingOf(request: ExitRequest): Ending {
  switch (request.type) {
    case "debug-exit":
      return { type: "exit", value: request.status >>> 1 };
    case "power-off":
      return { type: "power-off" };
    case "reset":
      return { type: "reset" };
  }
}

/** The memory map as firmware interfaces hand it out: 64-bit start and size, 32-bit type. */
function memoryMapFile(ramBytes: number): Uint8Array {
  const entryBytes = 20;
  const map = memoryMap(ramBytes);
  const view = new DataView(new ArrayBuffer(map.length * entryBytes));
  map.forEach(({ start, end, type }, index) => {
    const at = index * entryBytes;
    view.setBigUint64(at, BigInt(start), true);
    view.setBigUint64(at + 8, BigInt(end - start), true);
    view.setUint32(at + 16, type, true);
  });
  return new Uint8Array(view.buffer);
}
