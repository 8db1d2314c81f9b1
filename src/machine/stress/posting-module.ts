import { deviceRecordBytes, entriesPerDevice } from "../../hypervisor/posting/device-routes.ts";
import { noObserver } from "../../hypervisor/posting/observer.ts";
import {
  accountField,
  accountOf,
  guestPlace,
  place,
} from "../../hypervisor/posting/posting-memory.ts";
import {
  compareExchange,
  exchangeAdd,
  type ScriptedSoftware,
  type Steps,
} from "../../isa/operations.ts";
import { assembleGuest, type GuestCode } from "./guest-code.ts";
import type { PostingOptions } from "./posting-options.ts";
import { type PostingSoftwareParts, postingSoftware } from "./posting-software.ts";
import { spacing } from "./rates.ts";
import { stressVector } from "./stress-vectors.ts";

/** What the module is given: a plain value. */
export interface PostingModuleParameters {
  readonly options: PostingOptions;
  readonly seed: number;
  /** Guests measure latencies, and devices record each message before they send it. */
  readonly measures: boolean;
}

/** Vectors of devices' interrupts and of IPIs lie above the others, so that each has one kind of poster. */
const vectorsMax = 128;
const firstDeviceVector = 0xb0;
const ipiVector = 0xe8;
const cyclesPerSecond = 1e9;
/** Nanoseconds for a turn of the guest's empty loop, roughly: what makes rates of guests. */
const turnNanoseconds = 4;
const workTurns = 200;
const restCyclesMax = 30_000_000_000;

export const deviceVector = (index: number): number => firstDeviceVector + index;
export const deviceRecord = (index: number): number =>
  guestPlace.deviceRecords + index * deviceRecordBytes;
const baseVector = (number: number, count: number): number =>
  Math.floor((stressVector(number, count) - 0x30) * (vectorsMax / 192)) + 0x30;

/** Vectors that the hypervisor posts. */
export const hypervisorVectors = ({ vectors }: PostingOptions): readonly number[] => {
  const count = Math.min(vectors, vectorsMax);
  return [...new Set(Array.from({ length: count }, (_, n) => baseVector(n, count)))];
};
export { ipiVector };

function guestCode({ options, measures }: PostingModuleParameters): GuestCode {
  const roundNanoseconds = workTurns * turnNanoseconds;
  const rounds = (rate: number): number =>
    rate === 0 ? 0 : Math.max(1, Math.round(spacing(rate) / roundNanoseconds));
  const isFast = options.rate === Number.POSITIVE_INFINITY;
  return assembleGuest({
    vcpus: options.vcpus,
    vectors: hypervisorVectors(options),
    devices: Array.from({ length: options.devices * entriesPerDevice }, (_, index) => ({
      vector: deviceVector(index),
      record: deviceRecord(index),
    })),
    work: isFast ? 1 : workTurns,
    halts: rounds(options.halt),
    ipis: options.guestPosts && options.vcpus > 1 ? (isFast ? 1 : rounds(options.rate)) : 0,
    ipiVector,
    firstPosts: options.firstPosts,
    measures,
  });
}

/** The number of the post, and its time if it is the first since the handler last ran. */
function* accountPost(now: () => number, vcpu: number, vector: number): Steps<void> {
  const at = BigInt(place.guest + accountOf(vcpu, vector));
  yield compareExchange(at + BigInt(accountField.since), 8, 0n, BigInt(Math.round(now())));
  yield exchangeAdd(at + BigInt(accountField.posted), 8, 1n);
}

/** Software of a stress whose LPs share nothing but memory. @param onLoad is given the machine's memory */
export function createSoftware(
  parameters: PostingModuleParameters,
  onLoad: PostingSoftwareParts["onLoad"] = () => undefined,
): ScriptedSoftware {
  const { options, seed, measures } = parameters;
  const { lps, vcpus, bug, ipiVirtualization } = options;
  const vectors = hypervisorVectors(options);
  let now: () => number = () => 0;
  /** When everybody was ready and the devices had been started. */
  let startedAt: number | undefined;
  const none = Number.POSITIVE_INFINITY;
  return postingSoftware({
    setup: { lps, vcpus, ipiVirtualization, bug, observer: noObserver },
    guest: guestCode(parameters),
    manager: {
      post: options.hypervisorPosts ? spacing(options.rate) : none,
      byRequest: 0.2,
      preempt: spacing(options.preempt),
      migrate: lps > 1 ? spacing(options.migrate) : none,
      reroute: options.devices > 0 ? spacing(options.affinity) : none,
      raise: none,
      routeLine: none,
      readFaults: none,
      devices: {
        devices: options.devices,
        interval: options.rate === none ? 1 : spacing(options.rate),
        urgent: options.urgent,
        blocked: none,
        vector: (_random, index) => deviceVector(index),
        records: measures ? BigInt(place.guest + guestPlace.deviceRecords) : undefined,
      },
      vector: (random) => vectors[random.below(vectors.length)] ?? 0x30,
      seed,
      rests: false,
      account: (vcpu, vector) => accountPost(now, vcpu, vector),
      patience: restCyclesMax,
      enough: (made) => {
        startedAt ??= now();
        return made >= options.posts || now() - startedAt >= options.seconds * cyclesPerSecond;
      },
      quiet: () => undefined,
      tick: () => undefined,
    },
    perturbation: undefined,
    seed,
    apicIds: Array.from({ length: lps + 1 }, (_, lp) => lp),
    onLoad,
    onStart: (environment) => {
      now = environment.now;
    },
  });
}
