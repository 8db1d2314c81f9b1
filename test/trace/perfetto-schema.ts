import protobuf from "protobufjs";

/** The part of Perfetto's trace format that vmxon writes, from its published field numbers and not from the writer's. */
const schema = `
syntax = "proto2";
message Trace { repeated TracePacket packet = 1; }
message TracePacket {
  optional FtraceEventBundle ftrace_events = 1;
  optional uint64 timestamp = 8;
  optional uint32 trusted_packet_sequence_id = 10;
  optional TrackEvent track_event = 11;
  optional TrackDescriptor track_descriptor = 60;
}
message FtraceEventBundle { optional uint32 cpu = 1; repeated FtraceEvent event = 2; }
message FtraceEvent {
  optional uint64 timestamp = 1;
  optional uint32 pid = 2;
  optional SchedSwitch sched_switch = 4;
  optional SchedWaking sched_waking = 20;
}
message SchedSwitch {
  optional string prev_comm = 1; optional int32 prev_pid = 2; optional int32 prev_prio = 3; optional int64 prev_state = 4;
  optional string next_comm = 5; optional int32 next_pid = 6; optional int32 next_prio = 7;
}
message SchedWaking { optional string comm = 1; optional int32 pid = 2; optional int32 prio = 3; optional int32 success = 4; optional int32 target_cpu = 5; }
message TrackDescriptor {
  optional uint64 uuid = 1; optional string name = 2; optional ProcessDescriptor process = 3; optional ThreadDescriptor thread = 4;
  optional uint64 parent_uuid = 5; optional CounterDescriptor counter = 8;
}
message ProcessDescriptor { optional int32 pid = 1; optional string process_name = 6; }
message ThreadDescriptor { optional int32 pid = 1; optional int32 tid = 2; optional string thread_name = 5; }
message CounterDescriptor { optional string unit_name = 6; }
message TrackEvent {
  optional int32 type = 9; optional uint64 track_uuid = 11; optional string name = 23; optional int64 counter_value = 30;
  optional double double_counter_value = 44;
  repeated fixed64 flow_ids = 47; repeated fixed64 terminating_flow_ids = 48;
}
`;

export interface SchedSwitch {
  readonly prevComm: string;
  readonly prevPid: number;
  readonly prevState: number;
  readonly nextComm: string;
  readonly nextPid: number;
}

export interface FtraceEvent {
  readonly timestamp: number;
  readonly pid: number;
  readonly schedSwitch?: SchedSwitch;
  readonly schedWaking?: {
    readonly comm: string;
    readonly pid: number;
    readonly targetCpu: number;
  };
}

export interface TrackEvent {
  readonly type: number;
  readonly trackUuid: number;
  readonly name?: string;
  readonly counterValue?: number;
  readonly doubleCounterValue?: number;
  readonly flowIds?: readonly number[];
  readonly terminatingFlowIds?: readonly number[];
}

export interface TrackDescriptor {
  readonly uuid: number;
  readonly name?: string;
  readonly process?: { readonly pid: number; readonly processName: string };
  readonly thread?: { readonly pid: number; readonly tid: number; readonly threadName: string };
  readonly parentUuid?: number;
  readonly counter?: object;
}

export interface TracePacket {
  readonly timestamp?: number;
  readonly trustedPacketSequenceId: number;
  readonly ftraceEvents?: { readonly cpu?: number; readonly event: readonly FtraceEvent[] };
  readonly trackEvent?: TrackEvent;
  readonly trackDescriptor?: TrackDescriptor;
}

const traceType = protobuf.parse(schema).root.lookupType("Trace");

/** Fields that the format above does not know are an error: nothing may be written by accident. */
export function decodeTrace(bytes: Uint8Array): readonly TracePacket[] {
  const message = traceType.decode(bytes);
  const { packet } = traceType.toObject(message, { longs: Number }) as {
    packet: readonly TracePacket[];
  };
  const again = traceType.encode(message).finish();
  if (again.length !== bytes.length) throw new Error("the trace holds fields the schema does not");
  return packet;
}
