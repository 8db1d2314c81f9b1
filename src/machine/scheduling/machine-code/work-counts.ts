import { assert, present } from "../../../base/assert.ts";
import type { ReferenceHypervisor } from "../../../hypervisor/reference/hypervisor.ts";
import type { VirtualMachine } from "../../../hypervisor/reference/virtual-machine.ts";
import { noLp, type RunRecorder } from "../../../hypervisor/run-record.ts";
import type { Scheduler, VcpuHandle, VmHandle } from "../../../hypervisor/schedulers/scheduler.ts";
import { guardedWord, locksMax, workWord } from "../../../hypervisor/workloads/guest-memory-map.ts";
import type { ScriptedSoftware } from "../../../isa/operations.ts";

/** Most entries of the record for what was done between two looks. */
const entriesMost = 16;

/**
 * Records what vCPUs of machine code have done. They cannot say so themselves: each counts in a word of its memory, which is looked at
 * whenever the policy is told what the vCPU has used, and when the run is over.
 */
export class WorkCounts {
  readonly #hypervisor: ReferenceHypervisor;
  readonly #recorder: RunRecorder;
  /** By vCPU: rounds that are recorded, and when it was last looked at. */
  readonly #known: number[] = [];
  readonly #seen: number[] = [];
  #memory: DataView | undefined;

  constructor(hypervisor: ReferenceHypervisor, recorder: RunRecorder) {
    this.#hypervisor = hypervisor;
    this.#recorder = recorder;
  }

  /** The software of the machine, whose memory is seen when it is loaded. */
  seeing(software: ScriptedSoftware): ScriptedSoftware {
    return {
      ...software,
      load: (ram, freeFrom) => {
        this.#memory = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
        software.load?.(ram, freeFrom);
      },
    };
  }

  /** A scheduler that does what another one does, and has an eye on the counts if there are any. */
  watching(inner: Scheduler): Scheduler {
    if (this.#hypervisor.setup.vms.every(({ image }) => image === undefined)) return inner;
    return {
      add: (vcpu) => inner.add(vcpu),
      wake: (vcpu, reason) => inner.wake(vcpu, reason),
      block: (vcpu) => inner.block(vcpu),
      yielded: (vcpu, to) => inner.yielded(vcpu, to),
      pauseLoop: (vcpu) => inner.pauseLoop(vcpu),
      ran: (vcpu, lp, ns) => {
        this.#look(vcpu, lp, ns);
        inner.ran(vcpu, lp, ns);
      },
      pick: (lp, current) => inner.pick(lp, current),
      gauges: (vcpu) => inner.gauges?.(vcpu) ?? {},
    };
  }

  /** The run is over. @throws the vCPUs of a VM have had a lock at the same time */
  finish(): void {
    const { origin, vms } = this.#hypervisor;
    if (origin === undefined) return;
    for (const vm of vms) {
      const end = this.#hypervisor.now();
      for (const vcpu of vm.vcpus) {
        this.#look(vcpu, vcpu.lp ?? noLp, end - (this.#seen[vcpu.id] ?? 0));
      }
      if (this.#runsCode(vm)) this.#compare(vm);
    }
  }

  #compare(vm: VirtualMachine): void {
    let counted = 0;
    for (let lock = 0; lock < locksMax; lock++) counted += this.#read(vm, guardedWord(lock));
    const done = vm.vcpus.reduce((sum, { id }) => sum + (this.#known[id] ?? 0), 0);
    // A vCPU may have counted with the lock and not yet by itself.
    assert(
      counted >= done && counted <= done + vm.vcpus.length,
      `${vm.name} has done ${done} rounds, and ${counted} under its locks`,
    );
  }

  #runsCode(vm: VmHandle): boolean {
    return this.#hypervisor.setup.vms[vm.id]?.image !== undefined;
  }

  #read(vm: VmHandle, address: bigint): number {
    const memory = present(this.#memory, "the software has been loaded");
    const base = present(this.#hypervisor.plan.guests[vm.id], "a VM has memory");
    return Number(memory.getBigUint64(base + Number(address), true));
  }

  /** @param ns for how long the vCPU has run since it was last looked at: its rounds are put down evenly to that time */
  #look({ id, index, vm }: VcpuHandle, lp: number, ns: number): void {
    if (!this.#runsCode(vm)) return;
    const now = Math.min(this.#hypervisor.now(), this.#hypervisor.setup.duration - 1);
    const done = this.#read(vm, workWord(index));
    let known = this.#known[id] ?? 0;
    const entries = Math.min(done - known, entriesMost);
    for (let left = entries; left > 0; left--) {
      const units = Math.ceil((done - known) / left);
      const time = Math.floor(now - (ns * (left - 1)) / entries);
      this.#recorder.work(time, lp, id, units);
      known += units;
    }
    this.#known[id] = done;
    this.#seen[id] = now;
  }
}
