import {
  BlockCause,
  DescheduleReason,
  type EventColumns,
  EventKind,
  noLp,
  noVcpu,
  type RunRecord,
  WaitKind,
} from "../../hypervisor/run-record.ts";
import { settled } from "../../hypervisor/settled-events.ts";
import { exitTitle } from "../../machine/scheduling/metrics/exits.ts";
import { TaskState } from "./fields.ts";
import { SliceStacks } from "./slice-stacks.ts";
import { idleTask, type Task, TraceWriter } from "./trace-writer.ts";

/** Numbers of processes and tracks. A vCPU's thread has its number plus 1; processes are out of the threads' way. */
const firstPid = 10_000;
const firstVmTrack = 1;
const firstVcpuTrack = 0x1_0000;
const deviceTrack = 0x2_0000;
const firstCounterTrack = 0x10_0000;

/** Flow ids are of the whole trace: the kind of flow is in the low bits. */
const flowKinds = 4;
const Flow = { ipi: 0, post: 1, handoff: 2 } as const;

/**
 * A run as a Perfetto trace: VMs are processes, vCPUs threads, LPs CPUs. Equal records give equal bytes.
 *
 * VM exits, halt polling, waits for locks and the time they are held, and shootdowns are nested slices of the vCPU; IPIs,
 * posted interrupts and handed-over locks are flows; counters of the record are counter tracks.
 */
export function schedulingTrace(record: RunRecord): Uint8Array {
  return new SchedulingTrace(record).write();
}

const exitEnd = 0xff;

class SchedulingTrace {
  readonly #record: RunRecord;
  readonly #events: EventColumns;
  readonly #writer = new TraceWriter();
  readonly #slices = new SliceStacks(this.#writer);
  readonly #tasks: readonly Task[];
  /** By LP: who runs there, and the task of a switch to idle that waits for what comes at the same moment. */
  readonly #running: Task[];
  readonly #left = new Map<number, { time: number; task: Task; state: number }>();
  readonly #counterTracks = new Map<string, number>();
  /** By lock: the flow of a handoff that its taker ends. */
  readonly #handoffs = new Map<string, number>();
  #handoffCount = 0;

  constructor(record: RunRecord) {
    this.#record = record;
    this.#events = withExitEnds(record);
    this.#tasks = record.vcpus.map(({ vm, index }, vcpu) => ({
      comm: `${record.vms[vm]?.name ?? vm}/${index}`,
      tid: vcpu + 1,
    }));
    this.#running = Array.from({ length: record.lps }, () => idleTask);
  }

  write(): Uint8Array {
    this.#describeTracks();
    const { time } = this.#events;
    for (let n = 0; n < time.length; n++) {
      this.#settleSwitches(time[n] ?? 0);
      this.#event(n);
    }
    this.#settleSwitches(Number.POSITIVE_INFINITY);
    this.#slices.endAll(this.#record.duration);
    return this.#writer.finish();
  }

  #describeTracks(): void {
    const { vms, vcpus } = this.#record;
    const { kind } = this.#events;
    for (const [vm, { name }] of vms.entries()) {
      this.#writer.processTrack(firstVmTrack + vm, firstPid + vm, name);
    }
    for (const [vcpu, { vm }] of vcpus.entries()) {
      this.#writer.threadTrack(firstVcpuTrack + vcpu, firstPid + vm, this.#task(vcpu));
    }
    if (kind.includes(EventKind.Post)) this.#writer.plainTrack(deviceTrack, "devices");
    for (let n = 0; n < kind.length; n++) {
      if (kind[n] === EventKind.Counter) this.#describeCounter(n);
    }
  }

  #describeCounter(n: number): void {
    const key = this.#counterKey(n);
    if (this.#counterTracks.has(key)) return;
    const uuid = firstCounterTrack + this.#counterTracks.size;
    this.#counterTracks.set(key, uuid);
    const vcpu = this.#events.vcpu[n] ?? noVcpu;
    const lp = this.#events.lp[n] ?? noLp;
    const what = this.#record.counters[this.#events.b[n] ?? 0] ?? "counter";
    if (vcpu !== noVcpu) {
      const vm = this.#record.vcpus[vcpu]?.vm ?? 0;
      this.#writer.counterTrack(uuid, `${this.#task(vcpu).comm} ${what}`, firstVmTrack + vm);
    } else {
      this.#writer.counterTrack(uuid, lp === noLp ? what : `LP ${lp} ${what}`, undefined);
    }
  }

  /** A sample of a vCPU belongs to it wherever it was taken. */
  #counterKey(n: number): string {
    const vcpu = this.#events.vcpu[n] ?? noVcpu;
    return `${this.#events.b[n]} ${vcpu} ${vcpu === noVcpu ? this.#events.lp[n] : ""}`;
  }

  #task(vcpu: number): Task {
    return this.#tasks[vcpu] ?? idleTask;
  }

  #event(n: number): void {
    const { time, kind, lp, vcpu, a } = this.#events;
    const at = time[n] ?? 0;
    const where = lp[n] ?? 0;
    const who = vcpu[n] ?? 0;
    const track = firstVcpuTrack + who;
    const id = a[n] ?? 0;
    switch (kind[n]) {
      case EventKind.Dispatch:
        this.#dispatch(at, where, this.#task(who));
        break;
      case EventKind.Deschedule:
        this.#left.set(where, { time: at, task: this.#task(who), state: this.#stateLeftIn(n) });
        break;
      case EventKind.Wake: {
        // What comes from a device is charged to the first CPU, as an interrupt would be.
        const cpu = where === noLp ? 0 : where;
        const waker = this.#running[cpu] ?? idleTask;
        this.#writer.schedWaking(at, cpu, waker, this.#task(who));
        break;
      }
      case EventKind.Counter:
        this.#writer.counter(at, this.#counterTracks.get(this.#counterKey(n)) ?? 0, id);
        break;
      case EventKind.IpiSend:
      case EventKind.IpiAcknowledge:
      case EventKind.Post:
      case EventKind.Deliver:
      case EventKind.LockHandoff:
        this.#flow(n, at, track);
        break;
      default:
        this.#slice(n, at, track);
    }
  }

  #stateLeftIn(n: number): number {
    if (this.#events.a[n] !== DescheduleReason.Block) return TaskState.ready;
    return this.#events.b[n] === BlockCause.Idle ? TaskState.sleeping : TaskState.blocked;
  }

  #dispatch(time: number, lp: number, task: Task): void {
    const left = this.#left.get(lp);
    this.#left.delete(lp);
    const from = left?.task ?? this.#running[lp] ?? idleTask;
    this.#writer.schedSwitch(time, lp, from, left?.state ?? TaskState.ready, task);
    this.#running[lp] = task;
  }

  /** LPs that were left before a time and not taken again have gone idle. */
  #settleSwitches(before: number): void {
    for (const [lp, { time, task, state }] of this.#left) {
      if (time >= before) continue;
      this.#writer.schedSwitch(time, lp, task, state, idleTask);
      this.#running[lp] = idleTask;
      this.#left.delete(lp);
    }
  }

  #flow(n: number, at: number, track: number): void {
    const { kind, lp, a, b } = this.#events;
    const id = a[n] ?? 0;
    const other = this.#task(b[n] ?? 0).comm;
    const flow = (of: keyof typeof Flow, number = id): number => number * flowKinds + Flow[of];
    switch (kind[n]) {
      case EventKind.IpiSend:
        this.#writer.instant(at, track, `IPI to ${other}`, { flow: flow("ipi") });
        break;
      case EventKind.IpiAcknowledge:
        this.#writer.instant(at, track, `IPI from ${other}`, { terminatingFlow: flow("ipi") });
        break;
      case EventKind.Post: {
        const poster = this.#running[lp[n] ?? noLp];
        const from = poster === undefined || poster === idleTask ? deviceTrack : trackOf(poster);
        this.#writer.instant(at, from, `post vector ${b[n]}`, { flow: flow("post") });
        break;
      }
      case EventKind.Deliver:
        this.#writer.instant(at, track, `vector ${b[n]}`, { terminatingFlow: flow("post") });
        break;
      default: {
        const number = this.#handoffCount++;
        this.#handoffs.set(`${id} ${b[n]}`, flow("handoff", number));
        const name = `lock ${id} to ${other}`;
        this.#writer.instant(at, track, name, { flow: flow("handoff", number) });
      }
    }
  }

  #slice(n: number, at: number, track: number): void {
    const { kind, vcpu, a, b } = this.#events;
    const id = a[n] ?? 0;
    const slices = this.#slices;
    const end = (key: string): void => slices.end(at, track, key, () => false);
    switch (kind[n]) {
      case EventKind.Exit: {
        const name = exitTitle(b[n] ?? 0);
        if (id === 0) this.#writer.instant(at, track, name);
        else slices.begin(at, track, "exit", name);
        break;
      }
      case exitEnd:
        slices.end(at, track, "exit", (key) => key === "poll");
        break;
      case EventKind.HaltPollBegin:
        slices.begin(at, track, "poll", "halt polling");
        break;
      case EventKind.HaltPollEnd:
        end("poll");
        break;
      case EventKind.LockWait: {
        const what = b[n] === WaitKind.Barrier ? "barrier" : "lock";
        slices.begin(at, track, `wait ${id}`, `wait for ${what} ${id}`);
        break;
      }
      case EventKind.LockAcquire: {
        end(`wait ${id}`);
        if (b[n] === WaitKind.Barrier) break;
        const handoff = this.#handoffs.get(`${id} ${vcpu[n]}`);
        this.#handoffs.delete(`${id} ${vcpu[n]}`);
        const options = handoff === undefined ? {} : { terminatingFlow: handoff };
        slices.begin(at, track, `hold ${id}`, `lock ${id}`, options);
        break;
      }
      case EventKind.LockRelease:
        end(`hold ${id}`);
        break;
      case EventKind.ShootdownBegin:
        slices.begin(at, track, `shootdown ${id}`, "TLB shootdown");
        break;
      case EventKind.ShootdownEnd:
        end(`shootdown ${id}`);
        break;
    }
  }
}

const trackOf = ({ tid }: Task): number => firstVcpuTrack + tid - 1;

/**
 * The events in the order of time, with one more at the end of each VM exit that takes time. At one moment, ends come first and then exits:
 * these are appended when they are over, after what happened within them.
 */
function withExitEnds(record: RunRecord): EventColumns {
  const { events, duration } = record;
  const { time, kind, lp, vcpu, a, b } = events;
  const isExit = (n: number): boolean => kind[n] === EventKind.Exit;
  let exits = 0;
  let long = 0;
  for (let n = 0; n < kind.length; n++) {
    if (!isExit(n)) continue;
    exits++;
    if ((a[n] ?? 0) > 0) long++;
  }
  const length = kind.length + long;
  const wider: EventColumns = {
    time: new Float64Array(length),
    kind: new Uint8Array(length),
    lp: new Uint16Array(length),
    vcpu: new Uint16Array(length),
    a: new Float64Array(length),
    b: new Int32Array(length),
  };
  const place = (to: number, n: number, at: number, what: number): void => {
    wider.time[to] = at;
    wider.kind[to] = what;
    wider.lp[to] = lp[n] ?? 0;
    wider.vcpu[to] = vcpu[n] ?? 0;
    wider.a[to] = a[n] ?? 0;
    wider.b[to] = b[n] ?? 0;
  };
  let [nextEnd, nextExit, nextOther] = [0, long, long + exits];
  for (let n = 0; n < kind.length; n++) {
    const at = time[n] ?? 0;
    const takes = a[n] ?? 0;
    if (!isExit(n)) {
      place(nextOther++, n, at, kind[n] ?? 0);
      continue;
    }
    if (takes > 0) place(nextEnd++, n, Math.min(duration, at + takes), exitEnd);
    place(nextExit++, n, at, EventKind.Exit);
  }
  return settled(wider);
}
