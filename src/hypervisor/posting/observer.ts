/**
 * What a posting hypervisor tells whoever watches it. A call stands in a script right before the `yield` of the operation it
 * speaks of: operation and call are then one step of a deterministic machine. It takes no time. Under other drivers nobody
 * listens.
 */
export interface PostingObserver {
  /** PIR[vector] is being set. */
  posting(vcpu: number, vector: number, from: PostSource): void;
  /** The poster has done all it owes. @param from the same as in `posting` */
  posted(vcpu: number, from: PostSource): void;
  /** The control word of a descriptor is being exchanged, if it still is `seen`. */
  controlChanging(vcpu: number, seen: bigint, next: bigint): void;
  /** The vCPU is being taken out of PIR into VIRR by software: until `synchronized`, requests may be in neither. */
  synchronizing(vcpu: number): void;
  synchronized(vcpu: number): void;
  /** It goes on, or off, the wake-up list of an LP; the list's lock is held. */
  listed(vcpu: number, lp: number | undefined): void;
  /** An LP takes it up, or puts it down: `loaded` comes last of the first, `unloaded` last of the second. */
  loaded(vcpu: number, lp: number): void;
  unloaded(vcpu: number, lp: number, asleep: boolean): void;
  /** VM entry and the first operation behind the VM exit. */
  entering(vcpu: number, lp: number): void;
  left(vcpu: number, lp: number): void;
  /** An LP takes an interrupt of the active vector as the host, and does nothing about it. */
  swallowed(lp: number): void;
  /** It has been woken. */
  woken(vcpu: number): void;
  migrated(vcpu: number, from: number, to: number): void;
  /** A request bit is being set; and its sender has done all it owes, having sent an interrupt or not. */
  requesting(vcpu: number): void;
  requested(vcpu: number, kicked: boolean): void;
  /** An interrupt remapping entry is being changed to post there; and what it was before is given up. */
  routing(index: number, vcpu: number, vector: number): void;
  routed(index: number): void;
  /** The guest runs its handler of a vector; and has had plenty of time with interrupts on and nothing masked. */
  handling(vcpu: number, vector: number): void;
  settled(vcpu: number): void;
  /** The handler sees so many letters: words that guests have counted up before their IPIs of that vector. */
  lettersSeen(vcpu: number, vector: number, letters: number): void;
  /** Something is done that is to disturb. */
  disturbing(how: Disturbance): void;
  readonly lines: LineObserver;
  readonly unit: UnitObserver;
}

/** What is heard of emulated interrupt lines. */
export interface LineObserver {
  /** From this step on, a pin leads there; undefined: it is masked, and about to be changed. */
  routed(pin: number, route: LineRoute | undefined): void;
  /** Remote IRR of a pin is being set, or cleared. */
  remote(pin: number, set: boolean): void;
  /** The EOI-exit bitmap of a vCPU's VMCS holds these vectors. */
  bitmap(vcpu: number, vectors: readonly number[]): void;
}
/** Where an emulated I/O APIC sends the interrupts of a pin. */
export interface LineRoute {
  readonly vcpu: number;
  readonly vector: number;
  readonly level: boolean;
}

/** What is heard of the VT-d unit's driver. */
export interface UnitObserver {
  /** The tail moves past a descriptor. @param wait of one that waits: address of its status, and what will be written there */
  submitting(wait?: { readonly address: bigint; readonly data: bigint }): void;
  /** Whoever waits has looked again, in vain. */
  waiting(): void;
  /** The status has been seen: from now on the word may be used for something else. */
  waited(): void;
  /** A fault has been read from the unit's records. */
  faultRead(fault: UnitFault): void;
  /** All records have been read. @param overflow what the status says */
  faultsRead(overflow: boolean): void;
}
export interface UnitFault {
  readonly requester: number;
  readonly index: number;
  readonly reason: number;
}

export type PostSource = "hypervisor" | "request" | "guest" | "device" | "line";
/** What is done to disturb, besides moves of vCPUs. */
export const disturbances = [
  "halt",
  "preempt",
  "affinity",
  "route",
  "line route",
  "mask",
  "priority",
  "window",
  "late end",
  "exit",
] as const;
export type Disturbance = (typeof disturbances)[number];

const nothing = (): void => undefined;

/** Nobody listens. */
export const noObserver: PostingObserver = {
  posting: nothing,
  posted: nothing,
  controlChanging: nothing,
  synchronizing: nothing,
  synchronized: nothing,
  listed: nothing,
  loaded: nothing,
  unloaded: nothing,
  entering: nothing,
  left: nothing,
  swallowed: nothing,
  woken: nothing,
  migrated: nothing,
  requesting: nothing,
  requested: nothing,
  routing: nothing,
  routed: nothing,
  handling: nothing,
  settled: nothing,
  lettersSeen: nothing,
  disturbing: nothing,
  lines: { routed: nothing, remote: nothing, bitmap: nothing },
  unit: {
    submitting: nothing,
    waiting: nothing,
    waited: nothing,
    faultRead: nothing,
    faultsRead: nothing,
  },
};
