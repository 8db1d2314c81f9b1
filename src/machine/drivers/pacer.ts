import { turnSecondsMax } from "../../cpu/turn-end.ts";

const budgetMin = 200;
const budgetMax = 2_000_000;

/**
 * Says how many instructions an LP may run before its driver looks at the clock again: about a millisecond's worth at the
 * speed it has shown, and no further than its next deadline.
 */
export class Pacer {
  readonly #runCycles: number;
  /** Instructions per cycle; a guess until something has been seen. */
  #speed = 0.05;

  constructor(frequencyHz: number) {
    this.#runCycles = turnSecondsMax * frequencyHz;
  }

  budget(now: number, deadline: number | undefined): number {
    const cycles = Math.min(
      this.#runCycles,
      deadline === undefined ? this.#runCycles : deadline - now,
    );
    return Math.max(budgetMin, Math.min(budgetMax, Math.round(cycles * this.#speed)));
  }

  /** A run has retired `instructions` in `cycles`. Short runs say little of the speed. */
  observe(instructions: number, cycles: number): void {
    if (instructions < budgetMin || cycles <= 0) return;
    const speed = instructions / cycles;
    // Slow down at once, speed up by degrees: a run too long is worse than two too short.
    this.#speed = speed < this.#speed ? speed : this.#speed + (speed - this.#speed) / 4;
  }
}
