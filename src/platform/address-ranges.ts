import { assert } from "../base/assert.ts";
import type { MmioDevice, PortDevice } from "./device.ts";

const portCount = 0x1_0000;
/** Device numbers in the port table; 0 is nobody. */
const devicesMax = 255;

/** Who owns each port. A port has at most one owner. */
export class PortMap {
  readonly #owner = new Uint8Array(portCount);
  /** Widest access that the port's owner takes whole. */
  readonly #widest = new Uint8Array(portCount);
  readonly #devices: PortDevice[] = [];

  add(device: PortDevice): void {
    this.#devices.push(device);
    assert(this.#devices.length <= devicesMax, "too many port devices");
    for (const { first, count, widest } of device.ports) {
      for (let port = first; port < first + count; port++) {
        assert(this.#owner[port] === 0, "port has two owners");
        this.#owner[port] = this.#devices.length;
        this.#widest[port] = widest;
      }
    }
  }

  owner(port: number): PortDevice | undefined {
    return this.#devices[(this.#owner[port & 0xffff] ?? 0) - 1];
  }

  widest(port: number): number {
    return this.#widest[port & 0xffff] ?? 0;
  }
}

/** Who answers at a physical address outside RAM. */
export class MmioMap {
  readonly #regions: { start: number; end: number; device: MmioDevice }[] = [];

  add(device: MmioDevice): void {
    for (const { start, bytes } of device.mmio) {
      const end = start + bytes;
      assert(
        this.#regions.every((region) => end <= region.start || start >= region.end),
        "address has two owners",
      );
      this.#regions.push({ start, end, device });
    }
  }

  /** The device that has the whole of `size` bytes. */
  owner(address: number, size: number): MmioDevice | undefined {
    return this.#regions.find(({ start, end }) => address >= start && address + size <= end)
      ?.device;
  }
}
