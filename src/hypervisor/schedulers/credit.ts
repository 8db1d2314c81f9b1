import { present } from "../../base/assert.ts";
import { LpBoard, leastLp } from "./lp-board.ts";
import { RunMeter } from "./run-meter.ts";
import type { Decision, Scheduler, SchedulerHost, VcpuHandle, VmHandle } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";
import { VcpuStates } from "./vcpu-states.ts";

const Priority = { Over: -2, Under: -1, Boost: 0 } as const;
type Priority = (typeof Priority)[keyof typeof Priority];
/** Lower than any vCPU's. */
const idlePriority = -64;

/** A credit is 100 us of an LP. */
const nsPerCredit = 100_000;
/** An LP is not asked again sooner than this. */
const shortestSlice = 100_000;

interface CreditParameters {
  readonly slice: number;
  readonly ticks: number;
  readonly ratelimit: number;
  readonly balanceRatelimit: number;
  readonly boost: boolean;
  readonly boostMigrating: boolean;
  readonly accounting: "exact" | "sampled";
}

/** A vCPU as Credit knows it. */
class CreditVcpu {
  readonly vcpu: VcpuHandle;
  /** Where it runs or waits. */
  lp: number;
  priority: Priority = Priority.Under;
  credit = 0;
  /** Earns credit. */
  active = false;
  /** Over its VM's cap: does not run although it is ready. */
  parked = false;
  blocked = true;
  queued = false;
  yielding = false;
  /** Its LP shall look for a better one when it next decides. */
  migrating = false;
  readonly meter = new RunMeter();

  constructor(vcpu: VcpuHandle, lp: number) {
    this.vcpu = vcpu;
    this.lp = lp;
  }
}

/**
 * Credit: a queue for each LP, ordered by priority. Running burns credit, an accounting every slice hands out new credit by
 * weight: vCPUs with credit are UNDER, those in debt OVER. A vCPU that wakes UNDER is BOOSTed until a tick finds it running.
 * An LP that would run an OVER vCPU, or none, first looks for better ones that wait elsewhere.
 */
class Credit implements Scheduler {
  readonly #host: SchedulerHost;
  readonly #parameters: CreditParameters;
  readonly #board: LpBoard;
  readonly #states = new VcpuStates<CreditVcpu>();
  readonly #all: CreditVcpu[] = [];
  readonly #queues: CreditVcpu[][];
  readonly #vms = new Set<VmHandle>();
  /** A tick is due on that LP. */
  readonly #ticking: boolean[];
  readonly #lastBalance: number[];
  readonly #creditsPerSlice: number;
  /** By LP: all of its core, and of its socket. */
  readonly #neighbours: Readonly<Record<"core" | "socket", readonly (readonly number[])[]>>;
  /** Credit of all that earned, at the last accounting. */
  #balance = 0;
  /** The LP after which the next look for an idle one, or for work, begins. */
  #lastCalled = 0;
  #lastRobbed = 0;

  constructor(host: SchedulerHost, parameters: CreditParameters) {
    this.#host = host;
    this.#parameters = parameters;
    this.#board = new LpBoard(host);
    this.#neighbours = { core: neighbours(host, "core"), socket: neighbours(host, "socket") };
    this.#queues = host.topology.lps.map(() => []);
    this.#ticking = host.topology.lps.map(() => false);
    this.#lastBalance = host.topology.lps.map(() => Number.NEGATIVE_INFINITY);
    this.#creditsPerSlice = parameters.slice / nsPerCredit;
    host.at(host.now() + parameters.slice, () => this.#account());
  }

  add(vcpu: VcpuHandle): void {
    const state = new CreditVcpu(vcpu, this.#emptiestLp(vcpu));
    this.#states.add(vcpu, state);
    this.#all.push(state);
    this.#vms.add(vcpu.vm);
  }

  wake(vcpu: VcpuHandle): void {
    const state = this.#states.of(vcpu);
    state.blocked = false;
    state.migrating = false;
    if (state.parked) {
      return;
    }
    if (this.#parameters.boost) {
      this.#boost(state);
    }
    this.#enqueue(state);
    this.#callFor(state);
  }

  block(vcpu: VcpuHandle): void {
    const state = this.#states.of(vcpu);
    state.blocked = true;
    state.meter.stop();
    this.#board.leave(state.lp);
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
    const charge = state.meter.tell(this.#host.now(), ns);
    if (this.#parameters.accounting === "exact") {
      state.credit -= charge / nsPerCredit;
      // Xen leaves this to the ticks too, and who evades them is never in debt.
      state.active ||= state.credit < 0;
    }
  }

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    const now = this.#host.now();
    this.#board.look(lp);
    const state = current === undefined ? undefined : this.#states.of(current);
    if (state !== undefined) {
      const rest = this.#parameters.ratelimit - (now - state.meter.turnStart);
      if (rest > 0 && !state.yielding && !state.parked && !state.migrating) {
        return this.#decide(lp, state, Math.max(rest, shortestSlice));
      }
      this.#putBack(state, lp);
    }
    const next = this.#next(lp);
    if (state !== undefined && state !== next) {
      state.meter.stop();
    }
    return this.#decide(lp, next, this.#parameters.slice);
  }

  gauges(vcpu: VcpuHandle): Readonly<Record<string, number>> {
    const { credit, priority } = this.#states.of(vcpu);
    return { credit, priority };
  }

  #decide(lp: number, next: CreditVcpu | undefined, slice: number): Decision {
    this.#board.decide(lp, next?.vcpu);
    if (next === undefined) {
      return { vcpu: undefined, slice: Number.POSITIVE_INFINITY };
    }
    next.lp = lp;
    next.yielding = false;
    next.meter.start(this.#host.now());
    this.#startTicking(lp);
    return { vcpu: next.vcpu, slice };
  }

  /** The vCPU that has run goes to the queue of this LP, or of a better one. */
  #putBack(state: CreditVcpu, lp: number): void {
    if (state.parked) {
      return;
    }
    if (state.migrating) {
      state.migrating = false;
      state.lp = this.#bestLp(state);
      if (this.#parameters.boostMigrating) {
        this.#boost(state);
      }
      if (state.lp !== lp) {
        this.#enqueue(state);
        this.#callFor(state);
        return;
      }
    }
    this.#enqueue(state);
  }

  // ——— queues

  /** Behind those of its priority; a vCPU that yields goes behind one of lower priority too. */
  #enqueue(state: CreditVcpu): void {
    const queue = present(this.#queues[state.lp], "an LP has a queue");
    let at = queue.findIndex(({ priority }) => priority < state.priority);
    if (at < 0) {
      at = queue.length;
    } else if (state.yielding) {
      at++;
    }
    queue.splice(at, 0, state);
    state.queued = true;
  }

  #dequeue(state: CreditVcpu): void {
    const queue = present(this.#queues[state.lp], "an LP has a queue");
    queue.splice(queue.indexOf(state), 1);
    state.queued = false;
  }

  #next(lp: number): CreditVcpu | undefined {
    const first = this.#queues[lp]?.[0];
    if (first === undefined || first.priority === Priority.Over) {
      const better = this.#betterElsewhere(lp, first);
      if (better !== undefined) {
        this.#dequeue(better);
        return better;
      }
    }
    if (first !== undefined) {
      this.#dequeue(first);
    }
    return first;
  }

  /** A vCPU of higher priority that waits for another, busy LP. Those that have yielded wait for a reason. */
  #betterElsewhere(lp: number, than: CreditVcpu | undefined): CreditVcpu | undefined {
    const now = this.#host.now();
    const last = this.#lastBalance[lp] ?? 0;
    if (than !== undefined && now - last <= this.#parameters.balanceRatelimit) {
      return undefined;
    }
    this.#lastBalance[lp] = now;
    const limit = than?.priority ?? idlePriority;
    const home = this.#host.topology.lps[lp]?.socket;
    for (const near of [true, false]) {
      for (let step = 1; step <= this.#board.count; step++) {
        const peer = (this.#lastRobbed + step) % this.#board.count;
        const isNear = this.#host.topology.lps[peer]?.socket === home;
        if (peer === lp || isNear !== near || this.#willServe(peer)) {
          continue;
        }
        const found = this.#queues[peer]?.find(
          ({ priority, yielding, vcpu }) => priority > limit && !yielding && vcpu.affinity[lp],
        );
        if (found !== undefined) {
          this.#lastRobbed = peer;
          return found;
        }
      }
    }
    return undefined;
  }

  /** An idle LP that has been called for the only vCPU in its queue takes that itself. */
  #willServe(lp: number): boolean {
    return (
      this.#board.isCalled(lp) &&
      this.#board.running(lp) === undefined &&
      this.#queues[lp]?.length === 1
    );
  }

  // ——— LPs

  /** Calls the LP that should run a vCPU which has become ready, if it is to run at once. */
  #callFor(state: CreditVcpu): void {
    const { lp, vcpu } = state;
    if (this.#board.isFree(lp)) {
      this.#board.kick(lp);
      return;
    }
    const idle = this.#idleLpFor(vcpu);
    if (idle !== undefined) {
      this.#lastCalled = idle;
      this.#board.kick(idle);
      return;
    }
    const running = this.#board.running(lp);
    const opponent = running === undefined ? undefined : this.#states.of(running);
    if (opponent === undefined || state.priority <= opponent.priority) {
      return;
    }
    // The one that has to make way may go on elsewhere. Once it was taken off its LP to look for another also when there is none.
    if (this.#parameters.boostMigrating || this.#idleLpFor(opponent.vcpu) !== undefined) {
      opponent.migrating = true;
    }
    this.#board.kick(lp);
  }

  #idleLpFor(vcpu: VcpuHandle): number | undefined {
    for (let step = 1; step <= this.#board.count; step++) {
      const lp = (this.#lastCalled + step) % this.#board.count;
      if (this.#board.isFree(lp) && vcpu.affinity[lp]) {
        return lp;
      }
    }
    return undefined;
  }

  /** Where a vCPU would have most idle neighbours; its own LP counts as idle when nobody waits there. */
  #bestLp(state: CreditVcpu): number {
    const isIdle = (lp: number): boolean =>
      lp === state.lp ? this.#queues[lp]?.length === 0 : this.#board.isFree(lp);
    const idleIn = (level: "core" | "socket", lp: number): number => {
      let count = 0;
      for (const neighbour of this.#neighbours[level][lp] ?? []) {
        count += isIdle(neighbour) ? 1 : 0;
      }
      return count;
    };
    const places = this.#host.topology.lps;
    let best = state.lp;
    for (let lp = 0; lp < this.#board.count; lp++) {
      if (lp === best || !isIdle(lp) || !state.vcpu.affinity[lp]) {
        continue;
      }
      const sameSocket = places[lp]?.socket === places[best]?.socket;
      // Another core must be idler, another socket twice as idle.
      const isBetter = sameSocket
        ? idleIn("core", lp) > idleIn("core", best)
        : idleIn("socket", lp) > 2 * idleIn("socket", best);
      if (isBetter || !isIdle(best)) {
        best = lp;
      }
    }
    return best;
  }

  /** For a new vCPU: where the fewest are, on the emptiest core. */
  #emptiestLp(vcpu: VcpuHandle): number {
    const places = this.#host.topology.lps;
    const load = (lp: number): number => {
      let onLp = 0;
      let onCore = 0;
      for (const other of this.#all) {
        onLp += other.lp === lp ? 1 : 0;
        onCore += places[other.lp]?.core === places[lp]?.core ? 1 : 0;
      }
      return onLp * 1000 + onCore;
    };
    return leastLp(vcpu, load);
  }

  // ——— time

  #boost(state: CreditVcpu): void {
    if (state.priority === Priority.Under) {
      state.priority = Priority.Boost;
    }
  }

  /** Ticks of an LP come at multiples of the period, while it is busy. */
  #startTicking(lp: number): void {
    if (!this.#ticking[lp]) {
      this.#ticking[lp] = true;
      const period = Math.round(this.#parameters.slice / this.#parameters.ticks);
      const time = (Math.floor(this.#host.now() / period) + 1) * period;
      this.#host.at(time, () => this.#tick(lp));
    }
  }

  #tick(lp: number): void {
    this.#ticking[lp] = false;
    const vcpu = this.#board.running(lp);
    if (vcpu === undefined) {
      return;
    }
    this.#startTicking(lp);
    const state = this.#states.of(vcpu);
    // Whoever is found running uses more than a little.
    if (state.priority === Priority.Boost) {
      state.priority = Priority.Under;
    }
    this.#charge(state);
    if (!state.active) {
      state.active = true;
    } else if (this.#bestLp(state) !== lp) {
      state.migrating = true;
      this.#board.kick(lp);
    }
  }

  /** Sampled accounting takes it that who runs at the tick has run since the one before. */
  #charge(state: CreditVcpu): void {
    const { accounting, ticks } = this.#parameters;
    state.credit -=
      accounting === "exact"
        ? state.meter.glance(this.#host.now()) / nsPerCredit
        : this.#creditsPerSlice / ticks;
  }

  /** Hands the credit of one slice to the active vCPUs, by weight. */
  #account(): void {
    this.#host.at(this.#host.now() + this.#parameters.slice, () => this.#account());
    const earners = [...this.#vms].map((vm) => ({
      vm,
      active: vm.vcpus
        .map((vcpu) => this.#states.find(vcpu))
        .filter((state): state is CreditVcpu => state?.active === true),
    }));
    const weightOf = ({ vm, active }: (typeof earners)[number]): number =>
      vm.weight * active.length;
    const weightTotal = earners.reduce((sum, earner) => sum + weightOf(earner), 0);
    let weightLeft = weightTotal;
    const debt = Math.max(0, -this.#balance);
    let creditTotal = this.#creditsPerSlice * this.#board.count + debt;
    this.#balance = 0;
    for (const earner of earners.filter(({ active }) => active.length > 0)) {
      const weight = weightOf(earner);
      weightLeft -= weight;
      const count = earner.active.length;
      const cap = (earner.vm.cap * this.#creditsPerSlice) / 100;
      let peak = count * this.#creditsPerSlice + (debt * weight) / weightTotal;
      if (cap > 0) {
        peak = Math.min(peak, cap);
      }
      let fair = (creditTotal * weight) / weightTotal;
      if (fair > peak) {
        // What it cannot use is for those that come after it.
        creditTotal += weightLeft > 0 ? ((fair - peak) * weightTotal) / weightLeft : 0;
        fair = peak;
      }
      for (const state of earner.active) {
        this.#earn(state, fair / count, cap / count);
        this.#balance += state.credit;
      }
    }
    for (const queue of this.#queues) {
      queue.sort((a, b) => Number(b.priority >= -1) - Number(a.priority >= -1));
    }
  }

  #earn(state: CreditVcpu, credit: number, cap: number): void {
    const most = this.#creditsPerSlice;
    state.credit += credit;
    if (state.credit < 0) {
      state.priority = Priority.Over;
      if (cap > 0 && state.credit < -cap) {
        this.#park(state);
      }
      state.credit = Math.max(state.credit, -most);
      return;
    }
    state.priority = Priority.Under;
    this.#unpark(state);
    if (state.credit > most) {
      // It does not need it: it stops earning, with a little in hand for when it starts again.
      state.active = false;
      state.credit /= 2;
    }
  }

  #park(state: CreditVcpu): void {
    if (state.parked) {
      return;
    }
    state.parked = true;
    if (state.queued) {
      this.#dequeue(state);
    } else if (!state.blocked) {
      this.#board.kick(state.lp);
    }
  }

  #unpark(state: CreditVcpu): void {
    if (!state.parked) {
      return;
    }
    state.parked = false;
    if (!state.blocked && !state.meter.running) {
      this.#enqueue(state);
      this.#callFor(state);
    }
  }
}

function neighbours({ topology }: SchedulerHost, level: "core" | "socket"): number[][] {
  return topology.lps.map((place) =>
    topology.lps.flatMap((other, lp) => (other[level] === place[level] ? [lp] : [])),
  );
}

/** Xen's first proportional-share scheduler. Honours weights and caps. */
export const credit = definePolicy({
  name: "credit",
  title: "Xen Credit",
  source: "Xen: xen/common/sched/credit.c and the command line's documentation",
  parameters: {
    slice: { default: 30_000_000, unit: "ns", minimum: 1_000_000, about: "sched_credit_tslice_ms" },
    ticks: { default: 3, minimum: 1, maximum: 100, about: "ticks per slice" },
    ratelimit: { default: 1_000_000, unit: "ns", about: "sched_ratelimit_us: shortest turn" },
    balanceRatelimit: {
      default: 1_000_000,
      unit: "ns",
      about: "load-balance-ratelimit of an LP that has work",
    },
    boost: { default: true, about: "vCPUs that wake with credit run first" },
    boostMigrating: {
      default: false,
      about: "as before Xen 4.7: so do those that had to make way and look for another LP",
    },
    accounting: {
      default: "exact",
      choices: ["exact", "sampled"],
      about: "sampled, as before Xen 4.0: a tick is charged to who runs when it comes",
    },
  },
  create: (host, parameters) => new Credit(host, parameters),
});
