import type { Prng } from "../../base/prng.ts";
import { platformSource } from "../trace-target.ts";
import type { LpActor, LpStop, PlatformActor } from "./actors.ts";
import type { VirtualClock } from "./virtual-clock.ts";

export interface ScheduleOptions {
  /** Longest turn of an LP while others can run too, in instructions. The shorter, the finer the interleaving. */
  readonly turnMax: number;
  /** Longest turn of an LP that runs alone. */
  readonly aloneTurnMax: number;
  /** How far the time of an LP may be ahead of the slowest one when it is chosen, in cycles. */
  readonly lead: number;
}

export const defaultSchedule: ScheduleOptions = { turnMax: 2000, aloneTurnMax: 50_000, lead: 4000 };

/** One LP's place in virtual time. */
interface Turn {
  readonly index: number;
  readonly actor: LpActor;
  time: number;
  idle: boolean;
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

const passed = { type: "passed" } as const;
const dead = { type: "dead" } as const;

/**
 * The order of everything in a deterministic machine. At each step one of the LPs that are not too far ahead is chosen by
 * chance and runs a number of instructions chosen by chance, never past the next moment of a device or of an idle LP.
 */
export class Schedule {
  readonly #turns: readonly Turn[];
  readonly #platform: PlatformActor;
  readonly #clock: VirtualClock;
  readonly #prng: Prng;
  readonly #options: ScheduleOptions;
  /** Who acts, or did last: an LP's index, or the devices. */
  acting: number = platformSource;

  constructor(
    actors: readonly LpActor[],
    platform: PlatformActor,
    clock: VirtualClock,
    prng: Prng,
    options: ScheduleOptions = defaultSchedule,
  ) {
    this.#turns = actors.map((actor, index) => ({ index, actor, time: 0, idle: false, halted: 0 }));
    this.#platform = platform;
    this.#clock = clock;
    this.#prng = prng;
    this.#options = options;
  }

  /** Cycles an LP has spent with nothing to do. */
  haltedCycles(lp: number): number {
    return this.#turns[lp]?.halted ?? 0;
  }

  step(): StepResult {
    this.#wakeCalled();
    const ready = this.#turns.filter((turn) => !turn.idle);
    if (ready.length === 0 && this.#turns.every((turn) => turn.actor.isDeaf)) return dead;
    const front = ready.reduce(
      (least, turn) => Math.min(least, turn.time),
      Number.POSITIVE_INFINITY,
    );
    const moment = this.#nextMoment();
    if (moment <= front) {
      if (moment === Number.POSITIVE_INFINITY) return dead;
      this.#passMoment(moment);
      return passed;
    }
    const near = ready.filter(
      (turn) => turn.time <= front + this.#options.lead && turn.time < moment,
    );
    const turn = near[this.#prng.below(near.length)];
    return turn === undefined ? dead : this.#take(turn, moment, ready.length === 1);
  }

  #take(turn: Turn, moment: number, alone: boolean): StepResult {
    const { actor, index } = turn;
    const limit = alone ? this.#options.aloneTurnMax : this.#options.turnMax;
    const deadline = Math.min(moment, actor.wakeDeadline() ?? Number.POSITIVE_INFINITY);
    const budget = Math.max(1, Math.min(1 + this.#prng.below(limit), deadline - turn.time));
    const before = turn.time;
    this.acting = index;
    this.#clock.enter(actor, before);
    const stop = actor.run(budget);
    turn.time = this.#clock.leave();
    turn.idle = stop === "idle";
    // Events can take a turn without an instruction; time must not stand still, or two LPs could keep each other busy for ever.
    if (turn.time === before && stop === "budget") turn.time += 1;
    return { type: "turn", lp: index, stop, cycles: turn.time - before };
  }

  /** An idle LP that has been sent something goes on at the time of the sending. */
  #wakeCalled(): void {
    for (const turn of this.#turns) {
      if (turn.idle && turn.actor.isCalled) this.#wake(turn, this.#clock.now());
    }
  }

  #wake(turn: Turn, time: number): void {
    const from = turn.time;
    turn.time = Math.max(from, time);
    turn.halted += turn.time - from;
    turn.idle = false;
  }

  /** When the next device or idle LP has something to do, infinity for never. */
  #nextMoment(): number {
    let moment = this.#platform.nextDeadline() ?? Number.POSITIVE_INFINITY;
    for (const turn of this.#turns) {
      if (turn.idle)
        moment = Math.min(moment, turn.actor.wakeDeadline() ?? Number.POSITIVE_INFINITY);
    }
    return moment;
  }

  #passMoment(moment: number): void {
    this.acting = platformSource;
    this.#clock.moveTo(moment);
    if ((this.#platform.nextDeadline() ?? Number.POSITIVE_INFINITY) <= moment) {
      this.#platform.advance();
    }
    for (const turn of this.#turns) {
      if (turn.idle && (turn.actor.wakeDeadline() ?? Number.POSITIVE_INFINITY) <= moment)
        this.#wake(turn, moment);
    }
  }
}
