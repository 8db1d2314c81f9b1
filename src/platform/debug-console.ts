import type { PortDevice } from "./device.ts";

const consolePorts = { bochs: 0xe9, seabios: 0x402 } as const;
/** What the ports read as, by which software finds them. */
const presence = 0xe9;

/** Ports that print a byte: Bochs' E9H and SeaBIOS' 402H. */
export class DebugConsole implements PortDevice {
  readonly ports: PortDevice["ports"];
  readonly #output: (byte: number) => void;

  /** @param withBochsPort E9H too; the testing device has a latch there */
  constructor(output: (byte: number) => void, withBochsPort: boolean) {
    this.#output = output;
    const first = withBochsPort
      ? [consolePorts.bochs, consolePorts.seabios]
      : [consolePorts.seabios];
    this.ports = first.map((port) => ({ first: port, count: 1, widest: 1 }));
  }

  readPort(): number {
    return presence;
  }

  writePort(_port: number, _size: number, value: number): void {
    this.#output(value);
  }
}
