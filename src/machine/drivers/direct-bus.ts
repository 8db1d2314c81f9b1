import type { Bus } from "../../cpu/ports.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** The devices of a machine that runs on one thread: called directly, their time charged to the LP that asks. */
export class DirectBus implements Bus {
  readonly #devices: Bus;
  readonly #clock: VirtualClock;
  readonly #accessed: () => void;
  accesses = 0;

  /** @param accessed called before every access */
  constructor(devices: Bus, clock: VirtualClock, accessed: () => void) {
    this.#devices = devices;
    this.#clock = clock;
    this.#accessed = accessed;
  }

  readPort(port: number, size: number): number {
    this.#count();
    return this.#devices.readPort(port, size);
  }
  writePort(port: number, size: number, value: number): void {
    this.#count();
    this.#devices.writePort(port, size, value);
  }
  readMmio(address: number, size: number): number {
    this.#count();
    return this.#devices.readMmio(address, size);
  }
  writeMmio(address: number, size: number, value: number): void {
    this.#count();
    this.#devices.writeMmio(address, size, value);
  }
  endOfInterrupt(vector: number): void {
    this.#count();
    this.#devices.endOfInterrupt(vector);
  }
  acknowledgeExternal(): number {
    this.#count();
    return this.#devices.acknowledgeExternal();
  }

  #count(): void {
    this.accesses += 1;
    this.#accessed();
    this.#clock.charge("deviceAccess");
  }
}
