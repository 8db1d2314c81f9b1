import { assert } from "../../base/assert.ts";
import type { Clock } from "../../cpu/ports.ts";
import { clockFrequencyHz } from "../clock.ts";
import { type CycleCosts, defaultCycleCosts } from "../cycle-costs.ts";
import type { LpActor } from "./actors.ts";

/**
 * The clock of a deterministic machine. Each LP has its own time, which grows with what it does; the clock shows the time of
 * whoever is acting. LPs act in turns, so their times differ by up to a turn: the clock never shows less than it has shown
 * before, or a message could arrive before it was sent.
 */
export class VirtualClock implements Clock {
  readonly frequencyHz = clockFrequencyHz;
  readonly #costs: CycleCosts;
  #start = 0;
  #retiredAtStart = 0;
  #charged = 0;
  #actor: LpActor | undefined;
  #end = Number.POSITIVE_INFINITY;
  /** The same, also when it has been reached; infinity: the turn is not to be strict. */
  #turnEnd = Number.POSITIVE_INFINITY;
  #latest = 0;

  constructor(costs: CycleCosts = defaultCycleCosts) {
    this.#costs = costs;
  }

  now(): number {
    const time = this.#actorTime();
    // Turns end in the order of their times: each may see its own.
    if (this.#isStrict) return time;
    if (time > this.#latest) this.#latest = time;
    return this.#latest;
  }

  /**
   * From here on the clock runs with what `actor` does, from its own time.
   * @param end when what it is charged for takes it here, its turn is over
   */
  enter(actor: LpActor, time: number, end = Number.POSITIVE_INFINITY): void {
    this.#actor = actor;
    this.#end = end;
    this.#turnEnd = end;
    this.#start = time;
    this.#retiredAtStart = actor.retired;
    this.#charged = 0;
  }

  /** Something else can act at `time`: a turn that is to be strict ends there, if not before. */
  endBy(time: number): void {
    if (this.#actor === undefined || !this.#isStrict || time >= this.#end) return;
    this.#end = time;
    this.#turnEnd = time;
    this.pass(0);
  }
  endsTurnBy(time: number): boolean {
    return this.#isStrict && time >= this.#turnEnd;
  }
  get #isStrict(): boolean {
    return this.#turnEnd !== Number.POSITIVE_INFINITY;
  }

  /** The actor's turn is over. @returns its time now */
  leave(): number {
    const time = this.#actorTime();
    this.#actor = undefined;
    this.#start = time;
    this.#charged = 0;
    return time;
  }

  /** Nobody acts and time passes: a device's moment. */
  moveTo(time: number): void {
    assert(this.#actor === undefined, "clock moved in the middle of a turn");
    this.#start = time;
    this.#charged = 0;
  }

  /** Adds the cost of what the actor is doing. */
  charge(operation: keyof CycleCosts, times = 1): void {
    this.pass(this.#costs[operation] * times);
  }

  pass(cycles: number): void {
    this.#charged += cycles;
    if (this.#end !== Number.POSITIVE_INFINITY && this.#actorTime() >= this.#end) {
      this.#actor?.endTurn?.();
      this.#end = Number.POSITIVE_INFINITY;
    }
  }

  #actorTime(): number {
    const actor = this.#actor;
    const retired = actor === undefined ? 0 : actor.retired - this.#retiredAtStart;
    return this.#start + retired * this.#costs.instruction + this.#charged;
  }
}
