import { Heap } from "../../base/heap.ts";
import type { ScriptEnvironment } from "../../isa/operations.ts";
import { DescheduleReason } from "../run-record.ts";
import type { PauseLoopExiting } from "../schedulers/scheduler.ts";
import type { HostTimer, VirtualCpu } from "./virtual-machine.ts";

/** Root: executes the hypervisor, interrupts held back. Guest: in non-root operation. Resting: halted, waits for an interrupt. */
export type LpMode = "root" | "guest" | "resting";

/** What the hypervisor keeps for each LP. LPs look at each other's: it is shared, as memory would be. */
export class HostLp {
  readonly index: number;
  readonly environment: ScriptEnvironment;
  mode: LpMode = "root";
  /** Whom the policy has chosen. */
  current: VirtualCpu | undefined = undefined;
  /** Whose VMCS is current. */
  loaded: VirtualCpu | undefined = undefined;
  /** Who ran here last: whose data the caches hold. */
  warm: VirtualCpu | undefined = undefined;
  /** The policy is to be asked. */
  mustPick = true;
  /** Why the vCPU loses the LP, if it does. */
  reason: DescheduleReason = DescheduleReason.Preempt;
  /** An IPI that calls it has been sent and not been taken. */
  isCalled = false;
  /** vCPUs whose VMCS another LP wants cleared. */
  readonly toClear: VirtualCpu[] = [];
  /** It waits for another LP to clear a VMCS, and looks at its wait word (`MemoryPlan`). */
  isWaiting = false;
  readonly timers = new Heap<HostTimer>((timer) => timer.time);
  /** What the local APIC's timer is set to; infinity: it is off. */
  armed = Number.POSITIVE_INFINITY;
  /** Since when `current` has used the LP without the policy having been told. */
  untold = 0;
  /** When the present slice ends, and whether the preemption timer knows. */
  sliceEnd = Number.POSITIVE_INFINITY;
  isTimerSet = false;
  /** What the policy last wanted of PAUSE-loop exiting. */
  pauseLoopExiting: PauseLoopExiting | undefined = undefined;
  /** When the policy decided for `current`, until its first VM entry; then undefined. */
  decidedAt: number | undefined = undefined;
  /** The VM exit being handled: when the guest was left, and its basic reason. */
  leftAt: number | undefined = undefined;
  exitReason = 0;
  /** Nanoseconds of work that has been done and not been paid for. */
  owed = 0;
  /** vCPUs that blocked here and are woken through their descriptors. */
  readonly blocked = new Set<VirtualCpu>();
  /** Vectors taken while it rested. */
  readonly taken: number[] = [];

  constructor(index: number, environment: ScriptEnvironment) {
    this.index = index;
    this.environment = environment;
  }
}
