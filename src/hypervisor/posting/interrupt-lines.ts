import {
  compute,
  exchange,
  load,
  lockedAnd,
  lockedOr,
  type Steps,
  store,
} from "../../isa/operations.ts";
import { vmcsField } from "../vmx/architecture.ts";
import { writeField } from "../vmx/vmcs.ts";
import type { LpContext } from "./context.ts";
import { sendInterrupt } from "./interrupts.ts";
import type { LineRoute } from "./observer.ts";
import { post } from "./posting.ts";
import {
  hostVector,
  lineBlock,
  lineField,
  lineLevel,
  linePins,
  lineVector,
  lineVectorsPerPin,
  pinOfVector,
  place,
  request,
  vcpuBlock,
  vcpuField,
  virtualApicOf,
} from "./posting-memory.ts";
import { lock, unlock } from "./spin-lock.ts";

/**
 * An I/O APIC that the hypervisor emulates: lines whose interrupts are posted. A level-triggered one goes out once and waits, remote
 * IRR set, for the guest's end of interrupt, which the EOI-exit bitmap turns into a VM exit; if the line is still high it goes out
 * again. So the bitmap of a vCPU must have a vector before the first interrupt that needs it.
 */

const entryBit = { level: 1n << 8n, masked: 1n << 9n } as const;
const targetShift = 32n;
const vectorMask = 0xffn;
const inGuest = 1n;
const pollCycles = 100;
/** Sets of vectors in the virtual-APIC page are 32 bits every 16 bytes. */
const triggerModes = 0x180n;
const bitmapWords = 4;

const encode = ({ vcpu, vector, level }: LineRoute): bigint =>
  (BigInt(vcpu) << targetShift) | (level ? entryBit.level : 0n) | BigInt(vector);
const decode = (entry: bigint): LineRoute => ({
  vcpu: Number(entry >> targetShift),
  vector: Number(entry & vectorMask),
  level: (entry & entryBit.level) !== 0n,
});

const levelAt = (pin: number): bigint => BigInt(place.guest + lineLevel(pin));

/** The device behind a pin wants service. */
export function* raiseLine(context: LpContext, pin: number): Steps<void> {
  const block = lineBlock(pin);
  yield* lock(block + lineField.lock);
  yield exchange(levelAt(pin), 8, 1n);
  const entry = yield load(block + lineField.entry);
  if ((entry & entryBit.level) !== 0n) yield* serveLevel(context, pin);
  else if (entry !== 0n && (entry & entryBit.masked) === 0n) {
    yield* postLine(context, decode(entry));
  }
  yield* unlock(block + lineField.lock);
}

/** Sends the interrupt of a level-triggered pin if the line is high and none is under way. The lock is held. */
function* serveLevel(context: LpContext, pin: number): Steps<void> {
  const block = lineBlock(pin);
  const entry = yield load(block + lineField.entry);
  if ((entry & entryBit.level) === 0n || (entry & entryBit.masked) !== 0n) return;
  if ((yield load(block + lineField.remote)) !== 0n) return;
  if ((yield load(levelAt(pin))) === 0n) return;
  context.observer.lines.remote(pin, true);
  yield store(block + lineField.remote, 8, 1n);
  yield* postLine(context, decode(entry));
}

function* postLine(context: LpContext, { vcpu, vector, level }: LineRoute): Steps<void> {
  const at = virtualApicOf(vcpu) + triggerModes + BigInt(vector >>> 5) * 16n;
  const bit = 1n << BigInt(vector & 31);
  yield level ? lockedOr(at, 4, bit) : lockedAnd(at, 4, 0xffff_ffffn ^ bit);
  yield* post(context, vcpu, vector, "line");
}

/** A guest has ended an interrupt that the bitmap selects. */
export function* endLine(context: LpContext, vector: number): Steps<void> {
  const pin = pinOfVector(vector);
  if (pin === undefined) return;
  const block = lineBlock(pin);
  yield* lock(block + lineField.lock);
  const route = decode(yield load(block + lineField.entry));
  if (route.level && route.vector === vector) {
    context.observer.lines.remote(pin, false);
    yield store(block + lineField.remote, 8, 0n);
    yield* serveLevel(context, pin);
  }
  yield* unlock(block + lineField.lock);
}

/**
 * A pin leads to another vCPU, by another vector, in another trigger mode: masked, unless an end of interrupt is owed; the vCPUs
 * concerned learn of it; unmasked.
 */
export function* routeLine(context: LpContext, pin: number): Steps<void> {
  const { random } = context.environment;
  const block = lineBlock(pin);
  yield* lock(block + lineField.lock);
  const before = yield load(block + lineField.entry);
  const isOwed = (yield load(block + lineField.remote)) !== 0n;
  if (!isOwed) {
    context.observer.lines.routed(pin, undefined);
    yield store(block + lineField.entry, 8, before | entryBit.masked);
  }
  yield* unlock(block + lineField.lock);
  if (isOwed) return;
  const route: LineRoute = {
    vcpu: random.below(context.vcpus),
    vector: lineVector(pin, random.below(lineVectorsPerPin)),
    level: random.below(4) !== 0,
  };
  context.observer.disturbing("line route");
  yield store(block + lineField.entry, 8, encode(route) | entryBit.masked);
  if (context.bug !== "stale-eoi-bitmap") {
    yield* requestScan(context, decode(before).vcpu);
    yield* requestScan(context, route.vcpu);
  }
  yield* lock(block + lineField.lock);
  context.observer.lines.routed(pin, route);
  yield store(block + lineField.entry, 8, encode(route));
  yield* serveLevel(context, pin);
  yield* unlock(block + lineField.lock);
}

/** A vCPU makes its bitmap anew; afterwards it has done so, or is outside its guest and will do so before it enters. */
function* requestScan(context: LpContext, vcpu: number): Steps<void> {
  const block = vcpuBlock(vcpu);
  yield lockedOr(block + vcpuField.request, 8, request.scan);
  const held = Number(yield load(block + vcpuField.held));
  if (held !== 0) {
    yield* sendInterrupt(context.apicIds[held - 1] ?? held - 1, hostVector.reschedule);
  }
  while ((yield load(block + vcpuField.mode)) === inGuest) {
    if (((yield load(block + vcpuField.request)) & request.scan) === 0n) return;
    yield compute(pollCycles);
  }
}

/** The EOI-exit bitmap of the current VMCS gets the vectors of level-triggered pins that lead to the vCPU. */
export function* scanLines(context: LpContext, vcpu: number): Steps<void> {
  const words = Array.from({ length: bitmapWords }, () => 0n);
  const vectors: number[] = [];
  for (let pin = 0; pin < linePins; pin++) {
    const route = decode(yield load(lineBlock(pin) + lineField.entry));
    if (!route.level || route.vcpu !== vcpu) continue;
    const word = route.vector >>> 6;
    words[word] = (words[word] ?? 0n) | (1n << BigInt(route.vector & 63));
    vectors.push(route.vector);
  }
  for (const [n, word] of words.entries()) {
    yield* writeField(vmcsField.eoiExitBitmap0 + 2 * n, word);
  }
  context.observer.lines.bitmap(vcpu, vectors);
}
