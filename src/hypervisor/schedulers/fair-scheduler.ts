import { present } from "../../base/assert.ts";
import type { YieldingScheduler } from "./directed-yield.ts";
import { EevdfQueue, FairVcpu } from "./eevdf-queue.ts";
import { LpBoard, leastLp } from "./lp-board.ts";
import type { Decision, SchedulerHost, VcpuHandle } from "./scheduler.ts";
import { VcpuStates } from "./vcpu-states.ts";

/** More than any real one. */
const avoidedLoad = 1e9;
/** Not worth a timer. */
const shortestSlice = 100_000;

export const yieldRules = ["forfeit", "postpone"] as const;
export type YieldRule = (typeof yieldRules)[number];

export interface FairRules {
  /** Nanoseconds. */
  readonly slice: number;
  /** A vCPU uses up its slice before others are considered. */
  readonly runToParity: boolean;
  /** What who yields gives up: the rest of its slice, or only its place. */
  readonly yielding: YieldRule;
  /** How often a busy LP looks for a busier one, in nanoseconds. */
  readonly balanceInterval: number;
  /** Shall a vCPU not be queued on an LP? Obeyed as long as there is another one. */
  readonly avoid?: (vcpu: FairVcpu, lp: number) => boolean;
  /** Must a ready vCPU wait for something other than an LP? Asked again whenever an LP decides. */
  readonly mayRun?: (vcpu: FairVcpu) => boolean;
}

/**
 * Fair sharing as Linux does it: a queue by virtual deadlines for each LP, and the queues balanced against each other: a vCPU
 * that wakes goes to an idle LP, an LP that gets idle takes work from the busiest, and busy ones even out their loads now and then.
 * Policies built on it differ in their rules.
 */
export class FairScheduler implements YieldingScheduler {
  readonly host: SchedulerHost;
  readonly states = new VcpuStates<FairVcpu>();
  readonly #rules: FairRules;
  readonly #board: LpBoard;
  readonly #queues: readonly EevdfQueue[];
  readonly #added: number[];
  /** The current vCPU may finish its slice, by LP. */
  readonly #protected: boolean[];
  /** Whom a directed yield wants to run next, by LP. */
  readonly #buddies: (FairVcpu | undefined)[];
  readonly #nextBalance: number[];
  /** The last balancing found a difference too small to act upon, by LP. */
  readonly #unevened: boolean[];

  constructor(host: SchedulerHost, rules: FairRules) {
    this.host = host;
    this.#rules = rules;
    this.#board = new LpBoard(host);
    const { lps } = host.topology;
    this.#queues = lps.map(() => new EevdfQueue(rules.slice));
    this.#added = lps.map(() => 0);
    this.#protected = lps.map(() => false);
    this.#buddies = lps.map(() => undefined);
    this.#unevened = lps.map(() => false);
    // Not all at the same time.
    this.#nextBalance = lps.map(
      (_, lp) => host.now() + rules.balanceInterval * (1 + lp / lps.length),
    );
  }

  add(vcpu: VcpuHandle): void {
    const lp = leastLp(vcpu, (lp) => this.#added[lp] ?? 0);
    this.#added[lp] = (this.#added[lp] ?? 0) + 1;
    this.states.add(vcpu, new FairVcpu(vcpu, lp));
  }

  wake(vcpu: VcpuHandle): void {
    const state = this.states.of(vcpu);
    state.lp = this.#lpFor(state);
    this.#queue(state.lp).join(state);
    this.#callFor(state);
  }

  block(vcpu: VcpuHandle): void {
    const state = this.states.of(vcpu);
    this.#queue(state.lp).leave(state);
    state.state = "blocked";
    state.meter.stop();
    this.#protected[state.lp] = false;
    this.#board.leave(state.lp);
  }

  yielded(vcpu: VcpuHandle): void {
    const state = this.states.of(vcpu);
    const queue = this.#queue(state.lp);
    if (this.#rules.yielding === "forfeit") queue.forfeit(state);
    else queue.postpone(state);
    this.#protected[state.lp] = false;
  }

  pauseLoop(): undefined {}

  /**
   * A running vCPU gives way and one that waits, here or on another LP, comes next there, if it is owed the time.
   * @returns false if that one does not wait for an LP
   */
  yieldTo(vcpu: VcpuHandle, to: VcpuHandle): boolean {
    const target = this.states.of(to);
    const from = this.states.of(vcpu);
    if (target.state !== "waiting") {
      return false;
    }
    this.yielded(vcpu);
    this.#buddies[target.lp] = target;
    if (target.lp !== from.lp) {
      this.#protected[target.lp] = false;
      this.#board.kick(target.lp);
    }
    return true;
  }

  ran(vcpu: VcpuHandle, lp: number, ns: number): void {
    const state = this.states.of(vcpu);
    this.#charge(state, lp, state.meter.tell(this.host.now(), ns));
  }

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    const now = this.host.now();
    const queue = this.#queue(lp);
    this.#board.look(lp);
    if (now >= (this.#nextBalance[lp] ?? 0)) {
      this.#nextBalance[lp] = now + this.#rules.balanceInterval;
      this.#balance(lp);
    }
    const previous = current === undefined ? undefined : this.states.of(current);
    const next = this.#choose(lp, previous) ?? this.#pull(lp, true);
    queue.run(next);
    this.#board.decide(lp, next?.vcpu);
    if (previous !== undefined && previous !== next) {
      previous.meter.stop();
      this.#offer(previous);
    }
    if (next === undefined) {
      return { vcpu: undefined, slice: Number.POSITIVE_INFINITY };
    }
    if (next !== previous) {
      this.#protected[lp] = this.#rules.runToParity;
    }
    next.meter.start(now);
    const rest = Math.ceil((next.deadline - next.vruntime) * next.weight);
    const slice = Math.max(shortestSlice, rest);
    return { vcpu: next.vcpu, slice };
  }

  gauges(vcpu: VcpuHandle): Readonly<Record<string, number>> {
    const state = this.states.of(vcpu);
    const lag = state.state === "blocked" ? state.lag : this.#queue(state.lp).lagOf(state);
    return { lag };
  }

  /** Who runs or waits on an LP. */
  *membersOf(lp: number): Iterable<FairVcpu> {
    const queue = this.#queue(lp);
    if (queue.running !== undefined) {
      yield queue.running;
    }
    yield* queue.waiting;
  }

  // ——— choosing

  #choose(lp: number, previous: FairVcpu | undefined): FairVcpu | undefined {
    const queue = this.#queue(lp);
    const buddy = this.#buddies[lp];
    this.#buddies[lp] = undefined;
    if (buddy !== undefined && this.#isHere(buddy, lp) && this.#mayRun(buddy)) {
      if (queue.isEligible(buddy)) {
        return buddy;
      }
    }
    if (previous !== undefined && this.#protected[lp] && this.#mayRun(previous)) {
      return previous;
    }
    return queue.best((state) => this.#mayRun(state));
  }

  #isHere(state: FairVcpu, lp: number): boolean {
    return state.lp === lp && state.state !== "blocked";
  }

  #mayRun(state: FairVcpu): boolean {
    return this.#rules.mayRun?.(state) ?? true;
  }

  #charge(state: FairVcpu, lp: number, ns: number): void {
    if (this.#queue(lp).charge(state, ns)) {
      this.#protected[lp] = false;
    }
  }

  /** Kicks the LP of a vCPU that has become ready, if it is to run there at once. */
  #callFor(state: FairVcpu): void {
    const { lp } = state;
    if (this.#board.isFree(lp)) {
      this.#board.kick(lp);
      return;
    }
    const running = this.#queue(lp).running;
    if (running === undefined) {
      return;
    }
    this.#charge(running, lp, running.meter.glance(this.host.now()));
    const isBest = this.#queue(lp).best((other) => this.#mayRun(other)) === state;
    if (isBest && !this.#protected[lp]) {
      this.#board.kick(lp);
    }
  }

  // ——— queues

  #queue(lp: number): EevdfQueue {
    return present(this.#queues[lp], "an LP has a queue");
  }

  #avoids(state: FairVcpu, lp: number): boolean {
    return this.#rules.avoid?.(state, lp) ?? false;
  }

  /** For a vCPU that wakes: an idle LP, else where it was, unless that is to be avoided. */
  #lpFor(state: FairVcpu): number {
    const { vcpu, lp } = state;
    const free = this.#board.freeFor(vcpu, lp);
    if (free !== undefined && !this.#avoids(state, free)) {
      return free;
    }
    if (!this.#avoids(state, lp)) {
      return lp;
    }
    return leastLp(
      vcpu,
      (lp) => this.#queue(lp).load + (this.#avoids(state, lp) ? avoidedLoad : 0),
    );
  }

  #move(state: FairVcpu, to: number): void {
    this.#queue(state.lp).leave(state);
    state.lp = to;
    this.#queue(to).join(state);
  }

  /** A vCPU that waits while another LP is idle goes there. */
  #offer(state: FairVcpu): void {
    if (!this.#mayRun(state) || this.#board.isFree(state.lp)) {
      return;
    }
    const free = this.#board.freeFor(state.vcpu, state.lp);
    if (free !== undefined && !this.#avoids(state, free)) {
      this.#move(state, free);
      this.#board.kick(free);
    }
  }

  /** A vCPU for an LP from the one with most load, first of its own socket. */
  #pull(lp: number, idle: boolean): FairVcpu | undefined {
    const { lps } = this.host.topology;
    const own = this.#queue(lp).load;
    for (const near of [true, false]) {
      let best: FairVcpu | undefined;
      let most = 0;
      for (const [other, queue] of this.#queues.entries()) {
        const isNear = lps[other]?.socket === lps[lp]?.socket;
        if (other === lp || isNear !== near || queue.waiting.length === 0) {
          continue;
        }
        const { load } = queue;
        const found =
          load > most ? queue.waiting.find((state) => this.#mayMove(state, lp)) : undefined;
        if (found !== undefined && (idle || this.#isWorth(load - own, found.weight, lp))) {
          best = found;
          most = load;
        }
      }
      if (best !== undefined) {
        this.#move(best, lp);
        return best;
      }
    }
    return undefined;
  }

  #mayMove(state: FairVcpu, to: number): boolean {
    return state.vcpu.affinity[to] === true && this.#mayRun(state) && !this.#avoids(state, to);
  }

  /** Linux evens out a difference of one only at the second try: then three vCPUs take turns on two LPs. */
  #isWorth(difference: number, weight: number, lp: number): boolean {
    if (difference >= 2 * weight) {
      return true;
    }
    if (difference < weight) {
      return false;
    }
    const again = this.#unevened[lp] === true;
    this.#unevened[lp] = !again;
    return again;
  }

  #balance(lp: number): void {
    if (this.#queue(lp).running !== undefined) {
      this.#pull(lp, false);
    }
  }
}
