import type { DmaMemory } from "./device.ts";
import type { DeviceFabric } from "./interrupt-fabric.ts";
import { isInterruptAddress, sendMsi } from "./msi-message.ts";
import type { RequesterPort } from "./requester.ts";

/** What stands between a function and memory on a machine without a VT-d unit: nothing. */
export class DirectPort implements RequesterPort {
  readonly #memory: DmaMemory;
  readonly #fabric: DeviceFabric;
  readonly #word = new Uint8Array(4);

  constructor(memory: DmaMemory, fabric: DeviceFabric) {
    this.#memory = memory;
    this.#fabric = fabric;
  }

  read(address: number | bigint, into: Uint8Array): boolean {
    return this.#memory.read(Number(address), into);
  }

  write(address: number | bigint, from: Uint8Array): boolean {
    if (isInterruptAddress(Number(address)) && from.length === 4) {
      this.message(address, new DataView(from.buffer, from.byteOffset, 4).getUint32(0, true));
      return true;
    }
    return this.#memory.write(Number(address), from);
  }

  message(address: number | bigint, data: number): void {
    const at = Number(address);
    if (isInterruptAddress(at)) {
      sendMsi(this.#fabric, at, data);
      return;
    }
    new DataView(this.#word.buffer).setUint32(0, data, true);
    this.#memory.write(at, this.#word);
  }
}
