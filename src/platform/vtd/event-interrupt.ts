import type { InterruptFabric } from "../../cpu/ports.ts";
import { msiInterrupt } from "../msi-message.ts";
import type { RegisterFile } from "./registers.ts";

/** Control register of an event, with its message behind it: data, address, upper address. */
const after = { data: 4, address: 8, addressHigh: 12 } as const;
const controlBit = { pending: 0x4000_0000, masked: 0x8000_0000 } as const;

/**
 * An interrupt of the unit itself: a message with a mask and a pending bit. The unit's messages are not remapped. An event that
 * meets the mask waits, until the mask is lifted or software has attended to all causes.
 */
export class EventInterrupt {
  readonly #registers: RegisterFile;
  readonly #fabric: InterruptFabric;
  readonly #control: number;
  readonly #isWide: () => boolean;

  /**
   * @param control offset of the control register
   * @param isWide destinations have 32 bits
   */
  constructor(
    registers: RegisterFile,
    fabric: InterruptFabric,
    control: number,
    isWide: () => boolean,
  ) {
    this.#registers = registers;
    this.#fabric = fabric;
    this.#control = control;
    this.#isWide = isWide;
  }

  reset(): void {
    this.#registers.set(this.#control, controlBit.masked);
  }

  raise(): void {
    const control = this.#registers.get(this.#control);
    if ((control & controlBit.masked) !== 0) {
      this.#registers.set(this.#control, control | controlBit.pending);
    } else {
      this.#send();
    }
  }

  /** No cause is left. */
  settle(): void {
    const control = this.#registers.get(this.#control);
    this.#registers.set(this.#control, control & ~controlBit.pending);
  }

  /** Software has written the control register. */
  writeControl(value: number): void {
    const pending = this.#registers.get(this.#control) & controlBit.pending;
    if ((value & controlBit.masked) !== 0) {
      this.#registers.set(this.#control, controlBit.masked | pending);
      return;
    }
    this.#registers.set(this.#control, 0);
    if (pending !== 0) {
      this.#send();
    }
  }

  #send(): void {
    const registers = this.#registers;
    const message = msiInterrupt(
      registers.get(this.#control + after.address),
      registers.get(this.#control + after.data),
      this.#isWide() ? registers.get(this.#control + after.addressHigh) : undefined,
    );
    if (message !== undefined) {
      this.#fabric.send(message);
    }
  }
}
