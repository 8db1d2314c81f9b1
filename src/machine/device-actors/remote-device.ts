import { present } from "../../base/assert.ts";
import { type DeviceConfiguration, findDeviceKind } from "../../platform/devices/device-kinds.ts";
import type { DeviceServices } from "../../platform/devices/device-services.ts";
import type { PciDevice } from "../../platform/pci-device.ts";
import type { PciSlot } from "../../platform/pci-slot.ts";
import {
  type DeviceChannel,
  DmaState,
  type FromDevice,
  noTag,
  type ToDevice,
} from "../../protocol/device-channel.ts";
import type { AccessUnderWay } from "./access-under-way.ts";
import { RemoteFunction } from "./remote-function.ts";

/** Messages of a device that are heard before others get their turn. */
const messagesPerTurn = 128;

export interface RemoteDeviceOptions {
  readonly slot: PciSlot;
  readonly configuration: DeviceConfiguration;
  readonly channel: DeviceChannel;
  readonly access: AccessUnderWay;
  readonly output: (byte: number) => void;
  /** The device has answered an LP. */
  readonly answer: (lp: number, value: number) => void;
}

/** A device on a thread of its own, as the platform has it: what reaches memory and the LPs does so here. */
export class RemoteDevice implements PciDevice {
  readonly function: RemoteFunction;
  readonly #options: RemoteDeviceOptions;
  /**
   * What the channel had no room for. Whoever has something here waits for its answer, so there is no more of it than there
   * are LPs.
   */
  readonly #held: ToDevice[] = [];

  constructor(options: RemoteDeviceOptions) {
    this.#options = options;
    const { slot, configuration, access } = options;
    const mirror = createMirror(slot, configuration);
    this.function = new RemoteFunction(mirror.function, access, (waits, message) => {
      this.#ask(waits, message);
    });
  }

  reset(): void {
    this.#ask(false, () => ({ type: "reset" }));
  }

  /** Hears what the device has said. @returns whether that was anything */
  serve(): boolean {
    const { channel } = this.#options;
    for (let first = this.#held[0]; first !== undefined && channel.tell(first); ) {
      this.#held.shift();
      first = this.#held[0];
    }
    for (let n = 0; n < messagesPerTurn; n++) {
      const message = channel.nextForPlatform();
      if (message === undefined) {
        if (n > 0) channel.up.release();
        return n > 0;
      }
      this.#hear(message);
    }
    channel.up.release();
    return true;
  }

  #ask(waits: boolean, message: (tag: number) => ToDevice): void {
    const { channel, access } = this.#options;
    const asker = access.lp ?? noTag;
    const hasRoom = this.#held.length === 0 && channel.tell(message(waits ? asker : noTag));
    if (!hasRoom) this.#held.push(message(asker));
    if (asker !== noTag && (waits || !hasRoom)) access.defer();
  }

  #hear(message: FromDevice): void {
    const { slot, channel, output, answer } = this.#options;
    switch (message.type) {
      case "answer":
        answer(message.tag, message.value);
        break;
      case "message":
        slot.port.message(message.address, message.data);
        break;
      case "line":
        slot.interrupt(message.high);
        break;
      case "output":
        message.bytes.forEach(output);
        break;
      case "dmaRead": {
        const isRead = slot.port.read(message.address, channel.data.subarray(0, message.bytes));
        channel.moveDma(isRead ? DmaState.Done : DmaState.Refused);
        break;
      }
      case "dmaWrite": {
        const isWritten = slot.port.write(message.address, channel.data.subarray(0, message.bytes));
        channel.moveDma(isWritten ? DmaState.Done : DmaState.Refused);
        break;
      }
    }
  }
}

const nowhere = { read: () => false, write: () => false, message: () => undefined };
const emptyStore = { bytes: 0, read: () => false, write: () => false, flush: () => false };
const noServices: DeviceServices = {
  clock: { frequencyHz: 1, now: () => 0 },
  openStore: () => emptyStore,
  output: () => undefined,
};

/** A second device of the same kind that nobody uses: its configuration header has the same form. */
function createMirror(slot: PciSlot, configuration: DeviceConfiguration): PciDevice {
  const kind = present(findDeviceKind(configuration.kind), "nobody makes such a device");
  const aside = { ...slot, port: nowhere, interrupt: () => undefined };
  return kind.create(aside, configuration, noServices);
}
