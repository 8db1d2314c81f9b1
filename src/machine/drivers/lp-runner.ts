import type { Clock } from "../../cpu/ports.ts";
import { Pending } from "../../execution/lp-window.ts";
import { type ControlRegion, Presence } from "../control-region.ts";
import type { LpActor } from "./actors.ts";
import { Pacer } from "./pacer.ts";
import { machineGone } from "./remote-bus.ts";

export interface LpRunnerOptions {
  readonly control: ControlRegion;
  readonly clock: Clock;
  readonly lp: LpActor;
  readonly index: number;
}

/** Why an LP has left its guest for good. */
export type LpEnd = "stopped" | "shutdown";

/** A sleep is never longer, so that nothing depends on a wake-up alone. */
const sleepMsMax = 200;
/** A deadline nearer than this, in milliseconds, is awaited awake: a sleep would overshoot it. */
const wakefulMs = 0.05;

/** Runs one LP on the thread it has to itself, until the machine stops or the LP shuts down. */
export class LpRunner {
  readonly #control: ControlRegion;
  readonly #clock: Clock;
  readonly #lp: LpActor;
  readonly #index: number;
  readonly #pacer: Pacer;
  /** Clock values: first instruction, and cycles spent asleep. */
  startedAt = 0;
  haltedCycles = 0;
  /** Called after each run with the cycles it took. */
  readonly account: (cycles: number) => void;

  constructor({ control, clock, lp, index }: LpRunnerOptions, account: (cycles: number) => void) {
    this.#control = control;
    this.#clock = clock;
    this.#lp = lp;
    this.#index = index;
    this.#pacer = new Pacer(clock.frequencyHz);
    this.account = account;
  }

  run(): LpEnd {
    this.startedAt = this.#clock.now();
    try {
      for (;;) {
        const stop = this.#turn();
        if (stop === "shutdown") return "shutdown";
        if (stop === "idle" || stop === "busy") this.#sleep(stop === "idle");
        if (stop === "stop") this.#control.clear(this.#index, Pending.Stop);
        if (this.#control.isStopping) return "stopped";
      }
    } catch (error) {
      if (error === machineGone) return "stopped";
      throw error;
    } finally {
      this.#control.setPresence(this.#index, Presence.Away);
    }
  }

  #turn(): ReturnType<LpActor["run"]> {
    const before = this.#clock.now();
    const retired = this.#lp.retired;
    const stop = this.#lp.run(this.#pacer.budget(before, this.#lp.wakeDeadline()));
    const cycles = this.#clock.now() - before;
    this.#pacer.observe(this.#lp.retired - retired, cycles);
    this.account(cycles);
    return stop;
  }

  /** @param halted the LP rests; else it is at work that needs no thread */
  #sleep(halted: boolean): void {
    const before = this.#clock.now();
    const ms = this.#sleepMs(before);
    if (ms > wakefulMs) {
      const presence = this.#lp.isDeaf ? Presence.Deaf : Presence.Away;
      this.#control.setPresence(this.#index, presence);
      this.#control.awaitPending(this.#index, ms);
      this.#control.setPresence(this.#index, Presence.Running);
    }
    const cycles = this.#clock.now() - before;
    if (halted) this.haltedCycles += cycles;
    else this.account(cycles);
  }

  #sleepMs(now: number): number {
    const deadline = this.#lp.wakeDeadline();
    if (deadline === undefined) return sleepMsMax;
    return Math.min(sleepMsMax, ((deadline - now) * 1000) / this.#clock.frequencyHz);
  }
}
