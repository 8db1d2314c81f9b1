import type { PortDevice } from "./device.ts";
import type { ExitSink } from "./exit-request.ts";

const debugExitPort = 0xf4;

/** isa-debug-exit: a write of v ends the machine with exit status 2v + 1. */
export class DebugExit implements PortDevice {
  readonly ports = [{ first: debugExitPort, count: 4, widest: 4 }] as const;
  readonly #exit: ExitSink;

  constructor(exit: ExitSink) {
    this.#exit = exit;
  }

  readPort(): number {
    return 0;
  }

  writePort(_port: number, _size: number, value: number): void {
    this.#exit({ type: "debug-exit", status: ((value << 1) | 1) >>> 0 });
  }
}
