import { allOnes, type PortDevice } from "./device.ts";
import type { PciEndpoint } from "./pci-device.ts";
import type { DecodedAddress, PciSpace } from "./pci-function.ts";

const pciPort = { address: 0xcf8, data: 0xcfc } as const;

/**
 * The address register: enable, bus, device, function, register. A PC's bridge has no bits 1:0; software for virtual machines
 * puts the byte's offset there and reads at the first data port, as QEMU's bridge lets it.
 */
const enable = 0x8000_0000;
const addressWritable = 0x80ff_ffff;

/** PCI configuration mechanism 1, and the address decoding of the functions behind it. */
export class PciBus implements PortDevice {
  readonly ports = [
    { first: pciPort.address, count: 1, widest: 4 },
    { first: pciPort.data, count: 4, widest: 4 },
  ] as const;
  readonly #functions: readonly PciEndpoint[];
  #address = 0;

  constructor(functions: readonly PciEndpoint[]) {
    this.#functions = functions;
  }

  reset(): void {
    this.#address = 0;
    for (const each of this.#functions) {
      each.reset();
    }
  }

  readPort(port: number, size: number): number {
    if (port === pciPort.address) {
      return size === 4 ? this.#address : allOnes(size);
    }
    const offset = (this.#address & 0xff) | (port & 3);
    return this.#selected()?.readConfiguration(offset, size) ?? allOnes(size);
  }

  writePort(port: number, size: number, value: number): void {
    if (port !== pciPort.address) {
      this.#selected()?.writeConfiguration((this.#address & 0xff) | (port & 3), size, value);
    } else if (size === 4) {
      this.#address = (value & addressWritable) >>> 0;
    }
  }

  /** The function's window that answers at an address. */
  decode(space: PciSpace, address: number): DecodedAddress | undefined {
    for (const each of this.#functions) {
      const found = each.decode(space, address);
      if (found !== undefined) {
        return found;
      }
    }
    return undefined;
  }

  #selected(): PciEndpoint | undefined {
    const address = this.#address;
    if ((address & enable) === 0) {
      return undefined;
    }
    return this.#functions.find(
      ({ identity }) =>
        identity.bus === ((address >>> 16) & 0xff) &&
        identity.device === ((address >>> 11) & 0x1f) &&
        identity.function === ((address >>> 8) & 7),
    );
  }
}
