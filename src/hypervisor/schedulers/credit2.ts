import { present } from "../../base/assert.ts";
import {
  bestExchange,
  type Credit2Queue,
  Credit2Vcpu,
  makeQueues,
  mostDifferent,
  type QueueScope,
  queueScopes,
} from "./credit2-queue.ts";
import { LpBoard, leastLp } from "./lp-board.ts";
import type { Decision, Scheduler, SchedulerHost, VcpuHandle, VmHandle } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";
import { VcpuStates } from "./vcpu-states.ts";

const initialCredit = 10_000_000;
const leastCredit = -initialCredit;
const idleCredit = leastCredit - 1;
/** What may be left over at a reset. */
const carryOver = 500_000;
const shortestSlice = 500_000;
const longestSlice = initialCredit;
/** For a vCPU that changes LPs. */
const migrateCompensation = 50_000;
/** A turn that is this much short of the rate limit may be ended. */
const ratelimitTolerance = 50_000;
/** Differences of load that are let be: with LPs to spare, and without. */
const underloadTolerance = 1;
const overloadTolerance = 1 / 8;

interface Credit2Parameters {
  readonly scope: QueueScope;
  readonly lpsMax: number;
  readonly ratelimit: number;
  readonly migrateResist: number;
  readonly capPeriod: number;
}

/** What is left of a capped VM's period. */
interface Budget {
  left: number;
  readonly total: number;
  /** A vCPU takes so much at a time. */
  readonly quota: number;
  readonly parked: Credit2Vcpu[];
}

/**
 * Credit2: LPs share queues, ordered by credit. Running burns credit, the faster the lighter the VM; when the best has none
 * left everybody gets the same amount. A vCPU that wakes takes the LP of the one with the least credit, if the difference is
 * worth it. Queues even out their average loads at each reset.
 */
class Credit2 implements Scheduler {
  readonly #host: SchedulerHost;
  readonly #parameters: Credit2Parameters;
  readonly #board: LpBoard;
  readonly #states = new VcpuStates<Credit2Vcpu>();
  readonly #queues: readonly Credit2Queue[];
  readonly #queueOf: readonly Credit2Queue[];
  readonly #budgets = new Map<VmHandle, Budget>();

  constructor(host: SchedulerHost, parameters: Credit2Parameters) {
    this.#host = host;
    this.#parameters = parameters;
    this.#board = new LpBoard(host);
    this.#queues = makeQueues(host.topology, parameters.scope, parameters.lpsMax);
    this.#queueOf = host.topology.lps.map((_, lp) =>
      present(
        this.#queues.find(({ lps }) => lps.includes(lp)),
        "every LP has a queue",
      ),
    );
  }

  add(vcpu: VcpuHandle): void {
    // All loads are nothing yet: by number of vCPUs in the queue, then on the LP.
    const lp = leastLp(vcpu, (lp) => {
      const { members, lps } = this.#queue(lp);
      const here = [...members].filter((member) => member.lp === lp).length;
      return members.size / lps.length + here / 1e6;
    });
    const state = new Credit2Vcpu(vcpu, this.#queue(lp), lp, initialCredit);
    this.#states.add(vcpu, state);
    this.#queue(lp).adopt(state);
    if (vcpu.vm.cap > 0 && !this.#budgets.has(vcpu.vm)) {
      this.#addBudget(vcpu.vm);
    }
  }

  wake(vcpu: VcpuHandle): void {
    const state = this.#states.of(vcpu);
    this.#changeLoad(state, 1);
    state.queue.insert(state);
    this.#callFor(state);
  }

  block(vcpu: VcpuHandle): void {
    const state = this.#states.of(vcpu);
    state.state = "blocked";
    state.meter.stop();
    this.#changeLoad(state, -1);
    this.#board.leave(state.lp);
    this.#returnBudget(state);
    this.#followMove(state);
  }

  yielded(vcpu: VcpuHandle): void {
    this.#states.of(vcpu).yielding = true;
  }

  /** Xen takes a PAUSE loop for a yield. */
  pauseLoop(vcpu: VcpuHandle): undefined {
    this.yielded(vcpu);
  }

  ran(vcpu: VcpuHandle, _lp: number, ns: number): void {
    const state = this.#states.of(vcpu);
    this.#burn(state, state.meter.tell(this.#host.now(), ns));
  }

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    const queue = this.#queue(lp);
    this.#board.look(lp);
    const state = current === undefined ? undefined : this.#states.of(current);
    const mayStay = state?.moveTo === undefined && state !== undefined && this.#hasBudget(state);
    const next = this.#candidate(lp, queue, mayStay ? state : undefined, state?.yielding === true);
    this.#board.decide(lp, next?.vcpu);
    if (next !== undefined && next !== state) {
      queue.remove(next);
      next.state = "running";
    }
    if (next !== undefined) {
      const top = Math.max(next.credit, queue.waiting[0]?.credit ?? idleCredit);
      if (top <= 0) {
        this.#reset(queue, next);
        this.#balance(queue);
      }
    }
    const inFlight = state !== undefined && state !== next && mayStay ? state.credit : 0;
    const slice = next === undefined ? 0 : this.#sliceOf(next, queue, inFlight, next === state);
    if (next !== undefined) {
      this.#start(next, lp);
    }
    if (state !== undefined && state !== next) {
      this.#putBack(state);
    }
    this.#remember(lp, queue);
    return next === undefined
      ? { vcpu: undefined, slice: Number.POSITIVE_INFINITY }
      : { vcpu: next.vcpu, slice };
  }

  /** Others that this LP was called for are anybody's again. */
  #remember(lp: number, queue: Credit2Queue): void {
    for (const state of queue.waiting) {
      if (state.calledLp !== lp || this.#board.isCalled(lp)) {
        continue;
      }
      state.calledLp = this.#freeLpFor(state) ?? -1;
      if (state.calledLp >= 0) {
        this.#board.kick(state.calledLp);
      }
    }
  }

  #start(next: Credit2Vcpu, lp: number): void {
    if (next.lp !== lp) {
      next.credit += migrateCompensation;
      next.lp = lp;
    }
    next.calledLp = -1;
    next.yielding = false;
    next.meter.start(this.#host.now());
  }

  gauges(vcpu: VcpuHandle): Readonly<Record<string, number>> {
    return { credit: this.#states.of(vcpu).credit };
  }

  #queue(lp: number): Credit2Queue {
    return present(this.#queueOf[lp], "every LP has a queue");
  }

  // ——— choosing

  /** @param state the vCPU that may go on */
  #candidate(
    lp: number,
    queue: Credit2Queue,
    state: Credit2Vcpu | undefined,
    yielding: boolean,
  ): Credit2Vcpu | undefined {
    const { ratelimit, migrateResist } = this.#parameters;
    if (state !== undefined && !yielding) {
      if (this.#host.now() - state.meter.turnStart < ratelimit) {
        return state;
      }
    }
    const credit = state?.credit ?? idleCredit;
    // Looking for budget takes those without any out of the queue.
    const candidates = this.#budgets.size > 0 ? [...queue.waiting] : queue.waiting;
    for (const waiting of candidates) {
      if (!yielding && waiting.credit <= credit) {
        break;
      }
      const isForAnother =
        waiting.calledLp >= 0 && waiting.calledLp !== lp && this.#board.isCalled(waiting.calledLp);
      const resists =
        state !== undefined && waiting.lp !== lp && credit + migrateResist > waiting.credit;
      if (waiting.vcpu.affinity[lp] && !isForAnother && !resists && this.#hasBudget(waiting)) {
        return waiting;
      }
    }
    return state;
  }

  /** Until its credit is gone, or as little as that of the best who waits. */
  #sliceOf(next: Credit2Vcpu, queue: Credit2Queue, inFlight: number, goesOn: boolean): number {
    const { ratelimit } = this.#parameters;
    const rest = goesOn ? ratelimit - (this.#host.now() - next.meter.turnStart) : ratelimit;
    const least = Math.max(shortestSlice, rest);
    const waiting = Math.max(0, inFlight, queue.waiting[0]?.credit ?? 0);
    const credit = next.credit - waiting;
    const time = credit > 0 ? (credit * next.vcpu.vm.weight) / queue.maxWeight : 0;
    return Math.ceil(Math.min(longestSlice, Math.max(least, Math.min(time, next.budget))));
  }

  #putBack(state: Credit2Vcpu): void {
    state.meter.stop();
    state.yielding = false;
    const isOver = state.state === "parked";
    this.#returnBudget(state);
    if (isOver) {
      this.#followMove(state);
      return;
    }
    if (!this.#followMove(state)) {
      state.queue.insert(state);
      this.#callFor(state);
    }
  }

  /** Kicks an idle LP, else the one whose vCPU has least credit, if that is less by enough. */
  #callFor(state: Credit2Vcpu): void {
    state.calledLp = -1;
    const free = this.#freeLpFor(state);
    const lp = free ?? this.#weakestLpFor(state);
    if (lp !== undefined) {
      state.calledLp = lp;
      this.#board.kick(lp);
    }
  }

  /** Where it was, if that is idle; else on a core that is all idle, else on any. */
  #freeLpFor({ vcpu, lp: home, queue }: Credit2Vcpu): number | undefined {
    let best: number | undefined;
    let bestScore = 0;
    for (const lp of queue.lps) {
      if (vcpu.affinity[lp] !== true || !this.#board.isFree(lp)) continue;
      const score = (this.#isCoreFree(lp, queue) ? 3 : 1) + (lp === home ? 1 : 0);
      if (score > bestScore) {
        best = lp;
        bestScore = score;
      }
    }
    return best;
  }
  #isCoreFree(lp: number, { lps }: Credit2Queue): boolean {
    const places = this.#host.topology.lps;
    const core = places[lp]?.core;
    return lps.every((other) => places[other]?.core !== core || this.#board.isFree(other));
  }

  #weakestLpFor(state: Credit2Vcpu): number | undefined {
    let best: number | undefined;
    let most = 0;
    for (const lp of state.queue.lps) {
      const score = state.vcpu.affinity[lp] ? this.#scoreAgainst(state, lp) : -1;
      if (lp === state.lp && score > 0) {
        return lp;
      }
      if (score > most) {
        best = lp;
        most = score;
      }
    }
    return best;
  }

  /** More than 0: worth ending the turn of who runs there. */
  #scoreAgainst(state: Credit2Vcpu, lp: number): number {
    const vcpu = this.#board.running(lp);
    if (vcpu === undefined || this.#board.isCalled(lp)) {
      return -1;
    }
    const now = this.#host.now();
    const running = this.#states.of(vcpu);
    const { ratelimit, migrateResist } = this.#parameters;
    if (now - running.meter.turnStart <= ratelimit - ratelimitTolerance) {
      return -1;
    }
    this.#burn(running, running.meter.glance(now));
    return state.credit - running.credit - (state.lp === lp ? 0 : migrateResist);
  }

  // ——— credit

  #burn(state: Credit2Vcpu, ns: number): void {
    const burnt = (ns * state.queue.maxWeight) / state.vcpu.vm.weight;
    state.credit = Math.max(leastCredit, state.credit - burnt);
    state.budget -= ns;
  }

  /** An epoch has come to its end: the best has nothing left. */
  #reset(queue: Credit2Queue, next: Credit2Vcpu): void {
    const amount = next.credit <= leastCredit ? 2 * initialCredit : initialCredit;
    for (const state of queue.members) {
      this.#burn(state, state.meter.glance(this.#host.now()));
      state.credit = Math.min(initialCredit + carryOver, state.credit + amount);
    }
    queue.waiting.sort((a, b) => b.credit - a.credit);
  }

  // ——— loads

  #changeLoad(state: Credit2Vcpu, by: number): void {
    const now = this.#host.now();
    state.load.change(now, by);
    state.queue.load.change(now, by);
  }

  #balance(queue: Credit2Queue): void {
    const now = this.#host.now();
    const other = mostDifferent(queue, this.#queues, now);
    const loads = [queue.load.at(now), other.load.at(now)] as const;
    const lps = Math.max(queue.lps.length, other.lps.length);
    const tolerance = Math.max(...loads) < lps ? underloadTolerance : overloadTolerance;
    if (other === queue || Math.abs(loads[0] - loads[1]) < tolerance) {
      return;
    }
    const { push, pull } = bestExchange(queue, other, now);
    if (push !== undefined) {
      this.#move(push, other);
    }
    if (pull !== undefined) {
      this.#move(pull, queue);
    }
  }

  #move(state: Credit2Vcpu, to: Credit2Queue): void {
    state.moveTo = to;
    switch (state.state) {
      case "running":
        this.#board.kick(state.lp);
        break;
      case "waiting":
        state.queue.remove(state);
        this.#followMove(state);
        break;
      default:
        this.#followMove(state);
    }
  }

  /** @returns whether it had to go to another queue; a ready one waits there then */
  #followMove(state: Credit2Vcpu): boolean {
    const to = state.moveTo;
    if (to === undefined) {
      return false;
    }
    state.moveTo = undefined;
    const isReady = state.state === "running" || state.state === "waiting";
    const now = this.#host.now();
    // The average goes with it, and what it adds at the moment.
    const counted = isReady || state.state === "parked" ? 1 : 0;
    state.queue.load.change(now, -counted);
    state.queue.load.value = Math.max(0, state.queue.load.value - state.load.at(now));
    state.queue.release(state);
    to.adopt(state);
    to.load.change(now, counted);
    to.load.value += state.load.at(now);
    state.lp = to.lpFor(state.vcpu, state.lp) ?? state.lp;
    if (isReady) {
      to.insert(state);
      this.#callFor(state);
    }
    return true;
  }

  // ——— caps

  #addBudget(vm: VmHandle): void {
    const { capPeriod } = this.#parameters;
    const total = (vm.cap * capPeriod) / 100;
    const quota = Math.max(total / vm.vcpus.length, shortestSlice);
    this.#budgets.set(vm, { left: total, total, quota, parked: [] });
    this.#replenishLater(vm);
  }

  #replenishLater(vm: VmHandle): void {
    this.#host.at(this.#host.now() + this.#parameters.capPeriod, () => {
      const budget = present(this.#budgets.get(vm), "the VM has a cap");
      budget.left = Math.min(budget.total, budget.left + budget.total);
      this.#unpark(budget);
      this.#replenishLater(vm);
    });
  }

  /** Takes of its VM's budget when it has none. Without, the vCPU is parked until there is some. */
  #hasBudget(state: Credit2Vcpu): boolean {
    if (state.budget > 0) {
      return true;
    }
    const budget = present(this.#budgets.get(state.vcpu.vm), "only capped VMs run out of budget");
    // Negative: it has run longer than it had.
    budget.left += state.budget;
    state.budget = Math.max(0, Math.min(budget.quota, budget.left));
    budget.left -= state.budget;
    if (state.budget > 0) {
      return true;
    }
    if (state.state === "waiting") {
      state.queue.remove(state);
    }
    state.state = "parked";
    budget.parked.push(state);
    return false;
  }

  #returnBudget(state: Credit2Vcpu): void {
    const budget = this.#budgets.get(state.vcpu.vm);
    if (budget !== undefined) {
      budget.left += state.budget;
      state.budget = 0;
      this.#unpark(budget);
    }
  }

  #unpark(budget: Budget): void {
    if (budget.left <= 0) {
      return;
    }
    for (const state of budget.parked.splice(0)) {
      state.queue.insert(state);
      this.#callFor(state);
    }
  }
}

/** Xen's default scheduler since 4.12. Honours weights and caps. */
export const credit2 = definePolicy({
  name: "credit2",
  title: "Xen Credit2",
  source: "Xen: xen/common/sched/credit2.c and the command line's documentation",
  parameters: {
    scope: { default: "socket", choices: queueScopes, about: "credit2_runqueue: who shares one" },
    lpsMax: {
      default: 16,
      minimum: 1,
      about: "sched_credit2_max_cpus_runqueue: most LPs of a queue",
    },
    ratelimit: { default: 1_000_000, unit: "ns", about: "sched_ratelimit_us: shortest turn" },
    migrateResist: {
      default: 500_000,
      unit: "ns",
      about: "sched_credit2_migrate_resist: credit that a change of LP must be worth",
    },
    capPeriod: {
      default: 10_000_000,
      unit: "ns",
      minimum: 1_000_000,
      about: "credit2_cap_period_ms",
    },
  },
  create: (host, parameters) => new Credit2(host, parameters),
});
