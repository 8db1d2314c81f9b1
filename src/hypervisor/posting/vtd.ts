import { compareExchange16, compute, load, type Steps, store } from "../../isa/operations.ts";
import { HypervisorError } from "../vmx/vmx-operation.ts";
import type { UnitObserver } from "./observer.ts";
import { descriptorOf, place } from "./posting-memory.ts";

/** Driver of the VT-d unit: interrupt remapping and queued invalidation, by its registers. */
const registers = 0xfed9_0000n;
const register = {
  globalCommand: registers + 0x18n,
  globalStatus: registers + 0x1cn,
  faultStatus: registers + 0x34n,
  queueTail: registers + 0x88n,
  queueAddress: registers + 0x90n,
  interruptTable: registers + 0xb8n,
  faultRecords: registers + 0x220n,
} as const;
const globalBit = { queue: 1n << 26n, remapping: 1n << 25n, table: 1n << 24n } as const;
/** Table of 2^8 entries; destinations of 32 bits. */
const tableSize = 7n;
const wideDestinations = 1n << 11n;
const queueEntries = 256n;
const descriptorBytes = 16n;
const pollCycles = 100;
/** Looks at a status after which the unit counts as stopped. */
const looksMax = 10_000;

/** Entries of the interrupt remapping table. */
export const remapEntriesMax = 256;

/** Where a device's interrupt goes. */
export interface Route {
  readonly vcpu: number;
  readonly vector: number;
  readonly urgent: boolean;
}

/** A posted-format entry: present, IM, and the function that may use it. */
const entryBit = { present: 1n, urgent: 1n << 14n, posted: 1n << 15n } as const;
const vectorShift = 16n;
const checkSourceId = 1n << 18n;

/** Halves of the interrupt remapping entry for a route. @param requester bus<<8|device<<3|function */
export function routeEntry(route: Route, requester: number): readonly [low: bigint, high: bigint] {
  const { vcpu, vector, urgent } = route;
  // Bits 31:6 of the descriptor's address lie in 63:38, just as they are; bits 63:32 in the upper half.
  const address = descriptorOf(vcpu);
  const low =
    entryBit.present |
    entryBit.posted |
    (urgent ? entryBit.urgent : 0n) |
    (BigInt(vector) << vectorShift) |
    ((address & 0xffff_ffc0n) << 32n);
  return [low, BigInt(requester) | checkSourceId | ((address >> 32n) << 32n)];
}

const entryAddress = (index: number): bigint => place.remapTable + BigInt(index) * descriptorBytes;

/** The whole entry in one operation, whatever is in it now. */
export function* writeEntry(index: number, entry: readonly [bigint, bigint]): Steps<void> {
  const at = entryAddress(index);
  for (;;) {
    const low = yield load(at);
    const high = yield load(at + 8n);
    if ((yield compareExchange16(at, [low, high], entry)) !== 0n) return;
  }
}

/** The mistake: word by word, so that the unit can read an entry that nobody meant. */
export function* writeEntryInParts(
  index: number,
  [low, high]: readonly [bigint, bigint],
  between: number,
): Steps<void> {
  const at = entryAddress(index);
  yield store(at, 4, low & 0xffff_ffffn);
  yield compute(between);
  yield store(at + 4n, 4, low >> 32n);
  yield store(at + 8n, 8, high);
}

/** Switches on the invalidation queue and interrupt remapping. */
export function* enableRemapping(): Steps<void> {
  yield store(register.queueAddress, 4, place.invalidationQueue);
  yield store(register.queueAddress + 4n, 4, 0n);
  yield store(register.queueTail, 4, 0n);
  yield* command(0n, globalBit.queue);
  yield store(register.interruptTable, 4, place.remapTable | wideDestinations | tableSize);
  yield store(register.interruptTable + 4n, 4, 0n);
  yield* command(globalBit.queue, globalBit.table);
  yield* command(globalBit.queue, globalBit.remapping);
}

/** Sets one bit of the global command and waits for its status. @param lasting bits that stay on */
function* command(lasting: bigint, bit: bigint): Steps<void> {
  yield store(register.globalCommand, 4, lasting | bit);
  while (((yield load(register.globalStatus, 4)) & bit) === 0n) yield compute(pollCycles);
}

/** The queue of one software thread: where its next descriptor goes, and what its last wait wrote. */
export interface InvalidationQueue {
  tail: bigint;
  waits: bigint;
  /** False: the planted mistake, a tail that leaves the queue. */
  readonly goesRound: boolean;
  readonly observer: UnitObserver;
}
export const newQueue = (observer: UnitObserver, goesRound: boolean): InvalidationQueue => ({
  ...{ tail: 0n, waits: 0n, goesRound, observer },
});

const descriptorType = { interruptEntryCache: 4n, wait: 5n } as const;
const indexGranularity = 1n << 4n;
const statusWrite = 1n << 5n;

/** Invalidates an entry's copy in the unit, or all copies. */
export function* invalidateEntry(queue: InvalidationQueue, index: number | "all"): Steps<void> {
  const which = index === "all" ? 0n : indexGranularity | (BigInt(index) << 32n);
  yield* submit(queue, descriptorType.interruptEntryCache | which, 0n);
}

/** Waits until all invalidations before are complete, and the posts that used what they invalidated are visible. */
export function* waitForInvalidation(queue: InvalidationQueue): Steps<void> {
  queue.waits = (queue.waits + 1n) & 0xffff_ffffn;
  const low = descriptorType.wait | statusWrite | (queue.waits << 32n);
  const wait = { address: place.waitStatus, data: queue.waits };
  yield* submit(queue, low, wait.address, wait);
  for (let looks = 0; (yield load(wait.address, 4)) !== wait.data; looks++) {
    if (looks === looksMax) throw new HypervisorError("the VT-d unit has stopped");
    queue.observer.waiting();
    yield compute(pollCycles);
  }
  queue.observer.waited();
}

function* submit(
  queue: InvalidationQueue,
  low: bigint,
  high: bigint,
  wait?: Parameters<UnitObserver["submitting"]>[0],
): Steps<void> {
  const at = place.invalidationQueue + queue.tail * descriptorBytes;
  yield store(at, 8, low);
  yield store(at + 8n, 8, high);
  queue.tail = (queue.tail + 1n) % queueEntries;
  const isRound = queue.tail === 0n && !queue.goesRound;
  queue.observer.submitting(wait);
  yield store(register.queueTail, 4, (isRound ? queueEntries : queue.tail) * descriptorBytes);
}

const faultStatus = { overflow: 1n, pending: 2n, indexShift: 8n } as const;
const faultRecordBytes = 16n;
const faultTaken = 1n << 31n;

/** Takes all faults out of the unit's records, from the oldest on. @param fromFirst the planted mistake */
export function* readFaults(observer: UnitObserver, fromFirst: boolean): Steps<void> {
  for (let n = 0n; ; n++) {
    const status = yield load(register.faultStatus, 4);
    if ((status & faultStatus.pending) === 0n) {
      const overflow = status & faultStatus.overflow;
      observer.faultsRead(overflow !== 0n);
      if (overflow !== 0n) yield store(register.faultStatus, 4, overflow);
      return;
    }
    const index = fromFirst ? n % 8n : (status >> faultStatus.indexShift) & 0xffn;
    yield* readFault(observer, register.faultRecords + index * faultRecordBytes);
  }
}

function* readFault(observer: UnitObserver, at: bigint): Steps<void> {
  const last = yield load(at + 12n, 4);
  if ((last & faultTaken) === 0n) return;
  const index = Number((yield load(at + 4n, 4)) >> 16n);
  const requester = Number((yield load(at + 8n, 4)) & 0xffffn);
  observer.faultRead({ requester, index, reason: Number(last & 0xffn) });
  yield store(at + 12n, 4, faultTaken);
}
