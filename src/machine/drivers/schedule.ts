import { Heap } from "../../base/heap.ts";
import type { Prng } from "../../base/prng.ts";
import { platformSource } from "../trace-target.ts";
import type { LpActor, LpStop, PlatformActor } from "./actors.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** Longest turn of an LP while others can run too, in instructions. The shorter, the finer the interleaving. */
const turnMax = 2000;
/** Longest turn of an LP that runs alone. */
const aloneTurnMax = 50_000;
/** How far the time of an LP may be ahead of the slowest one when it is chosen, in cycles. */
const lead = 4000;
const never = Number.POSITIVE_INFINITY;

/** One LP's place in virtual time. */
interface Turn {
  readonly index: number;
  readonly actor: LpActor;
  time: number;
  /** It can run now; else it rests until `wakeAt` or a message. */
  isReady: boolean;
  wakeAt: number;
  /** Cycles spent idle. */
  halted: number;
}

/**
 * What a step has led to: an LP had a turn, a device or an idle LP had its moment, or nobody can ever act again.
 */
export type StepResult =
  | { readonly type: "turn"; readonly lp: number; readonly stop: LpStop; readonly cycles: number }
  | { readonly type: "passed" }
  | { readonly type: "dead" };

export const passed = { type: "passed" } as const;
export const dead = { type: "dead" } as const;

/** Who acts when, in a deterministic machine. */
export interface MachineSchedule {
  /** Who acts, or did last: an LP's index, or the devices. */
  readonly acting: number;
  step(): StepResult;
  /** Cycles an LP has spent with nothing to do. */
  haltedCycles(lp: number): number;
  /** An LP has been sent something: if it waits, it goes on now. To be called for every message. */
  call(lp: number): void;
  /** The LP that acts has accessed a device: what that will do may come before the end of the turn. */
  deviceTouched(): void;
}

/**
 * The order of everything in a deterministic machine of machine code. At each step one of the LPs that are not too far ahead is chosen by
 * chance and runs a number of instructions chosen by chance, never past the next moment of a device or of a waiting LP.
 */
export class Schedule implements MachineSchedule {
  readonly #turns: readonly Turn[];
  /** Those that can run, in no order. */
  readonly #ready: Turn[];
  /** The others, by `wakeAt`. */
  readonly #waiting = new Heap<Turn>((turn) => turn.wakeAt);
  /** LPs that have been sent something, since the last step. */
  #called: number[] = [];
  readonly #platform: PlatformActor;
  readonly #clock: VirtualClock;
  readonly #prng: Prng;
  acting: number = platformSource;

  constructor(
    actors: readonly LpActor[],
    platform: PlatformActor,
    clock: VirtualClock,
    prng: Prng,
  ) {
    this.#turns = actors.map((actor, index) => ({
      index,
      actor,
      time: 0,
      isReady: true,
      wakeAt: never,
      halted: 0,
    }));
    this.#ready = [...this.#turns];
    this.#platform = platform;
    this.#clock = clock;
    this.#prng = prng;
  }

  haltedCycles(lp: number): number {
    return this.#turns[lp]?.halted ?? 0;
  }

  call(lp: number): void {
    this.#called.push(lp);
  }

  /** Turns are not so exact. */
  deviceTouched(): void {}

  step(): StepResult {
    if (this.#called.length > 0) this.#wakeCalled();
    const ready = this.#ready;
    if (ready.length === 0 && this.#turns.every((turn) => turn.actor.isDeaf)) return dead;
    const moment = Math.min(this.#platform.nextDeadline() ?? never, this.#waiting.least);
    let front = never;
    for (const { time } of ready) front = Math.min(front, time);
    if (moment <= front) {
      if (moment === never) return dead;
      this.#passMoment(moment);
      return passed;
    }
    const limit = front + lead;
    const near = ready.filter(({ time }) => time <= limit && time < moment);
    const turn = near[this.#prng.below(near.length)];
    if (turn === undefined) return dead;
    return this.#take(turn, moment, ready.length === 1);
  }

  #take(turn: Turn, end: number, alone: boolean): StepResult {
    const { actor, index } = turn;
    const limit = alone ? aloneTurnMax : turnMax;
    const deadline = Math.min(end, actor.wakeDeadline() ?? never);
    const budget = Math.max(1, Math.min(1 + this.#prng.below(limit), deadline - turn.time));
    const before = turn.time;
    this.acting = index;
    this.#clock.enter(actor, before);
    const stop = actor.run(budget);
    turn.time = this.#clock.leave();
    if (stop === "idle") this.#rest(turn);
    // Events can take a turn without an instruction; time must not stand still, or two LPs could keep each other busy for ever.
    if (turn.time === before && stop === "budget") turn.time += 1;
    return { type: "turn", lp: index, stop, cycles: turn.time - before };
  }

  #rest(turn: Turn): void {
    turn.isReady = false;
    turn.wakeAt = turn.actor.wakeDeadline() ?? never;
    this.#ready.splice(this.#ready.indexOf(turn), 1);
    this.#waiting.add(turn);
    // What came during its last instructions is not to be slept over.
    if (turn.actor.isCalled) this.#called.push(turn.index);
  }

  /** An LP that waits and has been sent something goes on at the time of the sending. */
  #wakeCalled(): void {
    const called = this.#called;
    this.#called = [];
    for (const lp of called) {
      const turn = this.#turns[lp];
      if (turn === undefined || turn.isReady || !turn.actor.isCalled) continue;
      this.#waiting.remove(turn);
      this.#wake(turn, this.#clock.now());
    }
  }

  #wake(turn: Turn, time: number): void {
    const from = turn.time;
    turn.time = Math.max(from, time);
    turn.halted += turn.time - from;
    turn.isReady = true;
    turn.wakeAt = never;
    this.#ready.push(turn);
  }

  #passMoment(moment: number): void {
    this.acting = platformSource;
    this.#clock.moveTo(moment);
    if ((this.#platform.nextDeadline() ?? never) <= moment) this.#platform.advance();
    while (this.#waiting.least <= moment) {
      const turn = this.#waiting.take();
      if (turn !== undefined) this.#wake(turn, moment);
    }
  }
}
