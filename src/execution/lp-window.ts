/**
 * The LP window: the part of the shared memory that belongs to one logical processor.
 *
 * Everything an LP is (registers, descriptor caches, flags, TLB, decoded instructions, mailbox, VMCS cache) lies here at
 * fixed byte offsets, so that generated Wasm, TypeScript and an inspector on another thread see the same state.
 * All offsets are relative to the window's base; integers are little-endian.
 */

/** Bytes of one window. */
export const lpWindowBytes = 0x60_0000;

/** Register state and hot words. 64-bit unless a comment says otherwise. */
export const lpOffset = {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15, 8 bytes each. */
  gpr: 0x000,
  /** Always zero: the base or index of an address that has none. */
  zero: 0x080,
  rip: 0x088,
  /** Lazy status flags: sign-extended result (see `execution/flags.ts`). */
  flagResult: 0x090,
  /** Lazy status flags: carry vector. */
  flagCarries: 0x098,
  /** u32: RFLAGS without the six status flags; bit 1 always set. */
  systemFlags: 0x0a0,
  /** u32: events to look at before the next block; also the doorbell of HLT. Atomic. */
  pending: 0x0a4,
  /** i32: instructions left in this run. */
  remaining: 0x0a8,
  /** u32: address of the record being executed, valid when TypeScript is called. */
  current: 0x0ac,
  /** i64: address-space id and access mode, or-ed into the low 12 bits of every TLB tag. */
  tlbContext: 0x0b0,
  /** i64: linear page | tlbContext of the page code is fetched from; 1 = none. */
  fetchTag: 0x0b8,
  /** u32: physical page of that code. */
  fetchPage: 0x0c0,
  /** u32: decode mode, see `code-mode.ts`. */
  codeMode: 0x0c4,
  /** i64: CS.base, 0 in 64-bit mode. */
  codeBase: 0x0c8,
  /** Arguments of slow memory accesses. */
  argument0: 0x0d0,
  argument1: 0x0d8,
  /** u32 current privilege level. */
  cpl: 0x0e0,
  /** u32 activity: see `activity` below. */
  activity: 0x0e4,
  /** u32 interrupt shadow: bit 0 STI, bit 1 MOV SS, bit 3 NMI blocked. */
  interruptibility: 0x0e8,
  /** u32: LP index. */
  index: 0x0ec,
  /** i64: mask applied to RIP + CS.base to form a linear address (all ones in 64-bit mode, else 2^32-1). */
  linearMask: 0x0f0,
  /** u64 retired instructions. */
  retired: 0x0f8,
  /** Segment registers ES CS SS DS FS GS LDTR TR, `segmentStride` bytes each. */
  segment: 0x100,
  gdtrBase: 0x200,
  gdtrLimit: 0x208,
  idtrBase: 0x210,
  idtrLimit: 0x218,
  cr0: 0x220,
  cr2: 0x228,
  cr3: 0x230,
  cr4: 0x238,
  efer: 0x240,
  xcr0: 0x248,
  dr0: 0x250,
  dr1: 0x258,
  dr2: 0x260,
  dr3: 0x268,
  dr6: 0x270,
  dr7: 0x278,
  star: 0x280,
  lstar: 0x288,
  cstar: 0x290,
  fmask: 0x298,
  kernelGsBase: 0x2a0,
  sysenterCs: 0x2a8,
  sysenterEsp: 0x2b0,
  sysenterEip: 0x2b8,
  pat: 0x2c0,
  tscAux: 0x2c8,
  tscAdjust: 0x2d0,
  /** TSC minus the machine's clock. */
  tscOffset: 0x2d8,
  featureControl: 0x2e0,
  miscEnable: 0x2e8,
  apicBase: 0x2f0,
  debugCtl: 0x2f8,
  /** PDPTE0..3 of PAE paging. */
  pdpte: 0x300,
  tscDeadline: 0x320,
  perfGlobalCtrl: 0x328,
  xss: 0x330,
  smbase: 0x338,
  /** u32: how the generated page walk may work, see `walkFlag`. */
  walkFlags: 0x340,
  /** i64: bits that must be clear in every paging-structure entry. */
  walkReserved: 0x348,
  /** u32: bytes of RAM. */
  ramBytes: 0x350,
  /** u32: physical page number of the local APIC page, all ones when disabled. */
  apicFrame: 0x354,
  /** u32: address of the page-information area (see `code-pages.ts`). */
  pageInformation: 0x358,
  /** u32: TLB fills by the generated walk, modulo 2^32. */
  walks: 0x35c,
  /** u32: whether repeated string instructions stop after each iteration, see `Iteration`. */
  iteration: 0x360,
  /** u32: PKRU. */
  pkru: 0x364,
  pkrs: 0x368,
  /** u32: not 0 when an assistant has changed what TypeScript keeps a copy of, see `CoreHost.catchUp`. */
  assisted: 0x370,
  /**
   * u32: place in the core's table of the function that attends to what is pending, 0 when TypeScript is to. Whoever asks for
   * events in TypeScript makes it 0.
   */
  attendant: 0x374,
  /** u32: not 0 while the LP's thread sleeps, or is about to, and whoever sets a pending bit is to wake it. Atomic. */
  asleep: 0x378,
  /** u32: not 0 when the next block is to be executed whatever is pending. */
  heedless: 0x37c,
  /** XMM0..15, 16 bytes each. */
  xmm: 0x400,
  /** ST0..7 as physical registers R0..R7, 16 bytes each (80 bits used). */
  x87: 0x500,
  /** u32 */
  mxcsr: 0x580,
  /** u16 x87 control, status, tag (full two-bit tags), opcode; then u64 instruction and data pointers. */
  fcw: 0x584,
  fsw: 0x586,
  ftw: 0x588,
  fop: 0x58a,
  fip: 0x590,
  fdp: 0x598,
  /** Bounce buffer of accesses that cross a page or meet MMIO; 64 bytes. */
  bounce: 0x5c0,
  /** Free for the owner of the room named. */
  cpuPrivate: 0x800,
  apicPage: 0x1000,
  vmxPrivate: 0x2000,
  vmcsCache: 0x3000,
  mailbox: 0x5000,
  /** Records of the operations of scripts. */
  scripts: 0x7000,
  /** u8 × `largePageRegions`: log2 of the largest page met in a 2 MiB region (hashed), 0 when none. */
  largePages: 0x8000,
  /** u32: the next address-space id to be given out, see `cpu/address-space.ts`. */
  nextAddressSpace: 0x8800,
  /** The vmx room's part for what its assistants look up. */
  vmxTables: 0x9000,
  tlb: 0x2_0000,
  blocks: 0x8_0000,
  records: 0x20_0000,
} as const;

/** One segment register: selector, cached descriptor, and the derived range that generated code checks. */
export const segmentStride = 32;
export const segmentOffset = {
  /** u16 */
  selector: 0,
  /** u32 access rights in the VMX layout (type, S, DPL, P, AVL, L, D/B, G, bit 16 unusable). */
  rights: 4,
  /** u32 byte-granular limit. */
  limit: 8,
  /** u32: bit 0 readable, bit 1 writable, for data accesses through this register. */
  access: 12,
  /** u64 */
  base: 16,
  /** u32, u32: lowest and highest offset a data access may touch. */
  lowest: 24,
  highest: 28,
} as const;

/** Segment register numbers, the manual's encoding. */
export const Segment = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const;

/** Activity states (the first four are the VMCS encoding). */
export const Activity = { Active: 0, Halted: 1, Shutdown: 2, WaitForSipi: 3, Mwait: 4 } as const;

/** What happens after an iteration of a repeated string instruction that is not its last. */
export const Iteration = {
  /** The instruction goes on. */
  Continue: 0,
  /** The run ends there: somebody looks at every iteration (single-step, monitor trap flag, breakpoints). */
  Stop: 1,
  /** It has ended there. */
  Stopped: 2,
} as const;

/** Bits of the pending word. */
export const Pending = {
  /** Mailbox has messages. */
  Mailbox: 1 << 0,
  /** The event window must be evaluated (an interrupt or NMI may be deliverable, a timer may be due). */
  Events: 1 << 1,
  /** Another LP asks this one to drop write permission of new code pages. */
  CodePage: 1 << 2,
  /** Another LP or a device wrote to a page that holds decoded code. */
  CodeChanged: 1 << 3,
  /** The driver wants the LP back. */
  Stop: 1 << 4,
} as const;

export const tlbEntries = 4096;
export const tlbEntryBytes = 32;
/** TLB entry: three i64 tags (linear page | context, 1 = invalid), i32 addend, u32 attributes. */
export const tlbEntryOffset = {
  read: 0,
  write: 8,
  execute: 16,
  addend: 24,
  attributes: 28,
} as const;

export const blockEntries = 16384;
export const blockEntryBytes = 32;
/** Block entry: i64 rip, i64 physical address | codeMode << 32, u32 address of the first record. */
export const blockEntryOffset = { rip: 0, key: 8, record: 16 } as const;

export const recordAreaBytes = lpWindowBytes - lpOffset.records;

/** Bits of `walkFlags`. */
export const walkFlag = {
  /** 4-level paging without a second stage, and accesses need no check of their own. */
  enabled: 1 << 0,
  /** CPL is 3. */
  user: 1 << 1,
  /** SMAP, SMEP: a supervisor's data accesses, fetches must not use user pages. */
  dataRefusesUser: 1 << 2,
  fetchRefusesUser: 1 << 3,
} as const;
export const largePageRegions = 2048;
