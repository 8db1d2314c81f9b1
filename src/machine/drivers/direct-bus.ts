import type { Bus } from "../../cpu/ports.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** The devices of a machine that runs on one thread: called directly, their time charged to the LP that asks. */
export class DirectBus implements Bus {
  readonly #devices: Bus;
  readonly #clock: VirtualClock;
  readonly #accessing: () => void;
  readonly #accessed: () => void;
  accesses = 0;

  /** @param accessing called before every access. @param accessed called after those that may have set a device to work */
  constructor(devices: Bus, clock: VirtualClock, accessing: () => void, accessed: () => void) {
    this.#devices = devices;
    this.#clock = clock;
    this.#accessing = accessing;
    this.#accessed = accessed;
  }

  readPort(port: number, size: number): number {
    this.#count();
    return this.#devices.readPort(port, size);
  }
  writePort(port: number, size: number, value: number): void {
    this.#count();
    this.#devices.writePort(port, size, value);
    this.#accessed();
  }
  readMmio(address: number, size: number): number {
    this.#count();
    return this.#devices.readMmio(address, size);
  }
  writeMmio(address: number, size: number, value: number): void {
    this.#count();
    this.#devices.writeMmio(address, size, value);
    this.#accessed();
  }
  endOfInterrupt(vector: number): void {
    this.#count();
    this.#devices.endOfInterrupt(vector);
    this.#accessed();
  }
  acknowledgeExternal(): number {
    this.#count();
    return this.#devices.acknowledgeExternal();
  }

  #count(): void {
    this.accesses += 1;
    this.#accessing();
    this.#clock.charge("deviceAccess");
  }
}
