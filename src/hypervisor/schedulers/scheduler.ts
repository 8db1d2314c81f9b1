import type { Prng } from "../../base/prng.ts";
import type { ParameterTable, ValuesOf } from "./parameters.ts";
import type { Topology } from "./topology.ts";

/**
 * The interface between the hypervisor's run loop (the *host*) and a scheduling policy.
 *
 * A vCPU is blocked, ready or running:
 *
 * ```
 *                  wake                    pick of an LP answers it
 *   ┌─▶ blocked ──────────▶ ready ────────────────────────────────▶ running ─┐
 *   │                         ▲                                       │      │
 *   │                         └── pick of that LP answers another one ┘      │
 *   └────────────────────────────────── block, then pick of that LP ◀────────┘
 * ```
 *
 * The host asks an LP's policy with `pick` when the slice is over, when a kick has come, and after `block`, `yielded` and
 * `pauseLoop`. Each time it first tells with `ran` what the LP's vCPU has used. A policy answers with a vCPU and a slice; it
 * never interrupts an LP itself, but asks for another `pick` with `host.kick`. Calls do not nest, and no time passes in one.
 *
 * All times are nanoseconds of virtual time. A policy that needs chance takes it from `host.random`, so that a run is a
 * function of its seed.
 */
export interface Scheduler {
  /** Makes a vCPU known. It is blocked; `wake` follows when it first has something to do. */
  add(vcpu: VcpuHandle): void;

  /** A blocked vCPU has something to do. The policy kicks the LP that should look, if there is one. */
  wake(vcpu: VcpuHandle, reason: WakeReason): void;

  /** A running vCPU has nothing to do until something wakes it. `pick` for its LP follows. */
  block(vcpu: VcpuHandle): void;

  /**
   * A running vCPU gives up its LP but stays ready. `pick` for its LP follows.
   * @param to the vCPU it waits for, of the same VM and in any state, when it said so
   */
  yielded(vcpu: VcpuHandle, to?: VcpuHandle): void;

  /**
   * A running vCPU spins: a VM exit for a loop of PAUSE. `pick` for its LP follows, and may answer the same vCPU.
   * @returns the vCPU that is preferred because of it, for the record
   */
  pauseLoop(vcpu: VcpuHandle): VcpuHandle | undefined;

  /** A vCPU has used an LP for `ns` since the last `ran` or since it was picked. Exact: no time is told twice or left out. */
  ran(vcpu: VcpuHandle, lp: number, ns: number): void;

  /**
   * Who shall use an LP from now on?
   * @param current the vCPU that used it until now and could go on; none if the LP was idle or its vCPU has blocked
   */
  pick(lp: number, current: VcpuHandle | undefined): Decision;

  /** By what the policy judges a vCPU (credit, budget, lag, …), by name: counters of the trace. */
  gauges?(vcpu: VcpuHandle): Readonly<Record<string, number>>;
}

/** What a policy can ask of the host. */
export interface SchedulerHost {
  readonly topology: Topology;
  readonly random: Prng;
  now(): number;
  /** A reschedule IPI: `pick` for this LP follows soon, whether it is busy or idle. */
  kick(lp: number): void;
  /** The vCPU that the last `pick` for this LP answered, unless it has blocked since. */
  running(lp: number): VcpuHandle | undefined;
  /** Carries out an action on some LP, at a time (whole nanoseconds) or as soon after it as one is free to. Cannot be taken back. */
  at(time: number, action: () => void): void;
}

/** The answer of `pick`. */
export interface Decision {
  /** A ready vCPU that may use the LP, or the LP's `current` one; undefined: the LP is idle. Never one that runs elsewhere. */
  readonly vcpu: VcpuHandle | undefined;
  /**
   * After so long `pick` is called again; Infinity: not before something happens. A whole number of nanoseconds, more than 0.
   * An idle LP is left alone until it is kicked.
   */
  readonly slice: number;
  /** PLE_Gap and PLE_Window for this vCPU, in cycles, if the policy tunes them. */
  readonly pauseLoopExiting?: PauseLoopExiting;
}

export interface PauseLoopExiting {
  readonly gap: number;
  /** 0: no VM exits for loops of PAUSE. */
  readonly window: number;
}

/** A virtual machine as a policy sees it. */
export interface VmHandle {
  /** Counts from 0. */
  readonly id: number;
  readonly name: string;
  /** The share that each of its vCPUs has, relative to others; 256 is usual. */
  readonly weight: number;
  /** Most that it may use altogether, in percent of one LP; 0: no such limit. */
  readonly cap: number;
  /** Complete before the first of them is added. */
  readonly vcpus: readonly VcpuHandle[];
}

/** A virtual processor as a policy sees it. The same object stands for the same vCPU in every call. */
export interface VcpuHandle {
  /** Counts from 0 through all VMs. */
  readonly id: number;
  readonly vm: VmHandle;
  /** Its place in `vm.vcpus`. */
  readonly index: number;
  /** By LP: may it run there? One entry for each LP, at least one of them true. */
  readonly affinity: readonly boolean[];
}

/**
 * What ended a vCPU's wait: its VM was started, an interrupt of a device or of a sibling, its own timer, or a sibling's
 * hypercall.
 */
export type WakeReason = "start" | "interrupt" | "timer" | "kick";

/**
 * A scheduling policy: what a module with a policy of one's own exports under the name `policy`.
 *
 * ```ts
 * export const policy = {
 *   name: "mine",
 *   title: "My first policy",
 *   parameters: { slice: { default: 5_000_000, unit: "ns", about: "longest turn" } },
 *   create: (host, { slice }) => new MyScheduler(host, slice),
 * };
 * ```
 */
export interface Policy<Table extends ParameterTable = ParameterTable> {
  /** As given on the command line. */
  readonly name: string;
  readonly title: string;
  /** Where the policy and its default parameters come from. */
  readonly source?: string;
  readonly parameters?: Table;
  /** @param parameters one value for each entry of the table */
  create(host: SchedulerHost, parameters: ValuesOf<Table>): Scheduler;
}

/** For policies written in TypeScript: gives `create` the types of its parameters. */
export function definePolicy<const Table extends ParameterTable>(policy: Policy<Table>): Policy {
  return policy;
}
