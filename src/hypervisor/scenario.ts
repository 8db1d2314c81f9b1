/**
 * A scenario of the scheduling benchmark: which VMs there are, what they do, and what the hypervisor offers them. A plain value that
 * can be posted to another thread. Durations are whole nanoseconds.
 *
 * Every scenario scales with the overcommit N of a run: a VM with `copies: "overcommit"` exists N times, and a VM
 * without a number of vCPUs has as many as there are LPs. So one such VM at overcommit 2 is two VMs that each fill the machine.
 */

/** Runs for ever. A unit of work is `unit` of computing. */
export interface HogWorkload {
  readonly type: "hog";
  readonly unit: number;
}

/** A periodic task: runs for `run` once in every `run` + `sleep`, and halts until then. A unit of work is one burst. Also an accounting thief, with the right lengths. */
export interface BurstWorkload {
  readonly type: "bursts";
  readonly run: number;
  readonly sleep: number;
}

export const lockKinds = ["test-and-set", "ticket", "mcs", "paravirtual"] as const;
export type LockKind = (typeof lockKinds)[number];

/** What a guest is made of: operations of a script, or machine code. */
export const guestKinds = ["script", "machine-code"] as const;
export type GuestKind = (typeof guestKinds)[number];

/**
 * All vCPUs of the VM contend: compute for `think`, take one of `locks`, hold it for `hold`. A unit of work is one such round. As
 * machine code it is the only workload of its VM, and the record knows its rounds and exits, but no waiting.
 */
export interface SpinlockWorkload {
  readonly type: "spinlock";
  readonly lock: LockKind;
  readonly locks: number;
  readonly hold: number;
  readonly think: number;
  /** PAUSE loops of a paravirtual lock before it halts. */
  readonly spins: number;
  readonly guest: GuestKind;
}

/** Phases of parallel work. A vCPU computes `phase`, more or less by up to `imbalance` of it, then spins until all have arrived. */
export interface BarrierWorkload {
  readonly type: "barrier";
  readonly phase: number;
  /** 0 to 1. */
  readonly imbalance: number;
  /** PAUSE loops before a waiter halts; 0: it never does. */
  readonly spins: number;
}

export const shootdownModes = ["ipi-wait", "paravirtual"] as const;
export type ShootdownMode = (typeof shootdownModes)[number];

/**
 * Computes for `think`, then has all vCPUs of the VM invalidate their TLBs and waits for them: by IPI to every one, or, paravirtual,
 * leaving those that do not run to flush before they run again.
 */
export interface ShootdownWorkload {
  readonly type: "shootdown";
  readonly mode: ShootdownMode;
  readonly think: number;
  /** Time of the IPI's handler. */
  readonly handler: number;
}

/** vCPUs in pairs, of even and odd number. The even one computes `produce` per item and sends an IPI; the odd one halts until it comes and computes `consume`. */
export interface ProducerConsumerWorkload {
  readonly type: "producer-consumer";
  readonly produce: number;
  readonly consume: number;
  /** Items ahead at which the producer waits. */
  readonly depth: number;
}

export const ioDevices = ["emulated", "virtio", "posted"] as const;
export type IoDevice = (typeof ioDevices)[number];

/**
 * Answers requests that come from outside. The device raises an interrupt for each; the guest computes `service`, then tells the device
 * by port accesses that exit (emulated), one notification that exits (virtio), or a pass-through register and posted interrupts (posted).
 */
export interface IoWorkload {
  readonly type: "io";
  readonly device: IoDevice;
  readonly service: number;
  /** A request comes so long after the answer to the one before, per connection. */
  readonly think: number;
  /** Connections per vCPU, that is, requests outstanding at most. */
  readonly connections: number;
}

/** Handles a periodic timer interrupt and halts between. */
export interface TicksWorkload {
  readonly type: "ticks";
  readonly period: number;
  readonly handler: number;
}

/** Sleeps until a time and records how late it woke. */
export interface LatencyProbeWorkload {
  readonly type: "latency-probe";
  readonly period: number;
}

export type Workload =
  | HogWorkload
  | BurstWorkload
  | SpinlockWorkload
  | BarrierWorkload
  | ShootdownWorkload
  | ProducerConsumerWorkload
  | IoWorkload
  | TicksWorkload
  | LatencyProbeWorkload;

export type WorkloadType = Workload["type"];

export const affinityRules = ["any", "pinned"] as const;

/** `any`: all LPs; `pinned`: vCPU n on LP n modulo the number of LPs; else the LPs themselves, for every vCPU of the VM. */
export type Affinity = (typeof affinityRules)[number] | readonly number[];

export interface ScenarioVm {
  readonly name: string;
  /** `overcommit`: as many VMs as the overcommit says. */
  readonly copies: number | "overcommit";
  /** `lps`: as many vCPUs as there are LPs. */
  readonly vcpus: number | "lps";
  readonly weight: number;
  /** Percent of one LP; 0: no limit. */
  readonly cap: number;
  readonly affinity: Affinity;
  /** vCPU n does what entry n modulo the length says; vCPUs with the same entry do it together. */
  readonly workloads: readonly Workload[];
}

/** How a PAUSE-loop exit chooses a sibling to run instead. */
export const directedYieldRules = ["none", "preempted", "preempted-or-ipi-receiver"] as const;
export type DirectedYieldRule = (typeof directedYieldRules)[number];

/** What the reference hypervisor does beside scheduling; the same under every policy. */
export interface HypervisorFeatures {
  /** Device interrupts and IPIs reach running guests without VM exits. */
  readonly posting: boolean;
  readonly ipiVirtualization: boolean;
  /** Longest poll before a halted vCPU is descheduled; 0: none. It starts at 10 us, doubles and halves. */
  readonly haltPollMax: number;
  /** PAUSE-loop exiting; a window of 0 switches it off. In cycles. */
  readonly pauseGap: number;
  readonly pauseWindow: number;
  readonly directedYield: DirectedYieldRule;
}

export const defaultFeatures: HypervisorFeatures = {
  posting: true,
  ipiVirtualization: false,
  haltPollMax: 0,
  pauseGap: 128,
  pauseWindow: 4096,
  directedYield: "preempted",
};

/** LPs are sockets × coresPerSocket × threadsPerCore, threads of a core having neighbouring numbers. */
export interface ScenarioTopology {
  readonly sockets: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
}

export interface Scenario {
  readonly name: string;
  /** One sentence for `vmxon sched list`. */
  readonly description: string;
  readonly topology: ScenarioTopology;
  /** Simulated time of a run, and how much of its start is left out of the metrics. */
  readonly duration: number;
  readonly warmup: number;
  readonly features: HypervisorFeatures;
  readonly vms: readonly ScenarioVm[];
}

export const microsecond = 1_000;
export const millisecond = 1_000_000;

/** What a VM is unless it says otherwise. */
export const defaultVm = {
  copies: "overcommit",
  vcpus: "lps",
  weight: 256,
  cap: 0,
  affinity: "any",
} as const satisfies Partial<ScenarioVm>;

/** Most vCPUs and LPs of a run. */
export const vcpusMax = 1024;
export const lpsMax = 64;

/** The LPs of a topology. */
export function lpsOf({ sockets, coresPerSocket, threadsPerCore }: ScenarioTopology): number {
  return sockets * coresPerSocket * threadsPerCore;
}

/** The topology of a run with another number of LPs: one socket of whole cores, or of single threads when they do not divide. */
export function topologyWith(shape: ScenarioTopology, lps: number): ScenarioTopology {
  if (lpsOf(shape) === lps) return shape;
  const threadsPerCore = lps % shape.threadsPerCore === 0 ? shape.threadsPerCore : 1;
  return { sockets: 1, coresPerSocket: lps / threadsPerCore, threadsPerCore };
}

/** A VM as it exists in a run, copies and counts resolved. */
export interface PlacedVm {
  readonly name: string;
  /** Index in the scenario's VMs. */
  readonly template: number;
  readonly weight: number;
  readonly cap: number;
  readonly vcpus: readonly { readonly affinity: readonly number[]; readonly workload: number }[];
  readonly workloads: readonly Workload[];
}

/** The VMs of a run. `workload` of a vCPU is an index in the VM's workloads. */
export function placeVms(scenario: Scenario, lps: number, overcommit: number): readonly PlacedVm[] {
  return scenario.vms.flatMap((vm, template) => {
    const copies = vm.copies === "overcommit" ? overcommit : vm.copies;
    return Array.from({ length: copies }, (_, copy) => ({
      name: copies > 1 ? `${vm.name}-${copy + 1}` : vm.name,
      template,
      weight: vm.weight,
      cap: vm.cap,
      vcpus: Array.from({ length: vm.vcpus === "lps" ? lps : vm.vcpus }, (_, index) => ({
        affinity: affinityOf(vm.affinity, index, lps),
        workload: index % vm.workloads.length,
      })),
      workloads: vm.workloads,
    }));
  });
}

function affinityOf(rule: Affinity, index: number, lps: number): readonly number[] {
  if (rule === "pinned") return [index % lps];
  if (rule === "any") return Array.from({ length: lps }, (_, lp) => lp);
  return rule;
}
