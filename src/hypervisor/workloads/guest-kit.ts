import { cli, compute, hlt, rdtsc, type Steps, sti, wrmsr } from "../../isa/operations.ts";
import type { CostKey } from "../costs/cost-profile.ts";
import type { OutsideWorld } from "../reference/outside-world.ts";
import type { VirtualCpu } from "../reference/virtual-machine.ts";
import { BlockCause, noLp, type RunRecorder } from "../run-record.ts";
import { msr } from "../vmx/architecture.ts";

/** What all vCPUs of a run share beside their VMs' memory. */
export interface RunKit {
  readonly recorder: RunRecorder;
  readonly costs: Readonly<Record<CostKey, number>>;
  readonly outside: OutsideWorld;
  /** Nanoseconds since the start of the run, and the clock at its start. */
  readonly now: () => number;
  readonly origin: () => number;
  /** By number of the vCPU; complete before the run. */
  readonly kits: GuestKit[];
}

/** An IPI under way to a vCPU. */
interface Letter {
  readonly id: number;
  readonly vector: number;
  readonly sender: GuestKit;
}

/** vCPUs that do the same workload together, by number in the VM. */
export interface Group {
  readonly members: GuestKit[];
}

/**
 * What a workload on one vCPU has beside its operations: who it is, the time, and the record it writes to. None of it costs
 * time.
 */
export class GuestKit {
  readonly vcpu: VirtualCpu;
  readonly run: RunKit;
  readonly group: Group;
  /** IPIs sent to this vCPU that its handler has not seen. */
  #letters: Letter[] = [];

  constructor(vcpu: VirtualCpu, run: RunKit, group: Group) {
    this.vcpu = vcpu;
    this.run = run;
    this.group = group;
    group.members.push(this);
    run.kits[vcpu.id] = this;
  }

  get recorder(): RunRecorder {
    return this.run.recorder;
  }
  get lp(): number {
    return this.vcpu.lp ?? noLp;
  }
  now(): number {
    return this.run.now();
  }

  /** The other vCPUs of the VM. */
  siblings(): readonly GuestKit[] {
    const others = this.vcpu.vm.vcpus.filter((other) => other !== this.vcpu);
    return others.flatMap(({ id }) => this.run.kits[id] ?? []);
  }

  /** So many units of the workload are done. */
  worked(units: number): void {
    this.recorder.work(this.now(), this.lp, this.vcpu.id, units);
  }

  /** Halts until something holds. Interrupts are on before and after. @param cause what for, for the record */
  *halt(isOver: () => boolean, cause: BlockCause): Steps<void> {
    while (!isOver()) {
      yield cli();
      if (!isOver()) {
        this.vcpu.blockCause = cause;
        yield sti();
        yield hlt();
        this.vcpu.blockCause = BlockCause.Idle;
      } else {
        yield sti();
      }
    }
  }

  /** Sets the deadline timer. @param time nanoseconds since the start of the run */
  *setTimer(time: number): Steps<void> {
    yield wrmsr(msr.tscDeadline, BigInt(Math.ceil(time + this.run.origin())));
  }

  /** The time as the guest sees it. */
  *readTime(): Steps<number> {
    return Number(yield rdtsc()) - this.run.origin();
  }

  /** An IPI to one sibling. */
  *sendIpi(to: GuestKit, vector: number): Steps<void> {
    this.#address(to, vector);
    const command = (BigInt(to.vcpu.index) << 32n) | BigInt(vector);
    yield wrmsr(msr.x2apicCommand, command);
  }

  #address(to: GuestKit, vector: number): void {
    const id = this.recorder.count;
    to.#letters.push({ id, vector, sender: this });
    this.recorder.ipiSend(this.now(), this.lp, this.vcpu.id, id, to.vcpu.id);
  }

  /** In the handler of an IPI that asks for nothing. */
  *acknowledge(vector: number): Steps<void> {
    this.takeIpis(vector);
    yield compute(this.run.costs["memory.line-transfer"]);
  }

  /** In the handler: the IPIs that it answers. */
  takeIpis(vector: number): readonly GuestKit[] {
    const letters = this.#letters.filter((letter) => letter.vector === vector);
    if (letters.length === 0) return [];
    this.#letters = this.#letters.filter((letter) => letter.vector !== vector);
    for (const { id, sender } of letters) {
      this.recorder.ipiAcknowledge(this.now(), this.lp, this.vcpu.id, id, sender.vcpu.id);
    }
    return letters.map(({ sender }) => sender);
  }
}
