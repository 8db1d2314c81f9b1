import type { GuestStart } from "./vmcs.ts";

/**
 * The memory of a virtual machine: one run of physical memory, 2 MiB-aligned, at guest-physical 0; and in its first pages what a
 * 64-bit guest needs to begin: page tables that map it one to one, descriptor tables, a task-state segment, stacks.
 *
 * ```
 *   0      unused: a null pointer faults nothing, but finds nothing
 *   1000   page tables (three pages)      4000  GDT       5000  IDT       6000  a TSS for each vCPU
 *   10000  stacks, 4 KiB for each vCPU    50000 free for the guest's program
 * ```
 * A vCPU that begins at privilege level 3 has the lower half of its stack; the upper half is for handlers of interrupts.
 */
export const guestLayout = {
  pageTables: 0x1000,
  gdt: 0x4000,
  idt: 0x5000,
  task: 0x6000,
  taskBytes: 0x80,
  stacks: 0x1_0000,
  stackBytes: 0x1000,
  free: 0x5_0000,
} as const;

export const guestVcpusMax = (guestLayout.free - guestLayout.stacks) / guestLayout.stackBytes;
export const largePageBytes = 2 ** 21;

const selector = { code: 0x08, data: 0x10, task: 0x18, userCode: 0x2b, userData: 0x33 } as const;
const taskLimit = 0x67;
/** In a TSS: the stack for privilege level 0. */
const taskStack0 = 4;
const vectors = 256;
const gateBytes = 16;
const gdtEntries = 7;
const present = 1n;
const writable = 2n;
const user = 4n;
const interruptFlag = 0x200n;
const requestedLevel = 3;
const largePage = 0x80n;
const pageBytes = 4096;
const entriesPerTable = 512;

/**
 * Writes those structures.
 * @param memory the machine's memory, all zero there
 * @param gate linear address of the handler of a vector; undefined: the vector has none
 */
export function writeGuestMemory(
  memory: Uint8Array,
  gate: (vector: number) => bigint | undefined,
): void {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  const { pageTables, gdt, idt, task } = guestLayout;
  const link = (address: number): bigint => BigInt(address) | present | writable | user;
  view.setBigUint64(pageTables, link(pageTables + pageBytes), true);
  view.setBigUint64(pageTables + pageBytes, link(pageTables + 2 * pageBytes), true);
  for (let n = 0; n < entriesPerTable; n++) {
    const entry = (BigInt(n) << 21n) | present | writable | user | largePage;
    view.setBigUint64(pageTables + 2 * pageBytes + n * 8, entry, true);
  }
  view.setBigUint64(gdt + selector.code, 0x00af_9b00_0000_ffffn, true);
  view.setBigUint64(gdt + selector.data, 0x00cf_9300_0000_ffffn, true);
  const taskDescriptor = (BigInt(task) << 16n) | (0x8bn << 40n) | BigInt(taskLimit);
  view.setBigUint64(gdt + selector.task, taskDescriptor, true);
  view.setBigUint64(gdt + (selector.userCode & ~requestedLevel), 0x00af_fb00_0000_ffffn, true);
  view.setBigUint64(gdt + (selector.userData & ~requestedLevel), 0x00cf_f300_0000_ffffn, true);
  for (let vcpu = 0; vcpu < guestVcpusMax; vcpu++) {
    view.setBigUint64(taskOf(vcpu) + taskStack0, BigInt(stackOf(vcpu)), true);
  }
  for (let vector = 0; vector < vectors; vector++) {
    const offset = gate(vector);
    if (offset === undefined) continue;
    const [low, high] = interruptGate(offset);
    view.setBigUint64(idt + vector * gateBytes, low, true);
    view.setBigUint64(idt + vector * gateBytes + 8, high, true);
  }
}

/** The halves of a gate of such a guest's IDT, for a handler that is written there later. */
export function interruptGate(offset: bigint): readonly [bigint, bigint] {
  const presentInterruptGate = 0x8e00n;
  const low =
    (offset & 0xffffn) |
    (BigInt(selector.code) << 16n) |
    (presentInterruptGate << 32n) |
    (((offset >> 16n) & 0xffffn) << 48n);
  return [low, offset >> 32n];
}

const taskOf = (vcpu: number): number => guestLayout.task + vcpu * guestLayout.taskBytes;
/** Top of a vCPU's stack. */
const stackOf = (vcpu: number): number => guestLayout.stacks + (vcpu + 1) * guestLayout.stackBytes;

/** Where a vCPU of such a guest begins, at privilege level 0. @param vcpu its index in the machine, below `guestVcpusMax` */
export function guestStart(vcpu: number, rip: bigint, rflags: bigint): GuestStart {
  return {
    rip,
    rflags,
    rsp: BigInt(stackOf(vcpu)),
    cr3: BigInt(guestLayout.pageTables),
    gdtBase: BigInt(guestLayout.gdt),
    gdtLimit: gdtEntries * 8 - 1,
    idtBase: BigInt(guestLayout.idt),
    idtLimit: vectors * gateBytes - 1,
    taskBase: BigInt(taskOf(vcpu)),
    codeSelector: selector.code,
    dataSelector: selector.data,
    taskSelector: selector.task,
  };
}

/** The same at privilege level 3, interrupts on. */
export function userStart(vcpu: number, rip: bigint): GuestStart {
  return {
    ...guestStart(vcpu, rip, interruptFlag),
    rsp: BigInt(stackOf(vcpu) - guestLayout.stackBytes / 2),
    codeSelector: selector.userCode,
    dataSelector: selector.userData,
  };
}

/** Tables of `mapWithEpt`, in bytes. */
export const eptBytes = 3 * pageBytes;
const eptAll = 7n;
const eptWriteBack = 6n << 3n;

/**
 * Extended page tables for a guest whose memory is one run, in 2 MiB pages.
 * @param tables physical address of `eptBytes` bytes for them, zero, page-aligned
 * @param base physical address of the guest's memory
 * @param bytes of it, a multiple of 2 MiB up to 1 GiB
 * @returns the EPT pointer for the VMCS
 */
export function mapWithEpt(ram: Uint8Array, tables: number, base: number, bytes: number): bigint {
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  view.setBigUint64(tables, BigInt(tables + pageBytes) | eptAll, true);
  view.setBigUint64(tables + pageBytes, BigInt(tables + 2 * pageBytes) | eptAll, true);
  for (let n = 0; n < bytes / largePageBytes; n++) {
    const entry = BigInt(base + n * largePageBytes) | eptAll | eptWriteBack | largePage;
    view.setBigUint64(tables + 2 * pageBytes + n * 8, entry, true);
  }
  const writeBack = 6n;
  const walkLength4 = 3n << 3n;
  return BigInt(tables) | writeBack | walkLength4;
}
