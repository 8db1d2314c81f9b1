import { noLp, noVcpu, type RunRecorder } from "../../hypervisor/run-record.ts";
import type {
  Decision,
  Scheduler,
  SchedulerHost,
  VcpuHandle,
  WakeReason,
} from "../../hypervisor/schedulers/scheduler.ts";

const readyCounter = "ready vCPUs";
/** A vCPU's gauges are recorded no oftener than once in so many nanoseconds. */
const samplingPeriod = 100_000;

/**
 * A scheduler that also records by what its policy judges each vCPU, now and then when the vCPU has been charged for time, and how
 * many vCPUs are ready and not on an LP, whenever that changes.
 */
export class GaugeRecorder implements Scheduler {
  readonly #inner: Scheduler;
  readonly #host: SchedulerHost;
  readonly #recorder: RunRecorder;
  readonly #ready = new Set<VcpuHandle>();
  #recordedReady = -1;
  /** By vCPU: when its gauges are to be recorded again. */
  readonly #sampleAt: number[] = [];

  constructor(inner: Scheduler, host: SchedulerHost, recorder: RunRecorder) {
    this.#inner = inner;
    this.#host = host;
    this.#recorder = recorder;
  }

  add(vcpu: VcpuHandle): void {
    this.#inner.add(vcpu);
  }

  wake(vcpu: VcpuHandle, reason: WakeReason): void {
    this.#inner.wake(vcpu, reason);
    this.#ready.add(vcpu);
    this.#recordReady();
  }

  block(vcpu: VcpuHandle): void {
    this.#inner.block(vcpu);
  }

  yielded(vcpu: VcpuHandle, to?: VcpuHandle): void {
    this.#inner.yielded(vcpu, to);
  }

  pauseLoop(vcpu: VcpuHandle): VcpuHandle | undefined {
    return this.#inner.pauseLoop(vcpu);
  }

  ran(vcpu: VcpuHandle, lp: number, ns: number): void {
    this.#inner.ran(vcpu, lp, ns);
    const now = this.#host.now();
    if (now < (this.#sampleAt[vcpu.id] ?? 0)) return;
    this.#sampleAt[vcpu.id] = now + samplingPeriod;
    for (const [name, value] of Object.entries(this.gauges(vcpu))) {
      const counter = this.#recorder.counterNamed(name);
      this.#recorder.counter(now, noLp, vcpu.id, counter, value);
    }
  }

  pick(lp: number, current: VcpuHandle | undefined): Decision {
    const decision = this.#inner.pick(lp, current);
    const next = decision?.vcpu;
    if (next !== current) {
      if (current !== undefined) this.#ready.add(current);
      if (next !== undefined) this.#ready.delete(next);
      this.#recordReady();
    }
    return decision;
  }

  gauges(vcpu: VcpuHandle): Readonly<Record<string, number>> {
    return this.#inner.gauges?.(vcpu) ?? {};
  }

  #recordReady(): void {
    if (this.#ready.size === this.#recordedReady) return;
    this.#recordedReady = this.#ready.size;
    const counter = this.#recorder.counterNamed(readyCounter);
    this.#recorder.counter(this.#host.now(), noLp, noVcpu, counter, this.#ready.size);
  }
}
