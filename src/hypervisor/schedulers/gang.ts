import { present } from "../../base/assert.ts";
import { LpBoard } from "./lp-board.ts";
import type { Decision, Scheduler, SchedulerHost, VcpuHandle, VmHandle } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";
import { type Seats, seatAll } from "./seating.ts";

/** vCPUs of a VM that run together: all of them, unless there are more than can be seated. */
interface Gang {
  readonly members: readonly VcpuHandle[];
  /** How many are not blocked. */
  awake: number;
  place: "nowhere" | "waiting" | "seated";
}

/**
 * Strict gang scheduling: time is divided into slots. In a slot each LP is one vCPU's seat, and a VM has seats for all its
 * vCPUs or for none; the LP of one that blocks stays idle. A VM all of whose vCPUs are blocked gives up its seats.
 *
 * From one slot to the next: an LP that sees the end kicks the others, everybody leaves, and the last to do so hands out the new
 * seats. So a vCPU never runs in a slot that a sibling has left.
 */
class GangScheduler implements Scheduler {
  readonly #host: SchedulerHost;
  readonly #slice: number;
  readonly #board: LpBoard;
  readonly #gangs = new Map<VcpuHandle, Gang>();
  readonly #awake = new Set<VcpuHandle>();
  readonly #lastLp = new Map<VcpuHandle, number>();
  /** Those that have somebody awake and no seats, the longest waiting first. */
  #waiting: Gang[] = [];
  #seated: Gang[] = [];
  #seats: Seats;
  #slotEnd = 0;
  /** The slot is over, but not all have left. */
  #gathering = false;

  constructor(host: SchedulerHost, slice: number) {
    this.#host = host;
    this.#slice = slice;
    this.#board = new LpBoard(host);
    this.#seats = host.topology.lps.map(() => undefined);
  }

  add(vcpu: VcpuHandle): void {
    if (!this.#gangs.has(vcpu)) {
      this.#addGangs(vcpu.vm);
    }
  }

  wake(vcpu: VcpuHandle): void {
    const gang = this.#gang(vcpu);
    this.#awake.add(vcpu);
    gang.awake++;
    if (gang.place === "nowhere") {
      gang.place = "waiting";
      this.#waiting.push(gang);
      this.#seatMore();
    } else if (gang.place === "seated" && !this.#gathering) {
      this.#board.kick(this.#seats.indexOf(vcpu));
    }
  }

  block(vcpu: VcpuHandle): void {
    const gang = this.#gang(vcpu);
    this.#awake.delete(vcpu);
    gang.awake--;
    this.#board.leave(present(this.#lastLp.get(vcpu), "a running vCPU has an LP"));
    if (gang.awake > 0) {
      return;
    }
    if (gang.place === "seated") {
      this.#seated.splice(this.#seated.indexOf(gang), 1);
      this.#seats = this.#seats.map((seat) =>
        seat !== undefined && gang.members.includes(seat) ? undefined : seat,
      );
    } else if (gang.place === "waiting") {
      this.#waiting.splice(this.#waiting.indexOf(gang), 1);
    }
    gang.place = "nowhere";
    this.#seatMore();
  }

  /** The seat is the vCPU's for the slot, whether it uses it well or not. */
  yielded(): void {}

  pauseLoop(): undefined {}

  ran(): void {}

  pick(lp: number): Decision {
    this.#board.look(lp);
    const now = this.#host.now();
    if (!this.#gathering && now >= this.#slotEnd) {
      this.#endSlot();
    }
    if (this.#gathering && this.#haveAllLeft()) {
      this.#beginSlot(lp);
    }
    const seat = this.#seats[lp];
    if (this.#gathering || seat === undefined || !this.#awake.has(seat)) {
      return { vcpu: undefined, slice: Number.POSITIVE_INFINITY };
    }
    this.#board.decide(lp, seat);
    this.#lastLp.set(seat, lp);
    return { vcpu: seat, slice: this.#slotEnd - now };
  }

  #gang(vcpu: VcpuHandle): Gang {
    return present(this.#gangs.get(vcpu), "a vCPU of the policy belongs to a gang");
  }

  /** A VM of which not all can be seated at once gets several gangs. */
  #addGangs({ vcpus }: VmHandle): void {
    const empty: Seats = this.#host.topology.lps.map(() => undefined);
    let members: VcpuHandle[] = [];
    const close = (): void => {
      const gang: Gang = { members, awake: 0, place: "nowhere" };
      for (const member of members) {
        this.#gangs.set(member, gang);
      }
      members = [];
    };
    for (const vcpu of vcpus) {
      if (seatAll([...members, vcpu], empty, () => undefined, true) === undefined) {
        close();
      }
      members.push(vcpu);
    }
    close();
  }

  // ——— slots

  #endSlot(): void {
    this.#slotEnd = this.#host.now() + this.#slice;
    if (this.#waiting.length === 0) {
      return;
    }
    this.#gathering = true;
    for (let lp = 0; lp < this.#board.count; lp++) {
      if (this.#board.running(lp) !== undefined) {
        this.#board.kick(lp);
      }
    }
  }

  #haveAllLeft(): boolean {
    for (let lp = 0; lp < this.#board.count; lp++) {
      if (this.#board.running(lp) !== undefined) {
        return false;
      }
    }
    return true;
  }

  /** Seats as many gangs as fit, the longest waiting first. @param here the LP that decides: it needs no kick */
  #beginSlot(here: number): void {
    this.#gathering = false;
    for (const gang of this.#seated) {
      gang.place = "waiting";
    }
    this.#waiting.push(...this.#seated);
    this.#seated = [];
    this.#seats = this.#seats.map(() => undefined);
    this.#slotEnd = this.#host.now() + this.#slice;
    this.#seatWaiting(true, here);
  }

  /** In a running slot, on LPs that are nobody's seat; those who sit stay where they are. */
  #seatMore(): void {
    if (this.#gathering) {
      return;
    }
    if (this.#seated.length === 0) {
      this.#slotEnd = this.#host.now() + this.#slice;
    }
    this.#seatWaiting(false, -1);
  }

  #seatWaiting(movable: boolean, here: number): void {
    const before = this.#seats;
    this.#waiting = this.#waiting.filter((gang) => {
      const seats = seatAll(gang.members, this.#seats, (vcpu) => this.#lastLp.get(vcpu), movable);
      if (seats === undefined) {
        return true;
      }
      this.#seats = seats;
      this.#seated.push(gang);
      gang.place = "seated";
      return false;
    });
    for (const [lp, vcpu] of this.#seats.entries()) {
      if (vcpu !== undefined && vcpu !== before[lp] && lp !== here && this.#awake.has(vcpu)) {
        this.#board.kick(lp);
      }
    }
  }
}

/** Ousterhout's co-scheduling. Ignores weights and caps. */
export const gang = definePolicy({
  name: "gang",
  title: "Strict gang scheduling",
  source:
    "Ousterhout, Scheduling techniques for concurrent systems, 1982; the slice is a usual one",
  parameters: {
    slice: { default: 10_000_000, unit: "ns", minimum: 100_000, about: "length of a slot" },
  },
  create: (host, { slice }) => new GangScheduler(host, slice),
});
