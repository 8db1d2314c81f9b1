import type { Prng } from "../../base/prng.ts";
import {
  compute,
  exchangeAdd,
  load,
  lockedOr,
  portOut,
  type Script,
  type Steps,
  store,
} from "../../isa/operations.ts";
import { enableApic } from "../vmx/vmx-operation.ts";
import type { LpContext } from "./context.ts";
import {
  type DeviceHabits,
  type DeviceRoutes,
  deviceTotal,
  reroute,
  startDevices,
  stopDevices,
} from "./device-routes.ts";
import { raiseLine, routeLine } from "./interrupt-lines.ts";
import { sendInterrupt } from "./interrupts.ts";
import { post, postByRequest } from "./posting.ts";
import {
  guestPlace,
  hostVector,
  linePins,
  lpBlock,
  lpField,
  machineField,
  place,
  vcpuBlock,
  vcpuField,
} from "./posting-memory.ts";
import { allAsleep, lookForRest } from "./rest.ts";
import { isActive } from "./spells.ts";
import { readFaults } from "./vtd.ts";

/** What the management processor does: mean cycles between two of each, `Infinity` for never. */
export interface ManagerHabits {
  readonly post: number;
  /** Of the posts, the part made by request, 0 to 1. */
  readonly byRequest: number;
  readonly preempt: number;
  readonly migrate: number;
  /** Changes of a device interrupt's target. */
  readonly reroute: number;
  /** Emulated lines that are raised, and changes of where they lead. */
  readonly raise: number;
  readonly routeLine: number;
  /** Looks at the VT-d unit's faults. */
  readonly readFaults: number;
  readonly devices: DeviceHabits;
  readonly vector: (random: Prng) => number;
  readonly seed: number;
  /** Posters have spells of rest. */
  readonly rests: boolean;
  /** The run has had what it was to have. @param made posts by this processor and by devices, as far as it knows */
  readonly enough: (made: number) => boolean;
  /** Goes before each post by this processor, where posts are counted in memory. */
  readonly account: ((vcpu: number, vector: number) => Steps<void>) | undefined;
  /** Longest wait for rest, in cycles. */
  readonly patience: number;
  /** Nothing moves any more. */
  readonly quiet: (settled: boolean) => void;
  /** Called now and then. */
  readonly tick: () => void;
}

/** Long enough for a thread to sleep meanwhile. */
const pollCycles = 200_000;
/** Cycles between two looks at what devices have sent, and whether there has been enough. */
const lookCycles = 1_000_000;
const preemptCyclesMax = 3000;
const exitPort = 0xf4;
/** Number of the emulated devices among posters. */
const linePoster = 200;

/** A processor without vCPUs that posts and disturbs, until there has been enough; then it waits for rest and ends the run. */
export function* manage(context: LpContext, habits: ManagerHabits): Script {
  const { random } = context.environment;
  yield* enableApic();
  yield* untilReady(context);
  const routes = yield* startDevices(context, habits.devices);
  const progress: Progress = { posts: 0, byDevices: 0, lookAt: 0 };
  const events = schedule(context, habits, routes, progress);
  while (!habits.enough(progress.posts + progress.byDevices)) {
    habits.tick();
    const event = takeNext(events, random);
    yield compute(event?.wait ?? lookCycles);
    if (event !== undefined) yield* event.act();
    if (context.environment.now() >= progress.lookAt) {
      yield* lookAtDevices(context, routes, progress);
    }
  }
  yield* stopDevices(routes);
  // The answer comes behind what they have sent: all of it has been posted then.
  yield store(machineField.byDevices, 8, BigInt(yield* deviceTotal(routes)));
  yield* finish(context, habits);
  yield portOut(exitPort, 1, 0n);
}

/** What this processor knows of posts; it asks the devices now and then. */
interface Progress {
  posts: number;
  byDevices: number;
  lookAt: number;
}

function* lookAtDevices(
  { environment }: LpContext,
  routes: DeviceRoutes,
  progress: Progress,
): Steps<void> {
  progress.lookAt = environment.now() + lookCycles;
  progress.byDevices = yield* deviceTotal(routes);
}

interface Recurring {
  readonly mean: number;
  /** Cycles from now; and those from the event before to this one, when it is taken. */
  due: number;
  wait: number;
  readonly act: () => Steps<void>;
}

/** The things done at random moments, each with its mean distance. */
function schedule(
  context: LpContext,
  habits: ManagerHabits,
  routes: DeviceRoutes,
  progress: Progress,
): Recurring[] {
  const { vcpus, lps } = context;
  const { random } = context.environment;
  const actions: readonly [number, () => Steps<void>][] = [
    [habits.post, () => postOne(context, habits, progress)],
    [habits.preempt, () => disturb(context, random.below(lps), 1 + random.below(preemptCyclesMax))],
    [habits.migrate, () => migrate(context, random.below(vcpus), random.below(lps))],
    [habits.reroute, () => reroute(context, routes)],
    [habits.raise, () => raiseOne(context, habits)],
    [habits.routeLine, () => routeLine(context, random.below(linePins))],
    [habits.readFaults, () => readFaults(context.observer.unit, context.bug === "fault-order")],
  ];
  return actions
    .filter(([mean]) => mean !== Number.POSITIVE_INFINITY)
    .map(([mean, act]) => ({ mean, due: distance(mean, random), wait: 0, act }));
}

const distance = (mean: number, random: Prng): number => 1 + random.below(Math.ceil(2 * mean));

/** The event that comes first. @returns undefined when none comes within `lookCycles` */
function takeNext(events: readonly Recurring[], random: Prng): Recurring | undefined {
  let first = events[0];
  if (first === undefined) return undefined;
  for (const event of events) if (event.due < first.due) first = event;
  const { due } = first;
  const isSoon = due <= lookCycles;
  for (const event of events) event.due -= isSoon ? due : lookCycles;
  if (!isSoon) return undefined;
  first.wait = due;
  first.due = distance(first.mean, random);
  return first;
}

function* postOne(context: LpContext, habits: ManagerHabits, progress: Progress): Steps<void> {
  const { random, now } = context.environment;
  if (habits.rests && !isActive(context.lp, now(), habits.seed)) return;
  progress.posts += 1;
  const vcpu = random.below(context.vcpus);
  const vector = habits.vector(random);
  if (habits.account !== undefined) yield* habits.account(vcpu, vector);
  if (random.next() < habits.byRequest * 2 ** 32) yield* postByRequest(context, vcpu, vector);
  else yield* post(context, vcpu, vector, "hypervisor");
}

function* raiseOne(context: LpContext, habits: ManagerHabits): Steps<void> {
  const { random, now } = context.environment;
  if (habits.rests && !isActive(linePoster, now(), habits.seed)) return;
  yield* raiseLine(context, random.below(linePins));
}

/** Takes an LP away from its vCPU for a while. */
function* disturb(context: LpContext, lp: number, cycles: number): Steps<void> {
  context.observer.disturbing("preempt");
  yield lockedOr(lpBlock(lp) + lpField.preempt, 8, BigInt(cycles));
  yield* sendInterrupt(context.apicIds[lp] ?? lp, hostVector.reschedule);
}

function* migrate(context: LpContext, vcpu: number, to: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  const from = Number(yield load(block + vcpuField.home));
  if (from === to) return;
  context.observer.migrated(vcpu, from, to);
  yield exchangeAdd(machineField.migrations, 8, 1n);
  yield store(block + vcpuField.home, 8, BigInt(to));
  yield* sendInterrupt(context.apicIds[from] ?? from, hostVector.reschedule);
}

function* untilReady(context: LpContext): Steps<void> {
  while ((yield load(machineField.ready)) < BigInt(context.lps)) yield compute(pollCycles);
}

/** Nobody posts any more: the guests are told and woken, and when all sleep for good the result stands. */
function* finish(context: LpContext, habits: ManagerHabits): Steps<void> {
  yield store(BigInt(place.guest + guestPlace.stop), 8, 1n);
  for (let vcpu = 0; vcpu < context.vcpus; vcpu++) {
    const vector = habits.vector(context.environment.random);
    if (habits.account !== undefined) yield* habits.account(vcpu, vector);
    yield* post(context, vcpu, vector, "hypervisor");
  }
  const { now } = context.environment;
  const deadline = now() + habits.patience;
  let before: bigint | undefined;
  while (now() < deadline) {
    yield compute(pollCycles);
    const seen = yield* lookForRest(context.vcpus);
    if (seen !== undefined && seen === before) break;
    before = seen;
  }
  habits.quiet(yield* allAsleep(context.vcpus));
}
