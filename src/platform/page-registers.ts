import type { PortDevice } from "./device.ts";

const pageRegisters = { first: 0x80, count: 16 } as const;

/**
 * The DMA page registers, of which a PC uses the spare ones as memory: 80H takes power-on codes and is written to pass
 * time. They do nothing but hold a byte.
 */
export class PageRegisters implements PortDevice {
  readonly ports = [{ ...pageRegisters, widest: 1 }] as const;
  readonly #bytes = new Uint8Array(pageRegisters.count);

  reset(): void {
    this.#bytes.fill(0);
  }

  readPort(port: number): number {
    return this.#bytes[port - pageRegisters.first] ?? 0;
  }

  writePort(port: number, _size: number, value: number): void {
    this.#bytes[port - pageRegisters.first] = value;
  }
}
