import type { MmioDevice, PortDevice } from "./device.ts";

/** Ports: a latch for accesses of any width, one that splits them into bytes, the interrupt lines. */
const testPort = { latch: 0xe0, flush: 0xe4, byteLatch: 0xe8, lines: 0x2000 } as const;
const latchBytes = 4;
const lineCount = 24;
const windowStart = 0xff00_0000;
const windowBytes = 0x1_0000;

/**
 * The testing device of kvm-unit-tests: 4 latched port bytes, 64 KiB of memory behind MMIO, and a port per interrupt line
 * that sets the line's level.
 */
export class TestDevice implements PortDevice, MmioDevice {
  readonly ports = [
    { first: testPort.latch, count: latchBytes, widest: 4 },
    { first: testPort.flush, count: 1, widest: 4 },
    { first: testPort.byteLatch, count: latchBytes, widest: 1 },
    { first: testPort.lines, count: lineCount, widest: 1 },
  ] as const;
  readonly mmio = [{ start: windowStart, bytes: windowBytes }];
  readonly #setLine: (line: number, high: boolean) => void;
  readonly #latch = new Uint8Array(latchBytes);
  readonly #window = new DataView(new ArrayBuffer(windowBytes));

  constructor(setLine: (line: number, high: boolean) => void) {
    this.#setLine = setLine;
  }

  readPort(port: number, size: number): number {
    if (port >= testPort.lines || (port >= testPort.flush && port < testPort.byteLatch)) {
      return 0;
    }
    let value = 0;
    for (let n = 0; n < size; n++) {
      value |= (this.#latch[(port + n) % latchBytes] ?? 0) << (8 * n);
    }
    return value >>> 0;
  }

  /** The flush port makes a host hypervisor drop its mapping of a page; nothing is mapped lazily here. */
  writePort(port: number, size: number, value: number): void {
    if (port >= testPort.lines) {
      this.#setLine(port - testPort.lines, value !== 0);
    } else if (port < testPort.flush || port >= testPort.byteLatch) {
      for (let n = 0; n < size; n++) {
        this.#latch[(port + n) % latchBytes] = value >>> (8 * n);
      }
    }
  }

  readMmio(address: number, size: number): number {
    const offset = address - windowStart;
    switch (size) {
      case 1:
        return this.#window.getUint8(offset);
      case 2:
        return this.#window.getUint16(offset, true);
      default:
        return this.#window.getUint32(offset, true);
    }
  }

  writeMmio(address: number, size: number, value: number): void {
    const offset = address - windowStart;
    switch (size) {
      case 1:
        this.#window.setUint8(offset, value);
        break;
      case 2:
        this.#window.setUint16(offset, value, true);
        break;
      default:
        this.#window.setUint32(offset, value, true);
    }
  }
}
