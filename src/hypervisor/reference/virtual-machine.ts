import { BlockCause } from "../run-record.ts";
import type { VcpuHandle, VmHandle } from "../schedulers/scheduler.ts";
import type { ControlWords } from "../vmx/controls.ts";
import type { VcpuPages } from "../vmx/vmcs.ts";
import { PendingVectors } from "./pending-vectors.ts";

/** Something the hypervisor is to do at a time, on one LP. */
export interface HostTimer {
  /** Nanoseconds from the start of the run. */
  readonly time: number;
  readonly due: { readonly type: "policy"; readonly action: () => void } | GuestTimer | EndOfRun;
}
interface GuestTimer {
  readonly type: "guest";
  readonly vcpu: VirtualCpu;
}
interface EndOfRun {
  readonly type: "end";
}

/** A virtual machine: memory of its own, and virtual processors. */
export class VirtualMachine implements VmHandle {
  readonly id: number;
  readonly name: string;
  readonly weight: number;
  readonly cap: number;
  readonly vcpus: VirtualCpu[] = [];
  /** Interrupts are posted for it by others than the hypervisor: descriptors must say at all times where its vCPUs are. */
  usesDescriptors = false;

  constructor(id: number, name: string, weight: number, cap: number) {
    this.id = id;
    this.name = name;
    this.weight = weight;
    this.cap = cap;
  }
}

/** Blocked: has nothing to do. Ready: waits for an LP. Running: an LP is its. */
export type VcpuState = "blocked" | "ready" | "running";

/** A virtual processor: a VMCS, the registers that a VMCS does not hold, and what the hypervisor knows of it. */
export class VirtualCpu implements VcpuHandle {
  readonly id: number;
  readonly vm: VirtualMachine;
  readonly index: number;
  readonly affinity: readonly boolean[];
  readonly registers = new BigUint64Array(16);
  state: VcpuState = "blocked";
  /** LP that it uses, or did last; undefined before the first time. */
  lp: number | undefined = undefined;
  /** LP where its VMCS is active: nowhere else may it be loaded before it is cleared there. */
  residence: number | undefined = undefined;
  /** The VMCS has been launched since it was last cleared. */
  isLaunched = false;
  /** Interrupts that wait to be injected, when they are not posted. */
  readonly pending = new PendingVectors();
  /** Something is to be looked at before the next VM entry. */
  hasRequest = false;
  /** VM exits when its guest can take an interrupt are asked for. */
  hasInterruptWindow = false;
  /** An LP polls on its behalf. */
  isPolled = false;
  /** Longest next poll after HLT, in nanoseconds. */
  pollLimit = 0;
  /** When it halted and had nothing to do; undefined: it does not wait. */
  haltedAt: number | undefined = undefined;
  /** Gap and window of PAUSE-loop exiting as its VMCS has them. */
  pauseGap = 0;
  pauseWindow = 0;
  /** Its own deadline timer, on the LP `lp`; undefined: it is not set. */
  timer: HostTimer | undefined = undefined;
  /** What its guest waits for when it halts: told by the workload, for the record. */
  blockCause: BlockCause = BlockCause.Idle;
  /** Its translations are to be dropped before it runs again. */
  mustFlush = false;
  /** Woken by a hypercall before it could block. */
  isKicked = false;
  /** Control words of its VMCS as they were chosen. */
  controls: ControlWords | undefined = undefined;
  #pages: VcpuPages | undefined;

  constructor(vm: VirtualMachine, id: number, affinity: readonly boolean[]) {
    this.vm = vm;
    this.id = id;
    this.index = vm.vcpus.length;
    this.affinity = affinity;
    vm.vcpus.push(this);
  }

  /** Something ends its HLT, or is to be looked at before it can rest. */
  get isAwake(): boolean {
    return this.hasRequest || this.isKicked || !this.pending.isEmpty;
  }

  get pages(): VcpuPages {
    if (this.#pages === undefined) throw new Error(`vCPU ${this.id} has no memory yet`);
    return this.#pages;
  }
  set pages(pages: VcpuPages) {
    this.#pages = pages;
  }
  /** Tag of its translations: of this vCPU alone. */
  get vpid(): number {
    return this.id + 1;
  }
}
