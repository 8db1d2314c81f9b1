import type { LogicalProcessor } from "../cpu/logical-processor.ts";
import { readTimeStampCounter } from "../cpu/time-stamp-counter.ts";
import { endTurnBefore } from "../cpu/turn-end.ts";
import { lpOffset } from "../execution/lp-window.ts";

/**
 * The VMX-preemption timer: it counts down by one each time bit `shift` of the time-stamp counter changes, while the guest
 * runs, and stops at zero.
 */
export class PreemptionTimer {
  readonly #lp: LogicalProcessor;
  readonly #shift: bigint;
  /** Cycles of the counter to one of the timer. */
  readonly #tick: number;
  #isRunning = false;
  readonly #known = { deadline: 0, offsetLow: 0, offsetHigh: 0, isValid: false };
  /** Value of the counter's upper bits at which the timer is at zero; a number where the counter is the clock. */
  #zeroAt: number | bigint = 0;

  constructor(lp: LogicalProcessor, shift: number) {
    this.#lp = lp;
    this.#shift = BigInt(shift);
    this.#tick = 2 ** shift;
  }

  /** @param value u32 */
  start(value: number): void {
    this.#isRunning = true;
    const { state, clock } = this.#lp;
    const known = this.#known;
    known.offsetLow = state.read32(lpOffset.tscOffset);
    known.offsetHigh = state.readHigh32(lpOffset.tscOffset);
    // Mostly the counter is the clock, a number that does not need 64 bits.
    known.isValid = known.offsetLow === 0 && known.offsetHigh === 0;
    if (known.isValid) {
      const zeroAt = Math.floor(clock.now() / this.#tick) + value;
      known.deadline = zeroAt * this.#tick;
      this.#zeroAt = zeroAt;
    } else {
      this.#zeroAt = (readTimeStampCounter(this.#lp) >> this.#shift) + BigInt(value);
    }
    endTurnBefore(this.deadline, this.#lp.state, this.#lp.clock);
  }
  stop(): void {
    this.#isRunning = false;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }
  get hasExpired(): boolean {
    return this.#isRunning && this.#lp.clock.now() >= (this.deadline ?? 0);
  }
  /** What is left, u32. */
  get remaining(): number {
    const now = this.#lp.clock.now();
    return Math.max(0, Math.ceil(((this.deadline ?? now) - now) / this.#tick));
  }
  /** Clock value at which it reaches zero, which may be over; undefined when it does not run. */
  get deadline(): number | undefined {
    if (!this.#isRunning) {
      return undefined;
    }
    const { state } = this.#lp;
    const offsetLow = state.read32(lpOffset.tscOffset);
    const offsetHigh = state.readHigh32(lpOffset.tscOffset);
    const known = this.#known;
    // Asked for at every step of a machine in virtual time: the counter's distance from the clock hardly ever changes.
    if (!known.isValid || known.offsetLow !== offsetLow || known.offsetHigh !== offsetHigh) {
      const { clock } = this.#lp;
      const left = (BigInt(this.#zeroAt) << this.#shift) - readTimeStampCounter(this.#lp);
      known.deadline = clock.now() + (left > 0n ? Number(left) : 0);
      known.offsetLow = offsetLow;
      known.offsetHigh = offsetHigh;
      known.isValid = true;
    }
    return known.deadline;
  }
}
