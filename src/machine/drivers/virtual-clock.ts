import { assert } from "../../base/assert.ts";
import type { Clock } from "../../cpu/ports.ts";
import { clockFrequencyHz } from "../clock.ts";
import type { LpActor } from "./actors.ts";

/** Virtual time, in cycles of the TSC. An estimate of a processor of about 1 GHz, good for orders, not for predictions. */
const cycleCosts = {
  instruction: 1,
  /** A port or memory-mapped access that goes to a device. */
  deviceAccess: 400,
  vmEntry: 500,
  vmExit: 700,
  /** Delivery of an exception or interrupt through the IDT. */
  eventDelivery: 100,
  /** WBINVD and its like. */
  cacheFlush: 100_000,
  /** An INIT, SIPI, NMI or fixed interrupt put on the bus. */
  interruptSent: 300,
} as const;

/**
 * The clock of a deterministic machine. Each LP has its own time, which grows with what it does; the clock shows the time of
 * whoever is acting. LPs act in turns, so their times differ by up to a turn: the clock never shows less than it has shown
 * before, or a message could arrive before it was sent.
 */
export class VirtualClock implements Clock {
  readonly frequencyHz = clockFrequencyHz;
  #start = 0;
  #retiredAtStart = 0;
  #charged = 0;
  #actor: LpActor | undefined;
  #latest = 0;

  now(): number {
    const time = this.#actorTime();
    if (time > this.#latest) this.#latest = time;
    return this.#latest;
  }

  /** From here on the clock runs with what `actor` does, from its own time. */
  enter(actor: LpActor, time: number): void {
    this.#actor = actor;
    this.#start = time;
    this.#retiredAtStart = actor.retired;
    this.#charged = 0;
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
  charge(operation: keyof typeof cycleCosts, times = 1): void {
    this.#charged += cycleCosts[operation] * times;
  }

  #actorTime(): number {
    const actor = this.#actor;
    const retired = actor === undefined ? 0 : actor.retired - this.#retiredAtStart;
    return this.#start + retired * cycleCosts.instruction + this.#charged;
  }
}
