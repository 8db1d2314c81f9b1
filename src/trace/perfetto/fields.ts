/** Numbers of the fields of Perfetto's trace format that are written here (protos/perfetto/trace of the Perfetto project). */

export const Trace = { packet: 1 } as const;

export const TracePacket = {
  ftraceEvents: 1,
  timestamp: 8,
  trustedPacketSequenceId: 10,
  trackEvent: 11,
  trackDescriptor: 60,
} as const;

export const FtraceEventBundle = { cpu: 1, event: 2 } as const;
export const FtraceEvent = { timestamp: 1, pid: 2, schedSwitch: 4, schedWaking: 20 } as const;

export const SchedSwitch = {
  prevComm: 1,
  prevPid: 2,
  prevPrio: 3,
  prevState: 4,
  nextComm: 5,
  nextPid: 6,
  nextPrio: 7,
} as const;

export const SchedWaking = { comm: 1, pid: 2, prio: 3, success: 4, targetCpu: 5 } as const;

export const TrackDescriptor = {
  uuid: 1,
  name: 2,
  process: 3,
  thread: 4,
  parentUuid: 5,
  counter: 8,
} as const;
export const ProcessDescriptor = { pid: 1, processName: 6 } as const;
export const ThreadDescriptor = { pid: 1, tid: 2, threadName: 5 } as const;

export const TrackEvent = {
  type: 9,
  trackUuid: 11,
  name: 23,
  counterValue: 30,
  doubleCounterValue: 44,
  flowIds: 47,
  terminatingFlowIds: 48,
} as const;

export const TrackEventType = { sliceBegin: 1, sliceEnd: 2, instant: 3, counter: 4 } as const;

/** States of a task in sched_switch: ready, asleep, asleep until somebody else is done. */
export const TaskState = { ready: 0, sleeping: 1, blocked: 2 } as const;
