import type { TickRate } from "../../base/tick-rate.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import type { LpState } from "../lp-state.ts";
import type { ApicPage } from "./apic-page.ts";
import { ApicPrivate, ApicRegister, lvt, TimerMode } from "./registers.ts";

const stopped = -1;

/**
 * The APIC timer, evaluated only when somebody looks: while it counts, all that is kept is the tick at which the count
 * reaches zero. Ticks are numbered from the machine's reset; `rate` gives ticks before the divider in clock cycles.
 */
export class ApicTimer {
  readonly #page: ApicPage;
  readonly #state: LpState;
  readonly #rate: TickRate;

  constructor(page: ApicPage, state: LpState, rate: TickRate) {
    this.#page = page;
    this.#state = state;
    this.#rate = rate;
  }

  reset(): void {
    this.#expiry = stopped;
    this.#state.set("tscDeadline", 0n);
  }

  /**
   * Lets time pass up to `now`.
   * @returns true when the count reached zero (or the TSC its deadline) since the last look
   */
  advance(now: number): boolean {
    if (this.#mode() === TimerMode.TscDeadline) {
      return this.#advanceDeadline(now);
    }
    const expiry = this.#expiry;
    const tick = this.#rate.tickAt(now);
    if (expiry < 0 || tick < expiry) {
      return false;
    }
    const period = this.#initialCount() * this.#divisor();
    this.#expiry =
      this.#mode() === TimerMode.Periodic && period > 0
        ? expiry + period * (Math.floor((tick - expiry) / period) + 1)
        : stopped;
    return true;
  }

  /** Clock value of the next expiry, undefined when none is to come. */
  nextExpiry(): number | undefined {
    if (this.#mode() === TimerMode.TscDeadline) {
      const state = this.#state;
      const low = state.read32(lpOffset.tscDeadline);
      const high = state.readHigh32(lpOffset.tscDeadline);
      if (low === 0 && high === 0) return undefined;
      const isShifted =
        state.read32(lpOffset.tscOffset) !== 0 || state.readHigh32(lpOffset.tscOffset) !== 0;
      // Asked for at every step of a machine in virtual time: mostly the counter is the clock.
      const isPlain = !isShifted && high < 2 ** 21;
      return isPlain ? high * 2 ** 32 + low : this.#cycleOfTsc(state.get("tscDeadline"));
    }
    return this.#expiry < 0 ? undefined : this.#rate.cycleAt(this.#expiry);
  }

  /** Current count; `advance` has been called for `now`. */
  currentCount(now: number): number {
    if (this.#expiry < 0 || this.#mode() === TimerMode.TscDeadline) {
      return 0;
    }
    return Math.ceil((this.#expiry - this.#rate.tickAt(now)) / this.#divisor());
  }

  /** A write of the initial count starts the count, or stops it when zero; it is lost in TSC-deadline mode. */
  start(count: number, now: number): void {
    if (this.#mode() === TimerMode.TscDeadline) {
      return;
    }
    this.#page.write(ApicRegister.InitialCount, count);
    this.#expiry = count === 0 ? stopped : this.#rate.tickAt(now) + count * this.#divisor();
  }

  /** A write of the divide configuration: the count goes on from where it is, at the new rate. */
  setDivide(configuration: number, now: number): void {
    const count = this.currentCount(now);
    this.#page.write(ApicRegister.DivideConfiguration, configuration);
    if (this.#expiry >= 0) {
      this.#expiry = this.#rate.tickAt(now) + count * this.#divisor();
    }
  }

  /** A write of the timer's LVT: going to or from TSC-deadline mode disarms the timer, any other change leaves it running. */
  modeChanged(oldEntry: number, newEntry: number): void {
    const wasDeadline = timerMode(oldEntry) === TimerMode.TscDeadline;
    if (wasDeadline !== (timerMode(newEntry) === TimerMode.TscDeadline)) {
      this.reset();
      this.#page.write(ApicRegister.InitialCount, 0);
    }
  }

  /** IA32_TSC_DEADLINE; zero outside TSC-deadline mode, where writes are lost. */
  get deadlineRegister(): bigint {
    return this.#state.get("tscDeadline");
  }
  set deadlineRegister(value: bigint) {
    if (this.#mode() === TimerMode.TscDeadline) {
      this.#state.set("tscDeadline", value);
    }
  }

  #advanceDeadline(now: number): boolean {
    const expiry = this.nextExpiry();
    if (expiry === undefined || now < expiry) {
      return false;
    }
    this.#state.set("tscDeadline", 0n);
    return true;
  }

  /** Clock value at which this LP's TSC shows `tsc`. A value that the clock cannot reach is its largest. */
  #cycleOfTsc(tsc: bigint): number {
    const offset = BigInt.asIntN(64, this.#state.get("tscOffset"));
    return Math.min(Math.max(Number(tsc - offset), 0), Number.MAX_SAFE_INTEGER);
  }

  #mode(): number {
    return timerMode(this.#page.read(ApicRegister.LvtTimer));
  }
  #initialCount(): number {
    return this.#page.read(ApicRegister.InitialCount);
  }
  #divisor(): number {
    return divisor(this.#page.read(ApicRegister.DivideConfiguration));
  }
  get #expiry(): number {
    return this.#page.readFloat(ApicPrivate.timerExpiry);
  }
  set #expiry(tick: number) {
    this.#page.writeFloat(ApicPrivate.timerExpiry, tick);
  }
}

const timerMode = (entry: number): number => (entry >>> lvt.timerModeShift) & lvt.timerModeMask;

/** Divide configuration bits 3, 1 and 0 to divisor: 2, 4, 8 … 128, and 1 for all ones. */
export function divisor(configuration: number): number {
  const code = ((configuration >>> 1) & 4) | (configuration & 3);
  return code === 7 ? 1 : 2 << code;
}
