import type { PortDevice } from "./device.ts";
import type { ExitSink } from "./exit-request.ts";

const systemControlPort = 0x92;
const systemControl = { fastReset: 0x01, a20: 0x02, writable: 0xdb } as const;

/** System control port A: a change of bit 0 to 1 resets the processors; bit 1 gates A20, which is always open. */
export class SystemControlPort implements PortDevice {
  readonly ports = [{ first: systemControlPort, count: 1, widest: 1 }] as const;
  readonly #exit: ExitSink;
  #value: number = systemControl.a20;

  constructor(exit: ExitSink) {
    this.#exit = exit;
  }

  reset(): void {
    this.#value = systemControl.a20;
  }

  readPort(): number {
    return this.#value;
  }

  writePort(_port: number, _size: number, value: number): void {
    const rises = (value & ~this.#value & systemControl.fastReset) !== 0;
    this.#value = (value & systemControl.writable) | systemControl.a20;
    if (rises) {
      this.#exit({ type: "reset", soft: true });
    }
  }
}

const resetControlPort = 0xcf9;
const resetControl = { hard: 0x02, reset: 0x04, full: 0x08 } as const;

/** The chipset's reset control register: bit 2, when it becomes 1, resets what bits 1 and 3 say. */
export class ResetControl implements PortDevice {
  readonly ports = [{ first: resetControlPort, count: 1, widest: 1 }] as const;
  readonly #exit: ExitSink;
  #value = 0;

  constructor(exit: ExitSink) {
    this.#exit = exit;
  }

  reset(): void {
    this.#value = 0;
  }

  readPort(): number {
    return this.#value;
  }

  writePort(_port: number, _size: number, value: number): void {
    const rises = (value & ~this.#value & resetControl.reset) !== 0;
    this.#value = value & (resetControl.hard | resetControl.full);
    if (rises) {
      this.#exit({ type: "reset", soft: (value & resetControl.hard) === 0 });
    }
  }
}
