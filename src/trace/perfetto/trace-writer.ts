import {
  FtraceEvent,
  FtraceEventBundle,
  ProcessDescriptor,
  SchedSwitch,
  SchedWaking,
  ThreadDescriptor,
  Trace,
  TracePacket,
  TrackDescriptor,
  TrackEvent,
  TrackEventType,
} from "./fields.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";

/** A thread as the scheduler's events name it. */
export interface Task {
  readonly comm: string;
  readonly tid: number;
}

/** What a CPU runs when it runs nothing. */
export const idleTask: Task = { comm: "swapper", tid: 0 };

const utf8 = new TextEncoder();

/** All packets come from one sequence. */
const sequenceId = 1;
/** Priority of an ordinary task. */
const priority = 120;
const idlePriority = 0;

export interface SliceOptions {
  /** Flows that leave here, and flows that end here. */
  readonly flow?: number;
  readonly terminatingFlow?: number;
}

/**
 * Writes a Perfetto trace packet by packet. The caller calls in the order of time, and describes a track before it uses it. Times are
 * nanoseconds. Events of one CPU that follow each other share a bundle.
 */
export class TraceWriter {
  readonly #trace = new ProtobufWriter();
  readonly #packet = new ProtobufWriter();
  readonly #outer = new ProtobufWriter();
  readonly #inner = new ProtobufWriter();
  readonly #bundle = new ProtobufWriter();
  #bundleCpu: number | undefined;
  /** Names come again and again. */
  readonly #texts = new Map<string, Uint8Array>();

  /** @returns the whole trace; nothing may be written after */
  finish(): Uint8Array {
    this.#closeBundle();
    return this.#trace.bytes;
  }

  processTrack(uuid: number, pid: number, name: string): void {
    this.#inner.clear().integer(ProcessDescriptor.pid, pid);
    this.#inner.string(ProcessDescriptor.processName, name);
    this.#describe(this.#outer.clear().integer(TrackDescriptor.uuid, uuid), "process");
  }

  threadTrack(uuid: number, pid: number, { comm, tid }: Task): void {
    this.#inner.clear().integer(ThreadDescriptor.pid, pid).integer(ThreadDescriptor.tid, tid);
    this.#inner.string(ThreadDescriptor.threadName, comm);
    this.#describe(this.#outer.clear().integer(TrackDescriptor.uuid, uuid), "thread");
  }

  /** @param parent the track it stands under, if any */
  counterTrack(uuid: number, name: string, parent: number | undefined): void {
    this.#inner.clear();
    this.#describe(this.#named(uuid, name, parent), "counter");
  }

  /** A track of its own for slices and instants. */
  plainTrack(uuid: number, name: string): void {
    this.#describe(this.#named(uuid, name, undefined), undefined);
  }

  #named(uuid: number, name: string, parent: number | undefined): ProtobufWriter {
    this.#outer.clear().integer(TrackDescriptor.uuid, uuid).string(TrackDescriptor.name, name);
    if (parent !== undefined) this.#outer.integer(TrackDescriptor.parentUuid, parent);
    return this.#outer;
  }

  #describe(descriptor: ProtobufWriter, kind: "process" | "thread" | "counter" | undefined): void {
    if (kind !== undefined) descriptor.message(TrackDescriptor[kind], this.#inner);
    this.#closeBundle();
    this.#packet.clear().message(TracePacket.trackDescriptor, descriptor);
    this.#writePacket();
  }

  /** @param state `TaskState` of the task that is left */
  schedSwitch(time: number, cpu: number, from: Task, state: number, to: Task): void {
    this.#inner
      .clear()
      .raw(SchedSwitch.prevComm, this.#text(from.comm))
      .integer(SchedSwitch.prevPid, from.tid)
      .integer(SchedSwitch.prevPrio, from === idleTask ? idlePriority : priority)
      .integer(SchedSwitch.prevState, state)
      .raw(SchedSwitch.nextComm, this.#text(to.comm))
      .integer(SchedSwitch.nextPid, to.tid)
      .integer(SchedSwitch.nextPrio, to === idleTask ? idlePriority : priority);
    this.#ftraceEvent(time, cpu, from.tid, FtraceEvent.schedSwitch);
  }

  /** @param by who runs on the CPU where the waking happens */
  schedWaking(time: number, cpu: number, by: Task, woken: Task): void {
    this.#inner
      .clear()
      .raw(SchedWaking.comm, this.#text(woken.comm))
      .integer(SchedWaking.pid, woken.tid)
      .integer(SchedWaking.prio, priority)
      .integer(SchedWaking.success, 1)
      .integer(SchedWaking.targetCpu, cpu);
    this.#ftraceEvent(time, cpu, by.tid, FtraceEvent.schedWaking);
  }

  /** Writes the event that `#inner` holds. */
  #ftraceEvent(time: number, cpu: number, tid: number, field: number): void {
    if (this.#bundleCpu !== cpu) {
      this.#closeBundle();
      this.#bundle.clear().integer(FtraceEventBundle.cpu, cpu);
      this.#bundleCpu = cpu;
    }
    this.#outer.clear().integer(FtraceEvent.timestamp, time).integer(FtraceEvent.pid, tid);
    this.#outer.message(field, this.#inner);
    this.#bundle.message(FtraceEventBundle.event, this.#outer);
  }

  #closeBundle(): void {
    if (this.#bundleCpu === undefined) return;
    this.#bundleCpu = undefined;
    this.#packet.clear().message(TracePacket.ftraceEvents, this.#bundle);
    this.#writePacket();
  }

  beginSlice(time: number, track: number, name: string, options?: SliceOptions): void {
    this.#trackEvent(time, track, TrackEventType.sliceBegin, name, options);
  }

  endSlice(time: number, track: number): void {
    this.#trackEvent(time, track, TrackEventType.sliceEnd);
  }

  instant(time: number, track: number, name: string, options?: SliceOptions): void {
    this.#trackEvent(time, track, TrackEventType.instant, name, options);
  }

  counter(time: number, track: number, value: number): void {
    this.#beginTrackEvent(track, TrackEventType.counter);
    if (Number.isSafeInteger(value)) this.#outer.integer(TrackEvent.counterValue, value);
    else this.#outer.double(TrackEvent.doubleCounterValue, value);
    this.#writeTrackEvent(time);
  }

  #trackEvent(
    time: number,
    track: number,
    type: number,
    name?: string,
    options: SliceOptions = {},
  ): void {
    this.#beginTrackEvent(track, type);
    if (name !== undefined) this.#outer.raw(TrackEvent.name, this.#text(name));
    const { flow, terminatingFlow } = options;
    if (flow !== undefined) this.#outer.fixed64(TrackEvent.flowIds, flow);
    if (terminatingFlow !== undefined) {
      this.#outer.fixed64(TrackEvent.terminatingFlowIds, terminatingFlow);
    }
    this.#writeTrackEvent(time);
  }

  #text(name: string): Uint8Array {
    let bytes = this.#texts.get(name);
    if (bytes === undefined) {
      bytes = utf8.encode(name);
      this.#texts.set(name, bytes);
    }
    return bytes;
  }

  #beginTrackEvent(track: number, type: number): void {
    this.#outer.clear().integer(TrackEvent.type, type).integer(TrackEvent.trackUuid, track);
  }

  #writeTrackEvent(time: number): void {
    this.#closeBundle();
    this.#packet.clear().integer(TracePacket.timestamp, time);
    this.#packet.message(TracePacket.trackEvent, this.#outer);
    this.#writePacket();
  }

  #writePacket(): void {
    this.#packet.integer(TracePacket.trustedPacketSequenceId, sequenceId);
    this.#trace.message(Trace.packet, this.#packet);
  }
}
