import type { VirtualCpu } from "../reference/virtual-machine.ts";
import { noLp, type RunRecorder } from "../run-record.ts";

/** What a workload on one vCPU has beside its operations: who it is, the time, and the record it writes to. None of it costs time. */
export class GuestKit {
  readonly vcpu: VirtualCpu;
  readonly recorder: RunRecorder;
  /** Nanoseconds since the start of the run. */
  readonly now: () => number;

  constructor(vcpu: VirtualCpu, recorder: RunRecorder, now: () => number) {
    this.vcpu = vcpu;
    this.recorder = recorder;
    this.now = now;
  }

  get lp(): number {
    return this.vcpu.lp ?? noLp;
  }

  /** So many units of the workload are done. */
  worked(units: number): void {
    this.recorder.work(this.now(), this.lp, this.vcpu.id, units);
  }
}
