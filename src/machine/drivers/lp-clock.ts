import { availableParallelism } from "node:os";
import { type HostMoment, WallClock } from "../clock.ts";
import type { ControlRegion } from "../control-region.ts";

/** PAUSEs that a waiting loop is given before its thread lets others run, and for how long it does, in milliseconds. */
const pausesPerRest = 64;
const restMs = 0.05;

/**
 * The wall clock as an LP on a thread of its own has it. When there are more LPs than the host has processors, a loop of PAUSE would
 * use up the time slice that the LP it waits for, or the platform that serves that one, is in need of.
 */
export class LpClock extends WallClock {
  readonly #control: ControlRegion;
  readonly #index: number;
  readonly #isCrowded: boolean;
  #pauses = 0;

  constructor(start: HostMoment, control: ControlRegion, index: number) {
    super(start);
    this.#control = control;
    this.#index = index;
    this.#isCrowded = control.layout.lpCount > availableParallelism();
  }

  relax(): void {
    if (!this.#isCrowded) return;
    this.#pauses += 1;
    if (this.#pauses % pausesPerRest === 0) this.rest();
  }

  /** Whatever is pending ends it at once. */
  rest(): void {
    this.#control.awaitPending(this.#index, restMs);
  }
}
