import { present } from "../../base/assert.ts";
import { LpBoard } from "./lp-board.ts";
import type {
  Decision,
  Policy,
  Scheduler,
  SchedulerHost,
  VcpuHandle,
  VmHandle,
  WakeReason,
} from "./scheduler.ts";
import { type Seats, seatAll } from "./seating.ts";
import type { Topology } from "./topology.ts";

/** vCPUs of a VM that use a core together: a vCPU to the policy within. */
class Unit implements VcpuHandle {
  readonly id: number;
  readonly vm: VmHandle;
  readonly index: number;
  readonly affinity: readonly boolean[];
  readonly members: readonly VcpuHandle[];
  /** By core: who sits on which LP of the machine; none where affinity forbids. */
  readonly seats: readonly (Seats | undefined)[];
  state: "blocked" | "ready" | "running" = "blocked";

  constructor(
    id: number,
    vm: VmHandle,
    index: number,
    members: readonly VcpuHandle[],
    seats: readonly (Seats | undefined)[],
  ) {
    this.id = id;
    this.vm = vm;
    this.index = index;
    this.affinity = seats.map((places) => places !== undefined);
    this.members = members;
    this.seats = seats;
  }
}

/** A core: an LP to the policy within. */
interface Core {
  readonly lps: readonly number[];
  unit: Unit | undefined;
  /** By LP of the machine: who runs there when the unit does. */
  seats: Seats;
  /** Since when the unit's time has not been told. */
  toldAt: number;
  sliceEnd: number;
  decision: Decision;
  /** The unit is to leave, or has left; the policy within is asked when all LPs have. */
  gathering: boolean;
}

/**
 * Any policy with whole cores for LPs: only vCPUs of one VM ever run on the siblings of a core at the same time. To the policy
 * within, a *unit* of as many vCPUs as a core has siblings is a vCPU; it is awake as long as one of its members is.
 *
 * All siblings leave a unit before any of them begins the next: the first that must decide kicks the others and waits, the
 * last one asks the policy.
 */
class CoreGranularity implements Scheduler {
  readonly #host: SchedulerHost;
  readonly #inner: Scheduler;
  readonly #cores: Core[];
  readonly #coreOf: readonly Core[];
  readonly #units = new Map<VcpuHandle, Unit>();
  readonly #awake = new Set<VcpuHandle>();
  readonly #board: LpBoard;
  #unitCount = 0;

  constructor(host: SchedulerHost, create: (host: SchedulerHost) => Scheduler) {
    this.#host = host;
    const { lps } = host.topology;
    this.#board = new LpBoard(host);
    this.#cores = [...new Set(lps.map(({ core }) => core))].map((core) => ({
      lps: lps.flatMap((place, lp) => (place.core === core ? [lp] : [])),
      unit: undefined,
      seats: [],
      toldAt: 0,
      sliceEnd: Number.POSITIVE_INFINITY,
      decision: { vcpu: undefined, slice: Number.POSITIVE_INFINITY },
      gathering: false,
    }));
    this.#coreOf = lps.map((_, lp) =>
      present(
        this.#cores.find((core) => core.lps.includes(lp)),
        "every LP belongs to a core",
      ),
    );
    this.#inner = create({
      topology: coreTopology(host.topology, this.#cores),
      random: host.random,
      now: () => host.now(),
      at: (time, action) => host.at(time, action),
      kick: (core) => this.#call(this.#core(core)),
      running: (core) => this.#core(core).unit,
    });
  }

  add(vcpu: VcpuHandle): void {
    if (!this.#units.has(vcpu)) {
      this.#addUnits(vcpu.vm);
    }
  }

  wake(vcpu: VcpuHandle, reason: WakeReason): void {
    this.#awake.add(vcpu);
    const unit = this.#unit(vcpu);
    if (unit.state === "blocked") {
      unit.state = "ready";
      this.#inner.wake(unit, reason);
    } else if (unit.state === "running") {
      const core = this.#coreUsedBy(unit);
      const lp = core.seats.indexOf(vcpu);
      if (!core.gathering && this.#board.isFree(lp)) {
        this.#board.kick(lp);
      }
    }
  }

  block(vcpu: VcpuHandle): void {
    this.#awake.delete(vcpu);
    const unit = this.#unit(vcpu);
    const core = this.#coreUsedBy(unit);
    this.#board.leave(core.seats.indexOf(vcpu));
    if (!unit.members.some((member) => this.#awake.has(member))) {
      this.#tell(core);
      unit.state = "blocked";
      core.unit = undefined;
      this.#inner.block(unit);
      this.#gather(core);
    }
  }

  yielded(vcpu: VcpuHandle, to?: VcpuHandle): void {
    const unit = this.#unit(vcpu);
    const core = this.#coreUsedBy(unit);
    const target = to === undefined ? undefined : this.#unit(to);
    this.#tell(core);
    this.#inner.yielded(unit, target === unit ? undefined : target);
    this.#gather(core);
  }

  pauseLoop(vcpu: VcpuHandle): VcpuHandle | undefined {
    const unit = this.#unit(vcpu);
    const core = this.#coreUsedBy(unit);
    this.#tell(core);
    const preferred = this.#inner.pauseLoop(unit);
    this.#gather(core);
    return preferred instanceof Unit
      ? preferred.members.find((member) => this.#awake.has(member))
      : undefined;
  }

  /** A unit uses its core from one decision to the next, whatever its members do. */
  ran(): void {}

  pick(lp: number): Decision {
    const core = this.#coreAt(lp);
    this.#board.look(lp);
    if (this.#host.now() >= core.sliceEnd) {
      this.#gather(core);
    }
    if (core.gathering && core.lps.every((sibling) => this.#board.running(sibling) === undefined)) {
      this.#decide(core, lp);
    }
    const vcpu = core.seats[lp];
    if (core.gathering || vcpu === undefined || !this.#awake.has(vcpu)) {
      return { vcpu: undefined, slice: Number.POSITIVE_INFINITY };
    }
    this.#board.decide(lp, vcpu);
    return { ...core.decision, vcpu, slice: core.sliceEnd - this.#host.now() };
  }

  gauges(vcpu: VcpuHandle): Readonly<Record<string, number>> {
    return this.#inner.gauges?.(this.#unit(vcpu)) ?? {};
  }

  #core(index: number): Core {
    return present(this.#cores[index], "a core of the topology");
  }

  #coreUsedBy(unit: Unit): Core {
    return present(
      this.#cores.find((core) => core.unit === unit),
      "a unit that runs has a core",
    );
  }

  #coreAt(lp: number): Core {
    return present(this.#coreOf[lp], "every LP belongs to a core");
  }

  #unit(vcpu: VcpuHandle): Unit {
    return present(this.#units.get(vcpu), "a vCPU of the policy belongs to a unit");
  }

  // ——— deciding

  /** The policy within wants to be asked about a core. */
  #call(core: Core): void {
    this.#gather(core);
    if (core.lps.every((lp) => this.#board.running(lp) === undefined)) {
      this.#board.kick(present(core.lps[0], "a core has LPs"));
    }
  }

  #gather(core: Core): void {
    core.gathering = true;
    for (const lp of core.lps) {
      if (this.#board.running(lp) !== undefined) {
        this.#board.kick(lp);
      }
    }
  }

  /** All siblings have left: asks who shall use the core. @param here the sibling that needs no kick */
  #decide(core: Core, here: number): void {
    const previous = core.unit;
    this.#tell(core);
    const index = this.#cores.indexOf(core);
    core.gathering = false;
    core.decision = this.#inner.pick(index, previous);
    const { vcpu, slice } = core.decision;
    const unit = vcpu instanceof Unit ? vcpu : undefined;
    if (previous !== undefined && previous !== unit) {
      previous.state = "ready";
    }
    core.unit = unit;
    core.toldAt = this.#host.now();
    core.sliceEnd = this.#host.now() + slice;
    if (unit === undefined) {
      core.seats = [];
      return;
    }
    unit.state = "running";
    core.seats = present(unit.seats[index], "the policy within obeys affinity");
    for (const lp of core.lps) {
      const member = core.seats[lp];
      if (lp !== here && member !== undefined && this.#awake.has(member)) {
        this.#board.kick(lp);
      }
    }
  }

  /** Tells the policy what the unit has used. */
  #tell(core: Core): void {
    const now = this.#host.now();
    if (core.unit !== undefined) {
      this.#inner.ran(core.unit, this.#cores.indexOf(core), now - core.toldAt);
    }
    core.toldAt = now;
  }

  // ——— units

  /** Neighbours by number share a unit, as far as there is a core where they can. */
  #addUnits(vm: VmHandle): void {
    const { id, name, weight, cap } = vm;
    const size = Math.max(...this.#cores.map(({ lps }) => lps.length));
    const groups: VcpuHandle[][] = [];
    for (const vcpu of vm.vcpus) {
      const last = groups.at(-1);
      const isRoom = last !== undefined && last.length < size;
      if (isRoom && this.#seatsOf([...last, vcpu]).some((seats) => seats !== undefined)) {
        last.push(vcpu);
      } else {
        groups.push([vcpu]);
      }
    }
    const units: Unit[] = [];
    // A cap speaks of LPs, the policy within of cores.
    const inner: VmHandle = { id, name, weight, cap: cap / size, vcpus: units };
    for (const [index, members] of groups.entries()) {
      const unit = new Unit(this.#unitCount++, inner, index, members, this.#seatsOf(members));
      units.push(unit);
      for (const member of members) {
        this.#units.set(member, unit);
      }
    }
    for (const unit of units) {
      this.#inner.add(unit);
    }
  }

  #seatsOf(members: readonly VcpuHandle[]): (Seats | undefined)[] {
    const { lps } = this.#host.topology;
    return this.#cores.map((core) =>
      seatAll(
        members,
        lps.map(() => undefined),
        () => undefined,
        true,
        (lp) => core.lps.includes(lp),
      ),
    );
  }
}

function coreTopology({ lps }: Topology, cores: readonly Core[]): Topology {
  return {
    lps: cores.map((core, index) => ({
      core: index,
      socket: lps[core.lps[0] ?? 0]?.socket ?? 0,
    })),
  };
}

/** The same policy with whole cores for LPs, as Xen's sched-gran=core: siblings of a core never run vCPUs of different VMs. */
export function withCoreGranularity(policy: Policy): Policy {
  return {
    ...policy,
    name: `${policy.name}+core`,
    title: `${policy.title}, by whole cores`,
    create: (host, parameters) =>
      new CoreGranularity(host, (cores) => policy.create(cores, parameters)),
  };
}
