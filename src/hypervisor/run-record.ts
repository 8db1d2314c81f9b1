/**
 * What happened in one run of the scheduling benchmark: a header and a growing table of events, one typed array per column. It
 * is written by the reference hypervisor and its workloads and read by metrics, pictures and trace export.
 *
 * ```ts
 * const recorder = new RunRecorder(header);
 * recorder.dispatch(time, lp, vcpu, switchCost);
 * recorder.exit(leftAt, lp, vcpu, duration, basicExitReason);
 * recorder.deschedule(time, lp, vcpu, DescheduleReason.Block, BlockCause.Idle);
 * const record = recorder.finish(end, { type: "completed" });   // a plain value: it can be posted to another thread
 * ```
 *
 * Times and durations are whole nanoseconds from the start of the run, vCPUs and LPs are numbered from 0 through the whole run.
 * Events of one moment count in the order in which they are appended; the table as a whole need not be in the order of time
 * (LPs run ahead of each other, a VM exit is appended when it is over): `settled` puts it so.
 *
 * A vCPU is in one of these states. `wake` counts only in the lower two, `dispatch` comes from any but running.
 *
 * ```
 *   runnable ──dispatch──▶ running ──deschedule(slice, yield, pause loop, preempt)──▶ runnable
 *      ▲                      └──────deschedule(block, cause)──▶ idle or blocked
 *      └──────────wake──────────────────────────────────────────────┘
 * ```
 *
 * A vCPU is idle until its first wake, and when it halts with nothing outstanding (`BlockCause.Idle`); it is blocked when it waits
 * for something that somebody owes it.
 */

export const EventKind = {
  /** An LP begins to run a vCPU. `a`: nanoseconds of the hypervisor until VM entry. */
  Dispatch: 0,
  /** It stops running it. `a`: `DescheduleReason`, `b`: `BlockCause`. */
  Deschedule: 1,
  /** A vCPU becomes runnable. `lp`: where that was decided, `b`: vCPU that caused it, or -1. */
  Wake: 2,
  /**
   * A VM exit, at the time when the guest was left. `a`: nanoseconds until the next VM entry, or until the vCPU is descheduled, halt
   * polling included; `b`: basic exit reason.
   */
  Exit: 3,
  /** A vCPU sends an IPI. `a`: id of the IPI, `b`: receiving vCPU. */
  IpiSend: 4,
  /** The receiver's handler has acknowledged it. `a`: id, `b`: sending vCPU. */
  IpiAcknowledge: 5,
  /** An interrupt is posted for a vCPU. `lp`: of the poster, `noLp` for a device; `a`: id of the post, `b`: vector. */
  Post: 6,
  /** The guest's handler of a posted interrupt begins. `a`: id of the oldest post it answers, `b`: vector. */
  Deliver: 7,
  /** A vCPU wants a lock, or arrives at a barrier. `a`: id of the lock, `b`: `WaitKind`. */
  LockWait: 8,
  /** It has the lock, or may leave the barrier. `a`: id of the lock, `b`: `WaitKind`. */
  LockAcquire: 9,
  /** `a`: id of the lock. */
  LockRelease: 10,
  /** A lock passes to a certain waiter. `vcpu`: who had it, `a`: id of the lock, `b`: who gets it. */
  LockHandoff: 11,
  /** A vCPU begins to invalidate others' TLBs. `a`: id, `b`: how many it waits for. */
  ShootdownBegin: 12,
  /** All have answered, or need not. `a`: id. */
  ShootdownEnd: 13,
  /** The hypervisor polls before it blocks a vCPU that has halted; lies within the HLT exit. */
  HaltPollBegin: 14,
  /** `a`: 1 when an interrupt came in time, else 0. */
  HaltPollEnd: 15,
  /** A vCPU's VMCS moves, before the dispatch on the LP named. `a`: nanoseconds it costs, warming included; `b`: LP before. */
  Migrate: 16,
  /** A request or transaction begins. `vcpu`: who serves it, `a`: id, `b`: `RequestKind`. */
  RequestStart: 17,
  /** It is answered. `a`: id, `b`: `RequestKind`. */
  RequestComplete: 18,
  /** A vCPU has done work. `a`: units of its workload. */
  Work: 19,
  /** A periodic event of a guest was noticed by its handler. `a`: nanoseconds after the time it was due. */
  Tick: 20,
  /** A value sampled. `lp` or `vcpu`: whose, `a`: the value, `b`: index in `RecordHeader.counters`. */
  Counter: 21,
} as const;
export type EventKind = (typeof EventKind)[keyof typeof EventKind];

export const DescheduleReason = { Slice: 0, Block: 1, Yield: 2, PauseLoop: 3, Preempt: 4 } as const;
export type DescheduleReason = (typeof DescheduleReason)[keyof typeof DescheduleReason];

/** Why a vCPU halts. Only `Idle` counts as idle time. */
export const BlockCause = { Idle: 0, Lock: 1, Io: 2, Interrupt: 3 } as const;
export type BlockCause = (typeof BlockCause)[keyof typeof BlockCause];

export const WaitKind = { Lock: 0, Barrier: 1 } as const;
export type WaitKind = (typeof WaitKind)[keyof typeof WaitKind];

export const RequestKind = { Io: 0, Transaction: 1 } as const;
export type RequestKind = (typeof RequestKind)[keyof typeof RequestKind];

/** Stands for "no LP" and "no vCPU" in the columns of those names. */
export const noLp = 0xffff;
export const noVcpu = 0xffff;

export interface RecordedVcpu {
  /** Index in `RecordHeader.vms`. */
  readonly vm: number;
  /** Number within its VM. */
  readonly index: number;
  /** LPs it may run on. */
  readonly affinity: readonly number[];
}

export interface RecordedVm {
  readonly name: string;
  /** Share of processor time relative to other VMs; 256 is normal. */
  readonly weight: number;
  /** Most it may have, in percent of one LP; 0: no limit. */
  readonly cap: number;
}

export interface RecordedTopology {
  readonly sockets: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
}

/** Which table of costs a run was made with, and how many of its entries are published or estimated. */
export interface RecordedCosts {
  readonly profile: string;
  readonly published: number;
  readonly estimate: number;
}

/** Everything that is known before the first event. */
export interface RecordHeader {
  readonly policy: string;
  /** Parameters of the policy that differ from its defaults, as they were given. */
  readonly parameters: Readonly<Record<string, number | string | boolean>>;
  readonly scenario: string;
  readonly overcommit: number;
  readonly seed: number;
  readonly lps: number;
  readonly topology: RecordedTopology;
  readonly vms: readonly RecordedVm[];
  /** By number of the vCPU. */
  readonly vcpus: readonly RecordedVcpu[];
  /** Names of what `Counter` events sample, with their unit if they have one: "credits (ms)". A recorder adds those it learns of. */
  readonly counters: readonly string[];
  readonly costs: RecordedCosts;
}

/** How a run has ended. A run that failed keeps what it had recorded until then. */
export type RecordEnding =
  | { readonly type: "completed" }
  | { readonly type: "interrupted" }
  | { readonly type: "failed"; readonly message: string };

/** Equally long columns, cut to the number of events. */
export interface EventColumns {
  readonly time: Float64Array<ArrayBuffer>;
  readonly kind: Uint8Array<ArrayBuffer>;
  readonly lp: Uint16Array<ArrayBuffer>;
  readonly vcpu: Uint16Array<ArrayBuffer>;
  readonly a: Float64Array<ArrayBuffer>;
  readonly b: Int32Array<ArrayBuffer>;
}

export interface RunRecord extends RecordHeader {
  readonly duration: number;
  readonly ending: RecordEnding;
  readonly events: EventColumns;
  /** Events that came after `eventsMax` and were not kept. */
  readonly lost: number;
}

/** Most events a record keeps: 25 bytes each. Later ones are counted only. */
export const eventsMax = 2 ** 25;
const eventsAtFirst = 2 ** 14;

/** Appends events. Costs a few stores each; memory doubles when it is full. */
export class RunRecorder {
  readonly header: RecordHeader;
  readonly #limit: number;
  readonly #counters: string[];
  #capacity: number;
  #count = 0;
  #lost = 0;
  #time: Float64Array<ArrayBuffer>;
  #kind: Uint8Array<ArrayBuffer>;
  #lp: Uint16Array<ArrayBuffer>;
  #vcpu: Uint16Array<ArrayBuffer>;
  #a: Float64Array<ArrayBuffer>;
  #b: Int32Array<ArrayBuffer>;

  /** @param limit most events to keep */
  constructor(header: RecordHeader, limit = eventsMax) {
    this.header = header;
    this.#limit = limit;
    this.#counters = [...header.counters];
    this.#capacity = Math.min(limit, eventsAtFirst);
    this.#time = new Float64Array(this.#capacity);
    this.#kind = new Uint8Array(this.#capacity);
    this.#lp = new Uint16Array(this.#capacity);
    this.#vcpu = new Uint16Array(this.#capacity);
    this.#a = new Float64Array(this.#capacity);
    this.#b = new Int32Array(this.#capacity);
  }

  /** How many events there are. */
  get count(): number {
    return this.#count;
  }

  /** Appends an event; `EventKind` says what `a` and `b` are. The methods below name them. */
  append(kind: EventKind, time: number, lp: number, vcpu: number, a: number, b: number): void {
    const n = this.#count;
    if (n === this.#capacity && !this.#grow()) {
      this.#lost++;
      return;
    }
    this.#time[n] = time;
    this.#kind[n] = kind;
    this.#lp[n] = lp;
    this.#vcpu[n] = vcpu;
    this.#a[n] = a;
    this.#b[n] = b;
    this.#count = n + 1;
  }

  #grow(): boolean {
    const capacity = Math.min(this.#limit, this.#capacity * 2);
    if (capacity === this.#capacity) return false;
    this.#capacity = capacity;
    this.#time = grown(this.#time, new Float64Array(capacity));
    this.#kind = grown(this.#kind, new Uint8Array(capacity));
    this.#lp = grown(this.#lp, new Uint16Array(capacity));
    this.#vcpu = grown(this.#vcpu, new Uint16Array(capacity));
    this.#a = grown(this.#a, new Float64Array(capacity));
    this.#b = grown(this.#b, new Int32Array(capacity));
    return true;
  }

  dispatch(time: number, lp: number, vcpu: number, cost: number): void {
    this.append(EventKind.Dispatch, time, lp, vcpu, cost, 0);
  }

  deschedule(
    time: number,
    lp: number,
    vcpu: number,
    reason: DescheduleReason,
    cause: BlockCause = BlockCause.Idle,
  ): void {
    this.append(EventKind.Deschedule, time, lp, vcpu, reason, cause);
  }

  /** @param lp where it was decided, or `noLp`. @param waker the vCPU that caused it, or `noVcpu` */
  wake(time: number, lp: number, vcpu: number, waker: number = noVcpu): void {
    this.append(EventKind.Wake, time, lp, vcpu, 0, waker === noVcpu ? -1 : waker);
  }

  /** @param time when the guest was left */
  exit(time: number, lp: number, vcpu: number, duration: number, reason: number): void {
    this.append(EventKind.Exit, time, lp, vcpu, duration, reason);
  }

  ipiSend(time: number, lp: number, sender: number, id: number, receiver: number): void {
    this.append(EventKind.IpiSend, time, lp, sender, id, receiver);
  }

  ipiAcknowledge(time: number, lp: number, receiver: number, id: number, sender: number): void {
    this.append(EventKind.IpiAcknowledge, time, lp, receiver, id, sender);
  }

  post(time: number, lp: number, target: number, id: number, vector: number): void {
    this.append(EventKind.Post, time, lp, target, id, vector);
  }

  deliver(time: number, lp: number, target: number, id: number, vector: number): void {
    this.append(EventKind.Deliver, time, lp, target, id, vector);
  }

  lockWait(time: number, lp: number, vcpu: number, lock: number, kind: WaitKind = 0): void {
    this.append(EventKind.LockWait, time, lp, vcpu, lock, kind);
  }

  lockAcquire(time: number, lp: number, vcpu: number, lock: number, kind: WaitKind = 0): void {
    this.append(EventKind.LockAcquire, time, lp, vcpu, lock, kind);
  }

  lockRelease(time: number, lp: number, vcpu: number, lock: number): void {
    this.append(EventKind.LockRelease, time, lp, vcpu, lock, 0);
  }

  lockHandoff(time: number, lp: number, from: number, lock: number, to: number): void {
    this.append(EventKind.LockHandoff, time, lp, from, lock, to);
  }

  shootdownBegin(time: number, lp: number, vcpu: number, id: number, targets: number): void {
    this.append(EventKind.ShootdownBegin, time, lp, vcpu, id, targets);
  }

  shootdownEnd(time: number, lp: number, vcpu: number, id: number): void {
    this.append(EventKind.ShootdownEnd, time, lp, vcpu, id, 0);
  }

  haltPollBegin(time: number, lp: number, vcpu: number): void {
    this.append(EventKind.HaltPollBegin, time, lp, vcpu, 0, 0);
  }

  haltPollEnd(time: number, lp: number, vcpu: number, cameInTime: boolean): void {
    this.append(EventKind.HaltPollEnd, time, lp, vcpu, cameInTime ? 1 : 0, 0);
  }

  migrate(time: number, lp: number, vcpu: number, cost: number, from: number): void {
    this.append(EventKind.Migrate, time, lp, vcpu, cost, from);
  }

  requestStart(time: number, lp: number, vcpu: number, id: number, kind: RequestKind): void {
    this.append(EventKind.RequestStart, time, lp, vcpu, id, kind);
  }

  requestComplete(time: number, lp: number, vcpu: number, id: number, kind: RequestKind): void {
    this.append(EventKind.RequestComplete, time, lp, vcpu, id, kind);
  }

  work(time: number, lp: number, vcpu: number, units: number): void {
    this.append(EventKind.Work, time, lp, vcpu, units, 0);
  }

  tick(time: number, lp: number, vcpu: number, lateness: number): void {
    this.append(EventKind.Tick, time, lp, vcpu, lateness, 0);
  }

  /** Index of a counter; a new one if there is none of that name. */
  counterNamed(name: string): number {
    const index = this.#counters.indexOf(name);
    return index >= 0 ? index : this.#counters.push(name) - 1;
  }

  /** A sample that belongs to an LP, a vCPU, or with `noLp` and `noVcpu` to the run. */
  counter(time: number, lp: number, vcpu: number, index: number, value: number): void {
    this.append(EventKind.Counter, time, lp, vcpu, value, index);
  }

  /** @param duration the run's length in nanoseconds. @returns the record; nothing may be appended after */
  finish(duration: number, ending: RecordEnding): RunRecord {
    const count = this.#count;
    return {
      ...this.header,
      counters: this.#counters,
      duration,
      ending,
      lost: this.#lost,
      events: {
        time: this.#time.slice(0, count),
        kind: this.#kind.slice(0, count),
        lp: this.#lp.slice(0, count),
        vcpu: this.#vcpu.slice(0, count),
        a: this.#a.slice(0, count),
        b: this.#b.slice(0, count),
      },
    };
  }
}

function grown<T extends { set(values: T): void }>(from: T, to: T): T {
  to.set(from);
  return to;
}
