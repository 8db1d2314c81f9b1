import { allOnes, type PortDevice } from "./device.ts";
import type { ExitSink } from "./exit-request.ts";

const shutdownPort = 0x8900;
const password = "Shutdown";

/** Bochs' power switch: the letters of "Shutdown", one after the other. */
export class ShutdownPort implements PortDevice {
  readonly ports = [{ first: shutdownPort, count: 1, widest: 1 }] as const;
  readonly #exit: ExitSink;
  #matched = 0;

  constructor(exit: ExitSink) {
    this.#exit = exit;
  }

  reset(): void {
    this.#matched = 0;
  }

  readPort(_port: number, size: number): number {
    return allOnes(size);
  }

  writePort(_port: number, _size: number, value: number): void {
    if (value !== password.charCodeAt(this.#matched)) {
      this.#matched = 0;
    }
    if (value === password.charCodeAt(this.#matched)) {
      this.#matched++;
    }
    if (this.#matched === password.length) {
      this.#matched = 0;
      this.#exit({ type: "power-off" });
    }
  }
}
