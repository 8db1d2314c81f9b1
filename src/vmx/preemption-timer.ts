import type { LogicalProcessor } from "../cpu/logical-processor.ts";
import { readTimeStampCounter } from "../cpu/time-stamp-counter.ts";

/**
 * The VMX-preemption timer: it counts down by one each time bit `shift` of the time-stamp counter changes, while the guest
 * runs, and stops at zero.
 */
export class PreemptionTimer {
  readonly #lp: LogicalProcessor;
  readonly #shift: bigint;
  #isRunning = false;
  /** Value of the counter's upper bits at which the timer is at zero. */
  #zeroAt = 0n;

  constructor(lp: LogicalProcessor, shift: number) {
    this.#lp = lp;
    this.#shift = BigInt(shift);
  }

  /** @param value u32 */
  start(value: number): void {
    this.#isRunning = true;
    this.#zeroAt = this.#now() + BigInt(value);
  }
  stop(): void {
    this.#isRunning = false;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }
  get hasExpired(): boolean {
    return this.#isRunning && this.#now() >= this.#zeroAt;
  }
  /** What is left, u32. */
  get remaining(): number {
    const left = this.#zeroAt - this.#now();
    return left > 0n ? Number(left) : 0;
  }
  /** Clock value at which it reaches zero; undefined when it does not run. */
  get deadline(): number | undefined {
    if (!this.#isRunning) {
      return undefined;
    }
    const counter = readTimeStampCounter(this.#lp);
    const left = (this.#zeroAt << this.#shift) - counter;
    return this.#lp.clock.now() + (left > 0n ? Number(left) : 0);
  }

  #now(): bigint {
    return readTimeStampCounter(this.#lp) >> this.#shift;
  }
}
