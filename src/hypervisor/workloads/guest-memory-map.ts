import { guestLayout } from "../vmx/guest-memory.ts";

/** Where workloads keep their words in guest memory: each on a cache line of its own. */
const lineBytes = 128;
const lines = {
  locks: 0,
  nodes: 2048,
  waiting: 4096,
  barrier: 6144,
  shootdown: 7168,
  work: 7424,
} as const;
/** Locks of a VM, and vCPUs that take them. */
export const locksMax = 256;
/** Lines of one lock. */
const linesPerLock = 4;

const lineAt = (number: number): bigint => BigInt(guestLayout.free + number * lineBytes);

/** Line `n` (0 to 3) of a lock. */
export const lockLine = (lock: number, n: number): bigint =>
  lineAt(lines.locks + lock * linesPerLock + n);
/** A vCPU's node of a queue lock: what it spins on, and its successor. */
export const nodeLocked = (index: number): bigint => lineAt(lines.nodes + 2 * index);
export const nodeNext = (index: number): bigint => lineAt(lines.nodes + 2 * index + 1);
/** Where the waiter with a ticket of a lock says that it sleeps. */
export const waitingSlots = 64;
export const waitingWord = (lock: number, ticket: number): bigint =>
  lineAt(lines.waiting) + BigInt((lock * waitingSlots + (ticket % waitingSlots)) * 8);
/** Barriers of a VM, by group. */
export const barrierCount = (group: number): bigint => lineAt(lines.barrier + 2 * group);
export const barrierPhase = (group: number): bigint => lineAt(lines.barrier + 2 * group + 1);
/** Answers that a vCPU's shootdown waits for. */
export const shootdownWord = (index: number): bigint => lineAt(lines.shootdown + index);
/** In guests of machine code: what holders of a lock count, with a plain load and a plain store. */
export const guardedWord = (lock: number): bigint => lockLine(lock, 2);
/** Rounds that a vCPU of such a guest has done. */
export const workWord = (index: number): bigint => lineAt(lines.work + index);
/** Where such a guest's code lies: apart from what it writes. */
export const codeAddress = 0x18_0000;
