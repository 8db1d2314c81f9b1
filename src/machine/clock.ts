import type { Clock } from "../cpu/ports.ts";

/** Both clocks count nanoseconds: a TSC of 1 GHz, so that times in traces and reports read as they are. */
export const clockFrequencyHz = 1_000_000_000;

/** A moment of the host's monotonic clock, the same on every thread: seconds and nanoseconds. */
export type HostMoment = readonly [number, number];

export const hostNow = (): HostMoment => process.hrtime();

/** The clock of a free-running machine: it follows the wall clock, and all threads agree on it. */
export class WallClock implements Clock {
  readonly frequencyHz = clockFrequencyHz;
  readonly #seconds: number;
  readonly #nanoseconds: number;

  /** @param start when the machine was reset */
  constructor([seconds, nanoseconds]: HostMoment) {
    this.#seconds = seconds;
    this.#nanoseconds = nanoseconds;
  }

  now(): number {
    const [seconds, nanoseconds] = process.hrtime();
    return (seconds - this.#seconds) * clockFrequencyHz + nanoseconds - this.#nanoseconds;
  }
}
