import type { RunRecorder } from "../run-record.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/** Interrupts on their way to guests, for the record: when each was asked for, and when its handler began. */
export class PostLog {
  readonly #recorder: RunRecorder;
  readonly #now: () => number;
  /** Id of the oldest interrupt that no handler has answered, by vCPU and vector. */
  readonly #open = new Map<number, number>();

  constructor(recorder: RunRecorder, now: () => number) {
    this.#recorder = recorder;
    this.#now = now;
  }

  /** @param lp that asks for it, or `noLp` for a device */
  posted(lp: number, vcpu: VirtualCpu, vector: number): void {
    const id = this.#recorder.count;
    const key = keyOf(vcpu, vector);
    if (!this.#open.has(key)) this.#open.set(key, id);
    this.#recorder.post(this.#now(), lp, vcpu.id, id, vector);
  }

  /** The handler begins. */
  delivered(lp: number, vcpu: VirtualCpu, vector: number): void {
    const key = keyOf(vcpu, vector);
    const id = this.#open.get(key);
    if (id === undefined) return;
    this.#open.delete(key);
    this.#recorder.deliver(this.#now(), lp, vcpu.id, id, vector);
  }
}

const keyOf = (vcpu: VirtualCpu, vector: number): number => vcpu.id * 256 + vector;
