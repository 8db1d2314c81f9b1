import type { Program } from "./program.ts";

/** Where everything is: host memory behind the image, the records kept per processor, and the guest's address space. */

export const loadAddress = 0x100000;
/** Start-up code of the application processors; SIPI vector 8 names this page. */
export const trampolineAddress = 0x8000;
export const startUpVector = trampolineAddress >> 12;

export const maximumProcessors = 64;
export const pageSize = 0x1000;
const largePageSize = 0x200000;
export const stackSize = 0x4000;
export const logSize = 0x2000;
export const taskStateSize = 128;

/** Selectors of the host's GDT; one TSS descriptor of 16 bytes per processor follows from `firstTask` on. */
export const selector = { code64: 0x08, data: 0x10, code32: 0x18, firstTask: 0x20 } as const;

/** Vectors of the IPIs that processors send each other, and of the APIC's spurious interrupt. */
export const vector = { kick: 0xf0, migrate: 0xf1, spurious: 0xff } as const;

type Record8<Names extends readonly string[]> = Readonly<Record<Names[number] | "size", number>>;

/** A record of 8-byte fields: the offset of each, and the size of the whole. */
function record<const Names extends readonly string[]>(...names: Names): Record8<Names> {
  const offsets = names.map((name, index): [string, number] => [name, 8 * index]);
  return Object.fromEntries([...offsets, ["size", 8 * names.length]]) as Record8<Names>;
}

/** What a logical processor (LP) knows of itself; R15 points to it in all host code. */
export const processor = record(
  "index",
  "apicId",
  "log",
  "logLength",
  "barriersPassed",
  "vmxonRegion",
  "taskState",
);

/** A virtual processor: the guest registers that the VMCS does not hold, and the hypervisor's notes. R14 points to it. */
export const virtualProcessor = record(
  ...(["rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi"] as const),
  ...(["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"] as const),
  "index",
  "vmcs",
  "launched",
  "primaryControls",
  "runsOn",
  "pendingInterrupts",
  "halted",
  "hypercalls",
  "pagesMapped",
  "interruptsInjected",
);

/** Why `run_vcpu` has returned. */
export const stopReason = { endOfPhase: 1, released: 2 } as const;

/** What a guest may ask of the hypervisor with VMCALL: the number is in RAX, an argument in RBX, the answer in RAX. */
export const hypercall = {
  /** RBX: how many primes the vCPU has found. */
  reportPrimes: 0,
  /** RBX: the vCPU to interrupt. */
  sendInterrupt: 1,
  /** RAX: the LP that runs the vCPU. */
  whereAmI: 2,
  /** From now on the vCPU may be moved to another LP. */
  readyToMove: 3,
  endOfPhase: 4,
} as const;
/** The guest writes its console to this port. */
export const guestConsolePort = 0xe9;
/** Vector of the interrupt that one vCPU sends another. */
export const guestVector = 0x40;

/** Steps of handing a vCPU from one LP to another; see migration.ts. */
export const migrationStep = { none: 0, ready: 1, requested: 2, released: 3, taken: 4 } as const;

/** The guest-physical address space, which is also what the guest's own page tables map one to one. */
export const guestMap = {
  /** The guest's program, read and execute only, in pages of 4 KiB. */
  program: 0x1000,
  /** 2 MiB of memory in one large page. */
  ram: 0x200000,
  pageTables: 0x200000,
  information: 0x210000,
  stacks: 0x280000,
  /** 2 MiB of memory that exists page by page, when first touched. */
  onDemand: 0x400000,
  end: 0x600000,
} as const;
export const guestStackSize = 0x1000;

/** The guests look for the primes below this number. */
export const primesBelow = 1_000_000;

/** What a vCPU is told at its start, one page each; the guest finds the address in RDI. */
export const guestInformation = record(
  "index",
  "count",
  "sliceStart",
  "sliceEnd",
  "sliceMemory",
  "interruptsTaken",
  "moved",
);

/** Reserves the memory behind the image. The loader clears it. */
export function emitMemory({ asm, at }: Program): void {
  const reserve = (label: keyof typeof at, count: number, alignment = 8) => {
    asm.align(alignment);
    asm.here(at[label]);
    asm.reserve(count);
  };
  asm.bss();
  reserve("boot_magic", 8);
  reserve("boot_information", 8);
  reserve("ap_tickets", 8);
  reserve("aps_online", 8);
  reserve("aps_counted", 8);
  reserve("ap_apic_ids", 8 * maximumProcessors);
  reserve("processor_count", 8);
  reserve("processors_released", 8);
  reserve("barrier_arrivals", 8);
  reserve("console_lock", 8);
  reserve("primes_total", 8);
  reserve("pages_used", 8);
  reserve("migration_step", 8);
  reserve("page_tables", 6 * pageSize, pageSize);
  reserve("interrupt_table", 256 * 16, pageSize);
  reserve("processors", maximumProcessors * processor.size, 64);
  reserve("virtual_processors", maximumProcessors * virtualProcessor.size, 64);
  reserve("task_states", maximumProcessors * taskStateSize, 128);
  reserve("stacks", maximumProcessors * stackSize, 16);
  reserve("logs", maximumProcessors * logSize, 16);
  reserve("vmxon_regions", maximumProcessors * pageSize, pageSize);
  reserve("vmcs_regions", maximumProcessors * pageSize, pageSize);
  reserve("ept_tables", 5 * pageSize, pageSize);
  reserve("guest_ram", largePageSize, largePageSize);
  reserve("guest_pages", largePageSize, pageSize);
  asm.here(at.memory_end);
}
