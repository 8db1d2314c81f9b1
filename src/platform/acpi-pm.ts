import { TickRate } from "../base/tick-rate.ts";
import type { Clock } from "../cpu/ports.ts";
import type { Line, PortDevice, TimedDevice } from "./device.ts";
import type { ExitSink } from "./exit-request.ts";

/** Register blocks, as the FADT gives them to software. */
export const acpiPmPort = { event: 0x600, control: 0x604, timer: 0x608 } as const;
/** Where older chipsets have the control register; software without ACPI tables tries it to power off. */
const oldControlPort = 0xb004;

export const pmTimerFrequencyHz = 3_579_545;
/** Sleep type of the soft-off state, the first element of the \_S5 package. */
export const softOffSleepType = 0;

const event = { timer: 1 << 0 } as const;
const control = {
  sciEnable: 1 << 0,
  sleepTypeShift: 10,
  sleepEnable: 1 << 13,
  writable: 0x1c02,
} as const;
/** The timer status bit is set when the highest bit of the 32-bit timer changes. */
const timerHalf = 2 ** 31;

/** ACPI fixed hardware: event and control registers, always in ACPI mode, and the PM timer. */
export class AcpiPm implements PortDevice, TimedDevice {
  readonly ports = [
    { first: acpiPmPort.event, count: 6, widest: 2 },
    { first: acpiPmPort.timer, count: 4, widest: 4 },
    { first: oldControlPort, count: 2, widest: 2 },
  ] as const;
  readonly #clock: Clock;
  readonly #rate: TickRate;
  readonly #interrupt: Line;
  readonly #exit: ExitSink;
  #status = 0;
  #enable = 0;
  #control = 0;
  #seenHalf = 0;

  /** @param interrupt the SCI, level-triggered */
  constructor(clock: Clock, interrupt: Line, exit: ExitSink) {
    this.#clock = clock;
    this.#rate = new TickRate(clock.frequencyHz, pmTimerFrequencyHz);
    this.#interrupt = interrupt;
    this.#exit = exit;
  }

  reset(): void {
    this.#status = 0;
    this.#enable = 0;
    this.#control = 0;
    this.#update();
  }

  deadline(): number | undefined {
    return this.#enable & event.timer
      ? this.#rate.cycleAt((this.#seenHalf + 1) * timerHalf)
      : undefined;
  }

  poll(now: number): void {
    const half = Math.floor(this.#rate.tickAt(now) / timerHalf);
    if (half > this.#seenHalf) {
      this.#seenHalf = half;
      this.#status |= event.timer;
      this.#update();
    }
  }

  readPort(port: number, size: number): number {
    this.poll(this.#clock.now());
    if (port >= acpiPmPort.timer && port < acpiPmPort.timer + 4) {
      const timer = this.#rate.tickAt(this.#clock.now()) % 2 ** 32;
      return (timer >>> (8 * (port - acpiPmPort.timer))) >>> 0;
    }
    const value = this.#register(port & ~1);
    return size === 1 && port & 1 ? value >>> 8 : value;
  }

  /** Only whole registers are written; the timer cannot be. */
  writePort(port: number, size: number, value: number): void {
    this.poll(this.#clock.now());
    if (size === 1) {
      this.#writeByte(port, value);
    } else {
      this.#write(port, value);
    }
  }

  #register(port: number): number {
    switch (port) {
      case acpiPmPort.event:
        return this.#status;
      case acpiPmPort.event + 2:
        return this.#enable;
      default:
        return this.#control | control.sciEnable;
    }
  }

  /** Status bits are cleared by writing ones, so a byte write leaves the other byte's alone. */
  #writeByte(port: number, value: number): void {
    const register = port & ~1;
    const shift = (port & 1) * 8;
    const rest = register === acpiPmPort.event ? 0 : this.#register(register) & (0xff00 >>> shift);
    this.#write(register, rest | (value << shift));
  }

  #write(port: number, value: number): void {
    switch (port) {
      case acpiPmPort.event:
        this.#status &= ~value;
        break;
      case acpiPmPort.event + 2:
        this.#enable = value & event.timer;
        break;
      case acpiPmPort.control:
      case oldControlPort:
        this.#writeControl(value);
        break;
      default:
    }
    this.#update();
  }

  #writeControl(value: number): void {
    this.#control = value & control.writable;
    const sleepType = (value >>> control.sleepTypeShift) & 7;
    if (value & control.sleepEnable && sleepType === softOffSleepType) {
      this.#exit({ type: "power-off" });
    }
  }

  #update(): void {
    this.#interrupt((this.#status & this.#enable) !== 0);
  }
}
