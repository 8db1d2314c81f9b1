/**
 * Where the processors of a posting hypervisor keep what they share: physical memory from 2 MiB on, below the guest's.
 *
 * ```
 *   20 0000  machine   22 0000  VMXON regions, by LP     2a 0000  virtual-APIC pages, by vCPU
 *   20 1000  LPs       25 0000  VMCSs, by vCPU           2e 0000  counters
 *   20 5000  vCPUs     20 a000  descriptors  b000 PID table  c000 IRTEs  d000 MSR bitmaps  e000 EPT
 *   21 2000  invalidation queue of the VT-d unit, 21 3000 what its waits write; 21 4000 emulated interrupt lines
 *   40 0000  guest memory, 2 MiB
 * ```
 * All fields have eight bytes.
 */

/** Virtual processors, and LPs, that there is room for. */
export const vcpusMax = 32;
export const postingLpsMax = 32;

const blockBytes = 256n;
const page = 4096n;
const base = 0x20_0000n;

export const place = {
  machine: base,
  pidTable: base + 0xb000n,
  remapTable: base + 0xc000n,
  msrBitmaps: base + 0xd000n,
  invalidationQueue: base + 0x1_2000n,
  waitStatus: base + 0x1_3000n,
  lines: base + 0x1_4000n,
  ept: Number(base) + 0xe000,
  guest: 0x40_0000,
  /** Bytes of RAM that a machine needs. */
  ramBytes: 16 * 2 ** 20,
} as const;

/** The words that concern everybody. */
export const machineField = {
  /** LPs that have prepared their vCPUs. */
  ready: place.machine,
  wakeUps: place.machine + 8n,
  migrations: place.machine + 16n,
  /** Messages that devices have sent, when they have been stopped. */
  byDevices: place.machine + 24n,
} as const;

/** Fields of an LP's block. */
export const lpField = {
  /** Of the wake-up list: a spin lock, and the first vCPU, counted from 1. */
  wakeLock: 0n,
  wakeHead: 8n,
  /** Runnable vCPUs, a bit for each. */
  runnable: 16n,
  /** Not zero: leave the vCPU that runs alone for so many cycles. */
  preempt: 24n,
  /** VMCSs to be cleared here for another LP, a bit for each vCPU. */
  clear: 32n,
  /** With the planted suppression of kicks: one is under way. */
  kicked: 40n,
} as const;

/** Fields of a vCPU's block. */
export const vcpuField = {
  /** A `VcpuState`. */
  state: 0n,
  /** 1 from before the last look at requests to behind the VM exit. */
  mode: 8n,
  /** LP on which it is to run. */
  home: 16n,
  /** LP on which its VMCS is active, counted from 1. */
  active: 24n,
  /** LP that has it in its hands, counted from 1. */
  held: 32n,
  /** On a wake-up list: the next vCPU, and the LP whose list it is; both counted from 1. */
  next: 40n,
  listedOn: 48n,
  /** Something is to be done before the next entry: a bit of `request`. */
  request: 56n,
  /** Devices that post to it directly. */
  devices: 64n,
  /** The LP it ran on last, counted from 1: where the general registers below come from. */
  last: 72n,
  /** Vectors handed over with a request, 256 bits. */
  vectors: 80n,
  registers: 112n,
} as const;

/** Post the vectors handed over; make the EOI-exit bitmap anew. */
export const request = { interrupts: 1n, scan: 2n } as const;

/** Blocked: asleep until somebody wakes it. Runnable: a bit of its home's `runnable` is set, or about to be. */
export const VcpuState = { Blocked: 0n, Runnable: 1n, Running: 2n } as const;

/** Addresses by number, made once: they are asked for all the time. */
function row(first: bigint, stride: bigint, count: number): (number: number) => bigint {
  const addresses = Array.from({ length: count }, (_, n) => first + BigInt(n) * stride);
  return (number) => addresses[number] ?? first + BigInt(number) * stride;
}
export const lpBlock = row(base + 0x1000n, blockBytes, postingLpsMax);
export const vcpuBlock = row(base + 0x5000n, blockBytes, vcpusMax);
export const descriptorOf = row(base + 0xa000n, 64n, vcpusMax);
export const vmxonRegion = row(base + 0x2_0000n, page, postingLpsMax);
export const vmcsOf = row(base + 0x5_0000n, page, vcpusMax);
export const virtualApicOf = row(base + 0xa_0000n, page, vcpusMax);
/** In the guest's memory, guest-physical. */
export const guestPlace = {
  /** Interrupt descriptor tables, by vCPU. */
  idt: 0x5_0000,
  /** Not zero: finish. */
  stop: 0x9_0000,
  /** Levels of emulated interrupt lines, eight bytes each. */
  lines: 0x9_2000,
  /** What devices have sent: 16 bytes for each of their interrupts. */
  deviceRecords: 0x9_1000,
  /** What machine code counts: an `accountField` record for each vector, two pages for each vCPU. */
  accounts: 0xa_0000,
  /** Machine code. */
  code: 0xe_0000,
  /** Letters: eight bytes for each vector of each vCPU. */
  letters: 0x12_0000,
  /** Latencies that machine code has measured, a page for each vCPU. */
  latencies: 0x1c_0000,
} as const;

/** Fields of eight bytes of a vector's account; only the guest's handler writes the first two. */
export const accountField = {
  delivered: 0,
  /** What `posted` was when the handler last ran. */
  seen: 8,
  posted: 16,
  /** Time-stamp counter at the first post since the handler last ran, 0 for none. */
  since: 24,
} as const;
const accountBytes = 32;
const accountsBytes = 0x2000;
/** Guest-physical address of an account. */
export const accountOf = (vcpu: number, vector: number): number =>
  guestPlace.accounts + vcpu * accountsBytes + vector * accountBytes;

export const letterOf = (vcpu: number, vector: number): number =>
  guestPlace.letters + (vcpu * 256 + vector) * 8;

/** Pins of the emulated I/O APIC. */
export const linePins = 4;
/** Fields of a pin. */
export const lineField = {
  lock: 0n,
  /** Vector in 7:0, trigger mode in 8, mask in 9, vCPU in 63:32. */
  entry: 8n,
  remote: 16n,
} as const;
export const lineBlock = (pin: number): bigint => place.lines + BigInt(pin) * 64n;
/** Guest-physical address of the level of a pin's line: not zero while it is high. */
export const lineLevel = (pin: number): number => guestPlace.lines + pin * 8;
const firstLineVector = 0x31;
const lineVectorStride = 0x30;
/** Each pin uses one of two vectors. */
export const lineVectorsPerPin = 2;
export const lineVector = (pin: number, which: number): number =>
  firstLineVector + pin * lineVectorStride + which;
/** The pin that may use a vector, undefined for others. */
export function pinOfVector(vector: number): number | undefined {
  const offset = vector - firstLineVector;
  const pin = Math.floor(offset / lineVectorStride);
  const isOne = offset % lineVectorStride < lineVectorsPerPin;
  return offset >= 0 && pin < linePins && isOne ? pin : undefined;
}

/** Vectors of the host that the hypervisor uses. */
export const hostVector = {
  reschedule: 0xf0,
  wakeUp: 0xf1,
  /** Notifies the vCPU that runs. */
  active: 0xf2,
  clearVmcs: 0xf3,
} as const;
