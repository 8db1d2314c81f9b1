import { TickRate } from "../base/tick-rate.ts";
import type { Clock } from "../cpu/ports.ts";
import type { Line, PortDevice, TimedDevice } from "./device.ts";
import { CounterMode, PitCounter } from "./pit-counter.ts";

export const pitFrequencyHz = 1_193_182;

const pitPort = {
  counter0: 0x40,
  counter1: 0x41,
  counter2: 0x42,
  control: 0x43,
  gate: 0x61,
} as const;

/** Control word. */
const readBack = 3;
const readBackBit = { skipCount: 0x20, skipStatus: 0x10 } as const;

/** Port 61H. Bit 4 changes with every refresh request of the original machine, about each 15 microseconds. */
const gateBit = { gate2: 0x01, speaker: 0x02, refresh: 0x10, output2: 0x20 } as const;
const refreshTicks = 18;

/** The 8254 and the port that gates its counter 2. Counter 0 drives the timer interrupt, counter 2 the speaker. */
export class Pit implements PortDevice, TimedDevice {
  readonly ports = [
    { first: pitPort.counter0, count: 4, widest: 1 },
    { first: pitPort.gate, count: 1, widest: 1 },
  ] as const;
  readonly #clock: Clock;
  readonly #rate: TickRate;
  readonly #interrupt: Line;
  #counters = newCounters();
  #speaker = 0;
  /** Tick up to which counter 0's output has been passed on. */
  #seen = 0;

  constructor(clock: Clock, interrupt: Line) {
    this.#clock = clock;
    this.#rate = new TickRate(clock.frequencyHz, pitFrequencyHz);
    this.#interrupt = interrupt;
  }

  reset(): void {
    this.#counters = newCounters();
    this.#counter(2).setGate(false, 0);
    this.#speaker = 0;
    this.#seen = this.#now();
    this.#interrupt(false);
  }

  /** What a PC's firmware leaves: counter 0 at its slowest, 18.2 Hz, in mode 3. */
  initializeAsFirmware(): void {
    this.writePort(pitPort.control, 1, (3 << 4) | (CounterMode.SquareWave << 1));
    this.writePort(pitPort.counter0, 1, 0);
    this.writePort(pitPort.counter0, 1, 0);
  }

  deadline(): number | undefined {
    const tick = this.#counter(0).nextRise(this.#seen);
    return tick === undefined ? undefined : this.#rate.cycleAt(tick);
  }

  /** Passes counter 0's rising edges on; those that nobody looked at in time merge into one. */
  poll(now: number): void {
    const tick = this.#rate.tickAt(now);
    const rise = this.#counter(0).nextRise(this.#seen);
    if (rise !== undefined && rise <= tick) {
      this.#interrupt(false);
      this.#interrupt(true);
    }
    this.#seen = tick;
    this.#interrupt(this.#counter(0).output(tick));
  }

  readPort(port: number): number {
    const tick = this.#now();
    switch (port) {
      case pitPort.gate:
        return this.#readGate(tick);
      case pitPort.control:
        return 0xff;
      default:
        return this.#counter(port - pitPort.counter0).read(tick);
    }
  }

  writePort(port: number, _size: number, value: number): void {
    this.poll(this.#clock.now());
    const tick = this.#seen;
    switch (port) {
      case pitPort.gate:
        this.#speaker = value & (gateBit.gate2 | gateBit.speaker);
        this.#counter(2).setGate((value & gateBit.gate2) !== 0, tick);
        break;
      case pitPort.control:
        this.#writeControl(value, tick);
        break;
      default:
        this.#counter(port - pitPort.counter0).write(value, tick);
    }
    this.#interrupt(this.#counter(0).output(tick));
  }

  #writeControl(value: number, tick: number): void {
    const select = value >>> 6;
    if (select !== readBack) {
      this.#counter(select).writeControl(value, tick);
      return;
    }
    for (const [n, counter] of this.#counters.entries()) {
      if (value & (2 << n)) {
        counter.latch(
          (value & readBackBit.skipCount) === 0,
          (value & readBackBit.skipStatus) === 0,
          tick,
        );
      }
    }
  }

  #readGate(tick: number): number {
    return (
      this.#speaker |
      (Math.floor(tick / refreshTicks) & 1 ? gateBit.refresh : 0) |
      (this.#counter(2).output(tick) ? gateBit.output2 : 0)
    );
  }

  #now(): number {
    return this.#rate.tickAt(this.#clock.now());
  }

  #counter(n: number): PitCounter {
    return this.#counters[n === 0 || n === 1 ? n : 2];
  }
}

function newCounters(): readonly [PitCounter, PitCounter, PitCounter] {
  return [new PitCounter(), new PitCounter(), new PitCounter()];
}
