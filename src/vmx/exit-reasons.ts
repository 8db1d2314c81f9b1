/**
 * The basic exit reasons ("VMX Basic Exit Reasons") and what each leaves in the VMCS.
 *
 * `kind` tells where the saved RIP points:
 * - `instruction`: at the instruction that exits; its length is recorded
 * - `fault`: at the instruction during which the event arose; length recorded only as noted by the architecture
 * - `trap`: at the next instruction; pending debug exceptions are saved
 * - `event`: at the next instruction, which has not begun
 * - `entry-failure`: the guest has not run; bit 31 of the exit reason is set and nothing of the guest is saved
 */
export type ExitKind = "instruction" | "fault" | "trap" | "event" | "entry-failure";

/** Layout of the exit qualification; `none` is 0. */
export type QualificationLayout =
  | "none"
  | "debug-or-page-fault"
  | "vector"
  | "io"
  | "task-switch"
  | "linear-address"
  | "displacement"
  | "control-register"
  | "debug-register"
  | "guest-state"
  | "entry-number"
  | "monitor-armed"
  | "apic-access"
  | "apic-offset"
  | "ept-violation"
  | "nmi-unblocking"
  | "sub-page"
  | "msr";

/**
 * Layout of the instruction-information field: A string I/O, B memory operand, B2 memory operand and type register,
 * C GDTR/IDTR, D LDTR/TR, E VMREAD/VMWRITE, F one register.
 */
export type InformationLayout = "A" | "B" | "B2" | "C" | "D" | "E" | "F" | "operands";

interface ExitReasonRow {
  readonly number: number;
  readonly title: string;
  readonly kind: ExitKind;
  readonly qualification?: QualificationLayout;
  readonly information?: InformationLayout;
  /** What makes it happen. */
  readonly when: string;
}

export const exitReasonTable = {
  exceptionOrNmi: {
    number: 0,
    title: "Exception or NMI",
    kind: "fault",
    qualification: "debug-or-page-fault",
    when: "the exception bitmap selects the vector, or an NMI arrives under NMI exiting",
  },
  externalInterrupt: {
    number: 1,
    title: "External interrupt",
    kind: "event",
    when: "an unblocked external interrupt arrives under external-interrupt exiting",
  },
  tripleFault: {
    number: 2,
    title: "Triple fault",
    kind: "fault",
    when: "delivery of a double fault fails",
  },
  init: {
    number: 3,
    title: "INIT signal",
    kind: "event",
    when: "INIT arrives, outside the wait-for-SIPI state",
  },
  sipi: {
    number: 4,
    title: "Start-up IPI",
    kind: "event",
    qualification: "vector",
    when: "a start-up IPI arrives in the wait-for-SIPI state",
  },
  ioSmi: {
    number: 5,
    title: "I/O system-management interrupt",
    kind: "trap",
    qualification: "io",
    when: "an SMI follows an I/O instruction under the dual-monitor treatment",
  },
  otherSmi: {
    number: 6,
    title: "Other system-management interrupt",
    kind: "event",
    when: "any other SMI arrives under the dual-monitor treatment",
  },
  interruptWindow: {
    number: 7,
    title: "Interrupt window",
    kind: "event",
    when: "RFLAGS.IF is 1 and nothing blocks interrupts under interrupt-window exiting",
  },
  nmiWindow: {
    number: 8,
    title: "NMI window",
    kind: "event",
    when: "nothing blocks virtual NMIs under NMI-window exiting",
  },
  taskSwitch: {
    number: 9,
    title: "Task switch",
    kind: "fault",
    qualification: "task-switch",
    when: "CALL, JMP, IRET or a task gate is about to switch tasks",
  },
  cpuid: { number: 10, title: "CPUID", kind: "instruction", when: "always" },
  getsec: { number: 11, title: "GETSEC", kind: "instruction", when: "always, if CR4.SMXE is 1" },
  hlt: { number: 12, title: "HLT", kind: "instruction", when: "HLT exiting" },
  invd: { number: 13, title: "INVD", kind: "instruction", when: "always" },
  invlpg: {
    number: 14,
    title: "INVLPG",
    kind: "instruction",
    qualification: "linear-address",
    when: "INVLPG exiting",
  },
  rdpmc: { number: 15, title: "RDPMC", kind: "instruction", when: "RDPMC exiting" },
  rdtsc: { number: 16, title: "RDTSC", kind: "instruction", when: "RDTSC exiting" },
  rsm: { number: 17, title: "RSM", kind: "instruction", when: "always, in SMM" },
  vmcall: { number: 18, title: "VMCALL", kind: "instruction", when: "always" },
  vmclear: {
    number: 19,
    title: "VMCLEAR",
    kind: "instruction",
    qualification: "displacement",
    information: "B",
    when: "always",
  },
  vmlaunch: { number: 20, title: "VMLAUNCH", kind: "instruction", when: "always" },
  vmptrld: {
    number: 21,
    title: "VMPTRLD",
    kind: "instruction",
    qualification: "displacement",
    information: "B",
    when: "always",
  },
  vmptrst: {
    number: 22,
    title: "VMPTRST",
    kind: "instruction",
    qualification: "displacement",
    information: "B",
    when: "always",
  },
  vmread: {
    number: 23,
    title: "VMREAD",
    kind: "instruction",
    qualification: "displacement",
    information: "E",
    when: "VMCS shadowing is off, or the VMREAD bitmap selects the field",
  },
  vmresume: { number: 24, title: "VMRESUME", kind: "instruction", when: "always" },
  vmwrite: {
    number: 25,
    title: "VMWRITE",
    kind: "instruction",
    qualification: "displacement",
    information: "E",
    when: "VMCS shadowing is off, or the VMWRITE bitmap selects the field",
  },
  vmxoff: { number: 26, title: "VMXOFF", kind: "instruction", when: "always" },
  vmxon: {
    number: 27,
    title: "VMXON",
    kind: "instruction",
    qualification: "displacement",
    information: "B",
    when: "always",
  },
  controlRegisterAccess: {
    number: 28,
    title: "Control-register access",
    kind: "instruction",
    qualification: "control-register",
    when: "masks, shadows, targets and the CR3 and CR8 controls decide",
  },
  movDr: {
    number: 29,
    title: "MOV DR",
    kind: "instruction",
    qualification: "debug-register",
    when: "MOV-DR exiting",
  },
  ioInstruction: {
    number: 30,
    title: "I/O instruction",
    kind: "instruction",
    qualification: "io",
    information: "A",
    when: "the I/O bitmaps, or unconditional I/O exiting, decide",
  },
  rdmsr: {
    number: 31,
    title: "RDMSR",
    kind: "instruction",
    when: "no MSR bitmaps, or the index is outside them, or its bit is 1",
  },
  wrmsr: {
    number: 32,
    title: "WRMSR",
    kind: "instruction",
    when: "no MSR bitmaps, or the index is outside them, or its bit is 1",
  },
  invalidGuestState: {
    number: 33,
    title: "VM-entry failure due to invalid guest state",
    kind: "entry-failure",
    qualification: "guest-state",
    when: "a rule on the guest-state area does not hold",
  },
  msrLoading: {
    number: 34,
    title: "VM-entry failure due to MSR loading",
    kind: "entry-failure",
    qualification: "entry-number",
    when: "an entry of the VM-entry MSR-load area cannot be loaded",
  },
  mwait: {
    number: 36,
    title: "MWAIT",
    kind: "instruction",
    qualification: "monitor-armed",
    when: "MWAIT exiting",
  },
  monitorTrapFlag: {
    number: 37,
    title: "Monitor trap flag",
    kind: "trap",
    when: "the monitor trap flag is 1, or an MTF event was injected",
  },
  monitor: { number: 39, title: "MONITOR", kind: "instruction", when: "MONITOR exiting" },
  pause: {
    number: 40,
    title: "PAUSE",
    kind: "instruction",
    when: "PAUSE exiting, or a loop outlasts the PAUSE-loop window",
  },
  entryMachineCheck: {
    number: 41,
    title: "VM-entry failure due to machine-check event",
    kind: "entry-failure",
    when: "a machine check arises during VM entry",
  },
  tprBelowThreshold: {
    number: 43,
    title: "TPR below threshold",
    kind: "trap",
    when: "the virtual TPR falls below the threshold",
  },
  apicAccess: {
    number: 44,
    title: "APIC access",
    kind: "fault",
    qualification: "apic-access",
    when: "an access to the APIC-access page is not virtualized",
  },
  virtualizedEoi: {
    number: 45,
    title: "Virtualized EOI",
    kind: "trap",
    qualification: "vector",
    when: "a virtual EOI dismisses a vector that the EOI-exit bitmap selects",
  },
  gdtrOrIdtrAccess: {
    number: 46,
    title: "Access to GDTR or IDTR",
    kind: "instruction",
    qualification: "displacement",
    information: "C",
    when: "descriptor-table exiting",
  },
  ldtrOrTrAccess: {
    number: 47,
    title: "Access to LDTR or TR",
    kind: "instruction",
    qualification: "displacement",
    information: "D",
    when: "descriptor-table exiting",
  },
  eptViolation: {
    number: 48,
    title: "EPT violation",
    kind: "fault",
    qualification: "ept-violation",
    when: "the extended page tables do not allow a guest-physical access",
  },
  eptMisconfiguration: {
    number: 49,
    title: "EPT misconfiguration",
    kind: "fault",
    when: "an entry of the extended page tables holds an unsupported value",
  },
  invept: {
    number: 50,
    title: "INVEPT",
    kind: "instruction",
    qualification: "displacement",
    information: "B2",
    when: "always",
  },
  rdtscp: { number: 51, title: "RDTSCP", kind: "instruction", when: "RDTSC exiting" },
  preemptionTimer: {
    number: 52,
    title: "VMX-preemption timer expired",
    kind: "event",
    when: "the timer has run down, outside the wait-for-SIPI state",
  },
  invvpid: {
    number: 53,
    title: "INVVPID",
    kind: "instruction",
    qualification: "displacement",
    information: "B2",
    when: "always",
  },
  wbinvd: {
    number: 54,
    title: "WBINVD or WBNOINVD",
    kind: "instruction",
    when: "WBINVD exiting",
  },
  xsetbv: { number: 55, title: "XSETBV", kind: "instruction", when: "always" },
  apicWrite: {
    number: 56,
    title: "APIC write",
    kind: "trap",
    qualification: "apic-offset",
    when: "a write to the virtual-APIC page needs the hypervisor's work",
  },
  rdrand: {
    number: 57,
    title: "RDRAND",
    kind: "instruction",
    information: "F",
    when: "RDRAND exiting",
  },
  invpcid: {
    number: 58,
    title: "INVPCID",
    kind: "instruction",
    qualification: "displacement",
    information: "B2",
    when: "INVLPG exiting, where INVPCID is enabled",
  },
  vmfunc: {
    number: 59,
    title: "VMFUNC",
    kind: "instruction",
    when: "the VM function is not enabled, or it fails",
  },
  encls: { number: 60, title: "ENCLS", kind: "instruction", when: "the ENCLS bitmap decides" },
  rdseed: {
    number: 61,
    title: "RDSEED",
    kind: "instruction",
    information: "F",
    when: "RDSEED exiting",
  },
  pageModificationLogFull: {
    number: 62,
    title: "Page-modification log full",
    kind: "fault",
    qualification: "nmi-unblocking",
    when: "a page becomes dirty and the log has no room",
  },
  xsaves: {
    number: 63,
    title: "XSAVES",
    kind: "instruction",
    qualification: "displacement",
    information: "B",
    when: "a state component is requested that the XSS-exiting bitmap selects",
  },
  xrstors: {
    number: 64,
    title: "XRSTORS",
    kind: "instruction",
    qualification: "displacement",
    information: "B",
    when: "a state component is requested that the XSS-exiting bitmap selects",
  },
  pconfig: {
    number: 65,
    title: "PCONFIG",
    kind: "instruction",
    when: "the PCONFIG bitmap decides",
  },
  subPagePermission: {
    number: 66,
    title: "SPP-related event",
    kind: "fault",
    qualification: "sub-page",
    when: "the walk of the sub-page-permission table fails",
  },
  umwait: {
    number: 67,
    title: "UMWAIT",
    kind: "instruction",
    information: "F",
    when: "RDTSC exiting",
  },
  tpause: {
    number: 68,
    title: "TPAUSE",
    kind: "instruction",
    information: "F",
    when: "RDTSC exiting",
  },
  loadiwkey: {
    number: 69,
    title: "LOADIWKEY",
    kind: "instruction",
    information: "operands",
    when: "LOADIWKEY exiting",
  },
  enclv: { number: 70, title: "ENCLV", kind: "instruction", when: "the ENCLV bitmap decides" },
  enqcmdTranslation: {
    number: 72,
    title: "ENQCMD PASID translation failure",
    kind: "instruction",
    information: "operands",
    when: "the PASID of ENQCMD has no translation",
  },
  enqcmdsTranslation: {
    number: 73,
    title: "ENQCMDS PASID translation failure",
    kind: "instruction",
    information: "operands",
    when: "the PASID of ENQCMDS has no translation",
  },
  busLock: {
    number: 74,
    title: "Bus lock",
    kind: "trap",
    when: "an instruction took a bus lock under bus-lock detection",
  },
  instructionTimeout: {
    number: 75,
    title: "Instruction timeout",
    kind: "event",
    qualification: "nmi-unblocking",
    when: "no event could be taken for longer than the notify window",
  },
  seamcall: { number: 76, title: "SEAMCALL", kind: "instruction", when: "always" },
  tdcall: { number: 77, title: "TDCALL", kind: "instruction", when: "always" },
  rdmsrlist: {
    number: 78,
    title: "RDMSRLIST",
    kind: "instruction",
    qualification: "msr",
    when: "as RDMSR, for each MSR of the list",
  },
  wrmsrlist: {
    number: 79,
    title: "WRMSRLIST",
    kind: "instruction",
    qualification: "msr",
    when: "as WRMSR, for each MSR of the list",
  },
} as const satisfies Record<string, ExitReasonRow>;

export type ExitReasonName = keyof typeof exitReasonTable;

/** Numbers of the exit reasons by name. */
export const exitReason = Object.fromEntries(
  Object.entries(exitReasonTable).map(([name, row]) => [name, row.number]),
) as { readonly [K in ExitReasonName]: (typeof exitReasonTable)[K]["number"] };

/** One more than the highest exit reason: size of a table indexed by it. */
export const exitReasonLimit = 80;

export function exitReasonTitle(number: number): string | undefined {
  return Object.values(exitReasonTable).find((row) => row.number === number)?.title;
}

/** Bit of the exit-reason field that tells a failed VM entry. */
export const entryFailureBit = 0x8000_0000;
