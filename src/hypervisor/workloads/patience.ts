import type { GuestKit } from "./guest-kit.ts";

/**
 * For how long a waiter goes on with its loop of PAUSE before it halts. A PAUSE-loop exit ends the operation that stands for the loop, and
 * not the loop: what is left of it comes when the vCPU runs again.
 */
export class Patience {
  readonly #kit: GuestKit;
  readonly #whole: number;
  #left: number;
  /** Of PAUSE-loop exiting, when the loop was last begun. */
  #window = 0;

  /** @param spins rounds of the loop */
  constructor(kit: GuestKit, spins: number) {
    this.#kit = kit;
    this.#whole = spins * kit.run.costs["operation.Pause"];
    this.#left = this.#whole;
  }

  /** @returns most cycles that the loop takes from here on */
  begin(): number {
    this.#window = this.#kit.vcpu.pauseWindow;
    return this.#left;
  }

  /** The loop has ended, and what was waited for is not there. @returns whether it is time to halt; then all begins anew */
  isOver(): boolean {
    this.#left -= this.#window > 0 ? this.#window : this.#left;
    if (this.#left > 0) return false;
    this.#left = this.#whole;
    return true;
  }
}
