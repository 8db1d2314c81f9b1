import type { Prng } from "../../base/prng.ts";
import { exchangeAdd, type Steps } from "../../isa/operations.ts";
import type { LpContext } from "./context.ts";
import { vcpuBlock, vcpuField } from "./posting-memory.ts";
import {
  openStorm,
  type StormDevice,
  setMessage,
  startStorm,
  stopStorm,
  stormTotal,
} from "./storm-driver.ts";
import {
  enableRemapping,
  type InvalidationQueue,
  invalidateEntry,
  newQueue,
  type Route,
  remapEntriesMax,
  routeEntry,
  waitForInvalidation,
  writeEntry,
  writeEntryInParts,
} from "./vtd.ts";
import { wake } from "./waking.ts";

/** What devices do, and where their interrupts may go. */
export interface DeviceHabits {
  readonly devices: number;
  /** Mean cycles between two messages of a device. */
  readonly interval: number;
  /** The part of routes that are urgent, 0 to 1. */
  readonly urgent: number;
  /** @param index of the interrupt among those of all devices */
  readonly vector: (random: Prng, index: number) => number;
  /** Mean cycles between two messages that the unit is to block, `Infinity` for none. */
  readonly blocked: number;
  /** Where devices record what they send, 16 bytes for each interrupt; undefined: nowhere. */
  readonly records: bigint | undefined;
}

/** Interrupts of a device. */
export const entriesPerDevice = 4;
/** Further MSI-X entries send what is to be blocked: messages to the last entries of the table, which are never present. */
export const blockedEntries = 3;
export const firstBlockedIndex = remapEntriesMax - blockedEntries;
export const deviceRecordBytes = 16;
const deviceRecordsBytes = entriesPerDevice * deviceRecordBytes;
const lessOne = 0xffff_ffff_ffff_ffffn;
/** What a driver does between the parts of an entry, when it writes one in parts. */
const cyclesBetweenParts = 500;

/** The devices' interrupts, as the processor that manages them knows them. */
export interface DeviceRoutes {
  readonly habits: DeviceHabits;
  readonly devices: StormDevice[];
  readonly routes: Route[];
  readonly queue: InvalidationQueue;
}

/** Gives every interrupt of every device a route, and sets the devices going. */
export function* startDevices(context: LpContext, habits: DeviceHabits): Steps<DeviceRoutes> {
  const queue = newQueue(context.observer.unit, context.bug !== "queue-wrap");
  const state: DeviceRoutes = { habits, devices: [], routes: [], queue };
  if (habits.devices === 0) return state;
  yield* enableRemapping();
  for (let number = 0; number < habits.devices; number++) {
    const device = yield* openStorm(number);
    state.devices.push(device);
    for (let entry = 0; entry < entriesPerDevice; entry++) {
      const index = state.routes.length;
      const route = chooseRoute(context, habits, index);
      state.routes.push(route);
      yield* assign(context, route.vcpu);
      context.observer.routing(index, route.vcpu, route.vector);
      yield* writeEntry(index, routeEntry(route, device.requester));
      yield* setMessage(device, entry, index);
    }
    for (let n = 0; n < blockedEntries; n++) {
      yield* setMessage(device, entriesPerDevice + n, firstBlockedIndex + n);
    }
  }
  yield* invalidateEntry(state.queue, "all");
  yield* waitForInvalidation(state.queue);
  for (const [number, device] of state.devices.entries()) {
    const { records, interval } = habits;
    const record = records === undefined ? 0n : records + BigInt(number * deviceRecordsBytes);
    const seed = context.environment.random.next();
    const entries = entriesPerDevice;
    yield* startStorm(device, { queue: 0, firstEntry: 0, entries, interval, seed, record });
  }
  const [first] = state.devices;
  if (first !== undefined && habits.blocked !== Number.POSITIVE_INFINITY) {
    const seed = context.environment.random.next();
    const entries = { firstEntry: entriesPerDevice, entries: blockedEntries };
    const { blocked: interval } = habits;
    yield* startStorm(first, { queue: 1, ...entries, interval, seed, record: 0n });
  }
  return state;
}

/** Messages that all devices have sent. */
export function* deviceTotal({ devices }: DeviceRoutes): Steps<number> {
  let total = 0;
  for (const device of devices) total += Number(yield* stormTotal(device));
  return total;
}

export function* stopDevices({ devices }: DeviceRoutes): Steps<void> {
  for (const device of devices) yield* stopStorm(device);
}

function chooseRoute(context: LpContext, habits: DeviceHabits, index: number): Route {
  const { random } = context.environment;
  return {
    vcpu: random.below(context.vcpus),
    vector: habits.vector(random, index),
    urgent: random.next() < habits.urgent * 2 ** 32,
  };
}

/**
 * An interrupt gets another target: the new one learns that a device posts to it, the entry changes, and only when the unit
 * has forgotten the old entry is the old target given up.
 */
export function* reroute(context: LpContext, state: DeviceRoutes): Steps<void> {
  const { random } = context.environment;
  const { queue, routes, habits, devices } = state;
  const index = random.below(routes.length);
  const before = routes[index];
  const device = devices[Math.floor(index / entriesPerDevice)];
  if (before === undefined || device === undefined) return;
  const route = chooseRoute(context, habits, index);
  context.observer.disturbing(route.vcpu === before.vcpu ? "route" : "affinity");
  // Other drivers use the unit too: at any time it may have to fetch every entry anew.
  if (random.below(2) === 0) yield* invalidateEntry(queue, "all");
  yield* assign(context, route.vcpu);
  context.observer.routing(index, route.vcpu, route.vector);
  const entry = routeEntry(route, device.requester);
  if (context.bug === "torn-irte") yield* writeEntryInParts(index, entry, cyclesBetweenParts);
  else yield* writeEntry(index, entry);
  routes[index] = route;
  if (context.bug !== "posted-msi-affinity") {
    yield* invalidateEntry(queue, random.below(4) === 0 ? "all" : index);
    yield* waitForInvalidation(queue);
  }
  context.observer.routed(index);
  yield exchangeAdd(vcpuBlock(before.vcpu) + vcpuField.devices, 8, lessOne);
}

/** A device begins to post to a vCPU, which may have gone to sleep without a thought of devices. */
function* assign(context: LpContext, vcpu: number): Steps<void> {
  const before = yield exchangeAdd(vcpuBlock(vcpu) + vcpuField.devices, 8, 1n);
  if (before === 0n && context.bug !== "assign-while-asleep") yield* wake(context, vcpu);
}
