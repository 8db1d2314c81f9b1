import type { Prng } from "../../base/prng.ts";
import { platformSource } from "../trace-target.ts";
import type { LpActor, PlatformActor } from "./actors.ts";
import { LpQueue } from "./lp-queue.ts";
import { dead, type MachineSchedule, passed, type StepResult } from "./schedule.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** Longest turn of an LP in instructions, while others can act too and alone. */
const turnMax = 5000;
const aloneTurnMax = 50_000;
const never = Number.POSITIVE_INFINITY;

/** Ready: can run now. Busy: at work until its time comes. Idle: rests until then, or until a message. */
const TurnState = { Ready: 0, Busy: 1, Idle: 2 } as const;
type TurnState = (typeof TurnState)[keyof typeof TurnState];

/** One LP's place in virtual time. */
interface Turn {
  readonly index: number;
  readonly actor: LpActor;
  /** How far it has come. */
  time: number;
  /** When it has something to do by itself, as it was behind its last turn: nobody else changes that. */
  deadline: number;
  state: TurnState;
  /** Cycles spent idle. */
  halted: number;
}

/**
 * The order of everything in a machine of scripts, whose time is measured: everything happens in the order of its time but for the
 * length of one operation. At each step the LP or device whose time is least acts, until the next of the others could. Chance
 * decides between those whose time is the same.
 */
export class StrictSchedule implements MachineSchedule {
  readonly #turns: readonly Turn[];
  readonly #queue: LpQueue;
  /** LPs that have been sent something, since the last step. */
  readonly #called: number[] = [];
  readonly #platform: PlatformActor;
  readonly #clock: VirtualClock;
  readonly #prng: Prng;
  /** Who is not idle. */
  #awake: number;
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
      deadline: never,
      state: TurnState.Ready,
      halted: 0,
    }));
    this.#queue = new LpQueue(actors.length);
    this.#platform = platform;
    this.#clock = clock;
    this.#prng = prng;
    this.#awake = actors.length;
  }

  haltedCycles(lp: number): number {
    return this.#turns[lp]?.halted ?? 0;
  }

  call(lp: number): void {
    this.#called.push(lp);
  }

  deviceTouched(): void {
    const deadline = this.#platform.nextDeadline();
    if (deadline !== undefined) this.#clock.endBy(deadline);
  }

  step(): StepResult {
    if (this.#called.length > 0) this.#wakeCalled();
    if (this.#awake === 0 && this.#turns.every((turn) => turn.actor.isDeaf)) return dead;
    const front = this.#queue.least;
    const moment = this.#platform.nextDeadline() ?? never;
    if (moment <= front) {
      if (moment === never) return dead;
      this.acting = platformSource;
      this.#clock.moveTo(moment);
      this.#platform.advance();
      return passed;
    }
    const turn = this.#turns[this.#queue.first];
    if (turn === undefined) return dead;
    if (turn.state !== TurnState.Ready) this.#wake(turn, front);
    const second = this.#queue.second;
    return this.#take(turn, Math.min(moment, Math.max(second, front + 1)), second === never);
  }

  #take(turn: Turn, others: number, alone: boolean): StepResult {
    const { actor, index } = turn;
    const before = turn.time;
    // What it has to do by itself ends a turn too.
    const own = turn.deadline;
    const end = own > before && own < others ? own : others;
    const most = alone ? aloneTurnMax : turnMax;
    const budget = Math.max(1, Math.ceil(Math.min(most, Math.min(end, own) - before)));
    this.acting = index;
    this.#clock.enter(actor, before, end);
    const stop = actor.run(budget);
    turn.time = this.#clock.leave();
    turn.deadline = actor.wakeDeadline() ?? never;
    if (stop === "idle" || stop === "busy") {
      this.#rest(turn, stop === "busy");
    } else {
      // Events can take a turn without an instruction; time must not stand still, or two LPs could keep each other busy for ever.
      if (turn.time === before && stop === "budget") turn.time += 1;
      this.#queue.set(index, turn.time, this.#prng.next());
    }
    return { type: "turn", lp: index, stop, cycles: turn.time - before };
  }

  #rest(turn: Turn, isBusy: boolean): void {
    turn.state = isBusy ? TurnState.Busy : TurnState.Idle;
    if (!isBusy) this.#awake -= 1;
    this.#queue.set(turn.index, turn.deadline, this.#prng.next());
    // What came during its last instructions is not to be slept over.
    if (turn.actor.isCalled) this.#called.push(turn.index);
  }

  /** An LP that waits and has been sent something goes on at the time of the sending. */
  #wakeCalled(): void {
    const called = this.#called;
    for (const lp of called) {
      const turn = this.#turns[lp];
      if (turn === undefined || turn.state === TurnState.Ready || !turn.actor.isCalled) continue;
      this.#wake(turn, this.#clock.now());
      this.#queue.set(lp, turn.time, this.#prng.next());
    }
    called.length = 0;
  }

  #wake(turn: Turn, time: number): void {
    const from = turn.time;
    if (time > from) turn.time = time;
    const cycles = turn.time - from;
    if (turn.state === TurnState.Idle) {
      turn.halted += cycles;
      this.#awake += 1;
    } else {
      turn.actor.worked?.(cycles);
    }
    turn.state = TurnState.Ready;
  }
}
