import type { PciEndpoint } from "../../platform/pci-device.ts";
import type { DecodedAddress, PciBar, PciIdentity, PciSpace } from "../../platform/pci-function.ts";
import type { ToDevice } from "../../protocol/device-channel.ts";
import type { AccessUnderWay } from "./access-under-way.ts";

/** Sends a message to the device. @param waits for an answer: the tag is then the LP that asks */
export type AskDevice = (waits: boolean, message: (tag: number) => ToDevice) => void;

/**
 * The configuration header of a device that lives elsewhere, as the bus sees it. Addresses are decoded here, by a mirror that
 * gets every configuration write; what is read and written goes to the device.
 */
export class RemoteFunction implements PciEndpoint {
  readonly identity: PciIdentity;
  readonly #mirror: PciEndpoint;
  readonly #access: AccessUnderWay;
  readonly #ask: AskDevice;
  /** The device's windows, by those of the mirror. */
  readonly #windows: ReadonlyMap<PciBar, PciBar>;

  constructor(mirror: PciEndpoint, access: AccessUnderWay, ask: AskDevice) {
    this.identity = mirror.identity;
    this.#mirror = mirror;
    this.#access = access;
    this.#ask = ask;
    this.#windows = new Map(mirror.bars.map(([index, bar]) => [bar, this.#window(index, bar)]));
  }

  get bars(): PciEndpoint["bars"] {
    return this.#mirror.bars;
  }

  reset(): void {
    this.#mirror.reset();
  }

  decode(space: PciSpace, address: number): DecodedAddress | undefined {
    const found = this.#mirror.decode(space, address);
    const bar = found && this.#windows.get(found.bar);
    return bar && { bar, offset: found.offset };
  }

  readConfiguration(offset: number, size: number): number {
    if (this.#access.lp === undefined) return this.#mirror.readConfiguration(offset, size);
    this.#ask(true, (tag) => ({ type: "readConfiguration", tag, offset, size }));
    return 0;
  }

  /** Waits until the device has it: what it enables works from then on. */
  writeConfiguration(offset: number, size: number, value: number): void {
    this.#mirror.writeConfiguration(offset, size, value);
    this.#ask(true, (tag) => ({ type: "writeConfiguration", tag, offset, size, value }));
  }

  /** Memory writes are posted: nobody waits for them. */
  #window(bar: number, { space, bytes }: PciBar): PciBar {
    const waits = space === "io";
    return {
      space,
      bytes,
      read: (offset, size) => {
        this.#ask(true, (tag) => ({ type: "read", tag, bar, offset, size }));
        return 0;
      },
      write: (offset, size, value) => {
        this.#ask(waits, (tag) => ({ type: "write", tag, bar, offset, size, value }));
      },
    };
  }
}
