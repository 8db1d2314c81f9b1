import { TickRate } from "../base/tick-rate.ts";
import type { Clock } from "../cpu/ports.ts";
import type { Line, PortDevice, TimedDevice } from "./device.ts";
import { readTimeField, type TimeField, timeFields, writeTimeField } from "./rtc-time.ts";

const rtcPort = { index: 0x70, data: 0x71 } as const;

/** Registers of the clock; everything else is battery-backed memory. */
const register = {
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  alarmSecond: 1,
  alarmMinute: 3,
  alarmHour: 5,
} as const;
const registerA = { updating: 0x80, rateMask: 0x0f, writable: 0x7f, default: 0x26 } as const;
const registerB = {
  set: 0x80,
  periodic: 0x40,
  alarm: 0x20,
  updateEnded: 0x10,
  binary: 0x04,
  hours24: 0x02,
} as const;
const registerC = { interrupt: 0x80, periodic: 0x40, alarm: 0x20, updateEnded: 0x10 } as const;
const ramIsValid = 0x80;

const crystalHz = 32_768;
/** The update-in-progress flag rises 8 crystal periods, 244 microseconds, before each update. */
const updateTicks = 8;
const alarmDontCare = 0xc0;
const secondsPerDay = 86_400;

/** Memory cells that firmware fills in and software reads: the machine's size. */
const cell = {
  equipment: 0x14,
  baseMemory: 0x15,
  extendedMemory: 0x17,
  extendedMemoryFound: 0x30,
  memoryAbove16M: 0x34,
  processors: 0x5f,
} as const;

export interface RtcOptions {
  readonly clock: Clock;
  /** UTC at clock value 0, in whole seconds since 1970. */
  readonly epochSeconds: number;
  readonly ramBytes: number;
  readonly lpCount: number;
  readonly interrupt: Line;
}

/**
 * MC146818 clock and its 128 bytes of memory. The time is not counted: it is the clock plus an offset that writing the time
 * changes.
 */
export class Rtc implements PortDevice, TimedDevice {
  readonly ports = [{ first: rtcPort.index, count: 2, widest: 1 }] as const;
  readonly #options: RtcOptions;
  readonly #rate: TickRate;
  readonly #cells = new Uint8Array(128);
  /** Seconds since 1970 at clock value 0. */
  #offset: number;
  /** The time held while register B's SET bit is 1. */
  #held: number | undefined;
  #index = 0;
  #a: number = registerA.default;
  #b: number = registerB.hours24;
  #c = 0;
  #seenSecond = 0;
  #seenPeriod = 0;

  constructor(options: RtcOptions) {
    this.#options = options;
    this.#rate = new TickRate(options.clock.frequencyHz, crystalHz);
    this.#offset = options.epochSeconds;
    this.#fillCells();
  }

  /** Time and memory are kept: they run on a battery. */
  reset(): void {
    this.#index = 0;
    this.#b &= ~(registerB.periodic | registerB.alarm | registerB.updateEnded);
    this.#c = 0;
    this.#options.interrupt(false);
  }

  deadline(): number | undefined {
    const ticks: number[] = [];
    if (this.#b & (registerB.alarm | registerB.updateEnded)) {
      ticks.push((this.#seenSecond + 1) * crystalHz);
    }
    if (this.#b & registerB.periodic && this.#period > 0) {
      ticks.push((this.#seenPeriod + 1) * this.#period);
    }
    return ticks.length === 0 ? undefined : this.#rate.cycleAt(Math.min(...ticks));
  }

  /** Sets the flags of what has happened since the last look, and the interrupt line. */
  poll(now: number): void {
    const tick = this.#rate.tickAt(now);
    const second = Math.floor(tick / crystalHz);
    if (second > this.#seenSecond && this.#held === undefined) {
      this.#c |= registerC.updateEnded;
      if (this.#alarmWithin(this.#seenSecond + 1, second)) {
        this.#c |= registerC.alarm;
      }
    }
    this.#seenSecond = second;
    const period = this.#period > 0 ? Math.floor(tick / this.#period) : 0;
    if (period > this.#seenPeriod) {
      this.#c |= registerC.periodic;
    }
    this.#seenPeriod = period;
    this.#updateLine();
  }

  readPort(port: number): number {
    if (port === rtcPort.index) {
      return 0xff;
    }
    this.poll(this.#options.clock.now());
    return this.#read(this.#index);
  }

  writePort(port: number, _size: number, value: number): void {
    if (port === rtcPort.index) {
      this.#index = value & 0x7f;
      return;
    }
    this.poll(this.#options.clock.now());
    this.#write(this.#index, value);
    this.#updateLine();
  }

  #read(index: number): number {
    const field = timeFields.get(index);
    if (field !== undefined) {
      return readTimeField(field, this.#time(), this.#b);
    }
    switch (index) {
      case register.A:
        return this.#a | (this.#isUpdating() ? registerA.updating : 0);
      case register.B:
        return this.#b;
      case register.C: {
        const flags = this.#c;
        this.#c = 0;
        this.#updateLine();
        return flags;
      }
      case register.D:
        return ramIsValid;
      default:
        return this.#cells[index] ?? 0;
    }
  }

  #write(index: number, value: number): void {
    const field = timeFields.get(index);
    if (field !== undefined) {
      this.#writeTime(field, value);
      return;
    }
    switch (index) {
      case register.A:
        this.#a = value & registerA.writable;
        this.#seenPeriod = this.#period > 0 ? Math.floor(this.#tick() / this.#period) : 0;
        break;
      case register.B:
        this.#writeB(value);
        break;
      case register.C:
      case register.D:
        break;
      default:
        this.#cells[index] = value;
    }
  }

  /** SET stops the time where it is, and starts it from there. */
  #writeB(value: number): void {
    const wasSet = this.#held !== undefined;
    const isSet = (value & registerB.set) !== 0;
    if (isSet && !wasSet) {
      this.#held = this.#time();
    } else if (!isSet && this.#held !== undefined) {
      this.#offset = this.#held - this.#seconds();
      this.#held = undefined;
    }
    // Setting the time keeps the update interrupt from being asked for.
    this.#b = isSet ? value & ~registerB.updateEnded : value;
  }

  #writeTime(field: TimeField, value: number): void {
    const time = writeTimeField(field, this.#time(), value, this.#b);
    if (this.#held !== undefined) {
      this.#held = time;
    } else {
      this.#offset = time - this.#seconds();
    }
  }

  /** Does the alarm match one of the seconds `first` to `last` since reset? */
  #alarmWithin(first: number, last: number): boolean {
    for (let second = Math.max(first, last - secondsPerDay + 1); second <= last; second++) {
      if (this.#matchesAlarm(this.#offset + second)) {
        return true;
      }
    }
    return false;
  }

  #matchesAlarm(time: number): boolean {
    return alarmCells.every(([alarm, field]) => {
      const wanted = this.#cells[alarm] ?? 0;
      return (
        (wanted & alarmDontCare) === alarmDontCare || wanted === readTimeField(field, time, this.#b)
      );
    });
  }

  #updateLine(): void {
    const enabled = this.#b & (registerB.periodic | registerB.alarm | registerB.updateEnded);
    const wanted = (this.#c & enabled) !== 0;
    this.#c = wanted ? this.#c | registerC.interrupt : this.#c & ~registerC.interrupt;
    this.#options.interrupt(wanted);
  }

  /** Crystal periods between periodic interrupts; 0 for none. The two fastest rates are those of 8 and 9. */
  get #period(): number {
    const rate = this.#a & registerA.rateMask;
    if (rate === 0) {
      return 0;
    }
    return 1 << ((rate <= 2 ? rate + 7 : rate) - 1);
  }

  #isUpdating(): boolean {
    return this.#held === undefined && this.#tick() % crystalHz >= crystalHz - updateTicks;
  }

  #tick(): number {
    return this.#rate.tickAt(this.#options.clock.now());
  }
  #seconds(): number {
    return Math.floor(this.#tick() / crystalHz);
  }
  /** Seconds since 1970, as this clock shows them. */
  #time(): number {
    return this.#held ?? this.#offset + this.#seconds();
  }

  #fillCells(): void {
    const { ramBytes, lpCount } = this.#options;
    const kib = 1024;
    const above1M = Math.max(ramBytes - 1024 * kib, 0);
    const above16M = Math.max(ramBytes - 16 * 1024 * kib, 0);
    this.#cells[cell.equipment] = 0x02;
    this.#writeCell16(cell.baseMemory, 640);
    this.#writeCell16(cell.extendedMemory, Math.min(above1M / kib, 0xffff));
    this.#writeCell16(cell.extendedMemoryFound, Math.min(above1M / kib, 0xffff));
    this.#writeCell16(cell.memoryAbove16M, Math.min(above16M / (64 * kib), 0xffff));
    this.#cells[cell.processors] = lpCount - 1;
  }

  #writeCell16(index: number, value: number): void {
    this.#cells[index] = value & 0xff;
    this.#cells[index + 1] = value >>> 8;
  }
}

const alarmCells = [
  [register.alarmSecond, "second"],
  [register.alarmMinute, "minute"],
  [register.alarmHour, "hour"],
] as const;
