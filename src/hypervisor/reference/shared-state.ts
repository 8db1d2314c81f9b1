import type { CostKey } from "../costs/cost-profile.ts";
import type { RunRecorder } from "../run-record.ts";
import type { HypervisorFeatures } from "../scenario.ts";
import type { Scheduler, SchedulerHost } from "../schedulers/scheduler.ts";
import type { Topology } from "../schedulers/topology.ts";
import type { GuestFactory, GuestImage, GuestSoftware } from "./guest-software.ts";
import type { HostLp } from "./host-lp.ts";
import type { MemoryPlan } from "./memory-plan.ts";
import type { OutsideWorld } from "./outside-world.ts";
import type { PolicyHost } from "./policy-host.ts";
import type { PostLog } from "./post-log.ts";
import type { VirtualCpu, VirtualMachine } from "./virtual-machine.ts";

/** A write to it ends the machine. */
export const debugExitPort = 0xf4;

/** A virtual machine that is wanted. */
export interface VmSetup {
  readonly name: string;
  readonly weight: number;
  readonly cap: number;
  /** By vCPU: LPs it may run on, by LP. */
  readonly affinities: readonly (readonly boolean[])[];
  /** What its vCPUs run; undefined: scripts, which `HypervisorSetup.guests` makes. */
  readonly image: GuestImage | undefined;
}

export interface HypervisorSetup {
  readonly topology: Topology;
  readonly vms: readonly VmSetup[];
  readonly features: HypervisorFeatures;
  /** Nanoseconds of everything that has a price. */
  readonly costs: Readonly<Record<CostKey, number>>;
  readonly createScheduler: (host: SchedulerHost) => Scheduler;
  readonly guests: GuestFactory;
  readonly recorder: RunRecorder;
  readonly outside: OutsideWorld;
  /** Nanoseconds from the start of the run to its end. */
  readonly duration: number;
  readonly seed: number;
}

/** What the LPs of the reference hypervisor share. */
export interface SharedState {
  readonly setup: HypervisorSetup;
  readonly plan: MemoryPlan;
  readonly vms: readonly VirtualMachine[];
  readonly vcpus: readonly VirtualCpu[];
  /** By vCPU; undefined: it runs machine code. */
  readonly guests: readonly (GuestSoftware | undefined)[];
  readonly lps: HostLp[];
  readonly posts: PostLog;
  readonly policyHost: PolicyHost;
  readonly scheduler: Scheduler;
  /** LPs that are in VMX operation and wait for the start. */
  prepared: number;
  /** Clock of the machine at the start of the run; undefined before it. */
  readonly origin: number | undefined;
  /** Why the run has ended early. */
  failure: string | undefined;
  /** Nanoseconds since the start of the run, as whoever executes sees it. */
  now(): number;
  /** All LPs are ready: the policy comes to life. */
  start(): void;
  /** The EPT pointer of a VM. */
  eptPointer(vm: VirtualMachine): bigint;
}
