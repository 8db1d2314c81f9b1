import { present } from "../base/assert.ts";

/**
 * The VM-execution, VM-exit and VM-entry controls, word by word: bit number and what a 1 does ("Pin-Based VM-Execution
 * Controls" and its neighbours). A word holds 32 bits, the tertiary and secondary-exit words 64; none above bit 31 is known
 * here. Bits that are not listed are reserved; `default1` says which of those read as 1.
 */
type ControlRow = readonly [bit: number, text: string];

export const controlTable = {
  pin: {
    externalInterruptExiting: [0, "An external interrupt exits instead of using the guest's IDT"],
    nmiExiting: [3, "A non-maskable interrupt exits instead of using the guest's IDT"],
    virtualNmis: [5, "NMI blocking of the guest is virtual; IRET ends it"],
    activateVmxPreemptionTimer: [6, "A timer runs down in non-root operation and exits at zero"],
    processPostedInterrupts: [7, "The notification vector moves posted requests, without an exit"],
  },
  primary: {
    interruptWindowExiting: [2, "Exit as soon as the guest could take an external interrupt"],
    useTscOffsetting: [3, "The TSC offset is added to what the guest reads"],
    hltExiting: [7, "HLT exits"],
    invlpgExiting: [9, "INVLPG exits, and INVPCID where it is enabled"],
    mwaitExiting: [10, "MWAIT exits"],
    rdpmcExiting: [11, "RDPMC exits"],
    rdtscExiting: [12, "RDTSC exits, and RDTSCP where it is enabled"],
    cr3LoadExiting: [15, "MOV to CR3 exits unless the value is one of the targets"],
    cr3StoreExiting: [16, "MOV from CR3 exits"],
    activateTertiaryControls: [17, "The tertiary word counts; without it, it is taken as 0"],
    cr8LoadExiting: [19, "MOV to CR8 exits"],
    cr8StoreExiting: [20, "MOV from CR8 exits"],
    useTprShadow: [21, "CR8 and the TPR live in the virtual-APIC page"],
    nmiWindowExiting: [22, "Exit as soon as nothing blocks virtual NMIs"],
    movDrExiting: [23, "MOV to or from a debug register exits"],
    unconditionalIoExiting: [24, "Every port access exits, unless the bitmaps decide"],
    useIoBitmaps: [25, "Two bitmaps decide which port accesses exit"],
    monitorTrapFlag: [27, "Exit after each instruction"],
    useMsrBitmaps: [28, "Four bitmaps decide which RDMSR and WRMSR exit; else all do"],
    monitorExiting: [29, "MONITOR exits"],
    pauseExiting: [30, "PAUSE exits"],
    activateSecondaryControls: [31, "The secondary word counts; without it, it is taken as 0"],
  },
  secondary: {
    virtualizeApicAccesses: [0, "Accesses to the APIC-access page are virtualized or exit"],
    enableEpt: [1, "Guest-physical addresses pass through the extended page tables"],
    descriptorTableExiting: [2, "Loads and stores of GDTR, IDTR, LDTR and TR exit"],
    enableRdtscp: [3, "RDTSCP and RDPID exist"],
    virtualizeX2apicMode: [4, "RDMSR and WRMSR of 800H-8FFH use the virtual-APIC page"],
    enableVpid: [5, "Linear translations are tagged with the VPID"],
    wbinvdExiting: [6, "WBINVD and WBNOINVD exit"],
    unrestrictedGuest: [7, "The guest may run unpaged or in real mode"],
    apicRegisterVirtualization: [8, "Most APIC reads are answered from the virtual-APIC page"],
    virtualInterruptDelivery: [9, "Pending virtual interrupts are evaluated and delivered"],
    pauseLoopExiting: [10, "A loop of PAUSE at CPL 0 exits"],
    rdrandExiting: [11, "RDRAND exits"],
    enableInvpcid: [12, "INVPCID exists"],
    enableVmFunctions: [13, "VMFUNC exists in non-root operation"],
    vmcsShadowing: [14, "VMREAD and VMWRITE of the guest may use a shadow VMCS"],
    enableEnclsExiting: [15, "A bitmap decides which ENCLS leaves exit"],
    rdseedExiting: [16, "RDSEED exits"],
    enablePml: [17, "Guest-physical pages that become dirty are logged"],
    eptViolationVe: [18, "EPT violations may become virtualization exceptions"],
    concealVmxFromPt: [19, "Processor trace does not tell of non-root operation"],
    enableXsavesXrstors: [20, "XSAVES and XRSTORS exist"],
    pasidTranslation: [21, "ENQCMD and ENQCMDS translate their PASID"],
    modeBasedExecuteControlForEpt: [22, "EPT has separate user and supervisor execute rights"],
    subPageWritePermissions: [23, "EPT may grant writes to 128-byte pieces of a page"],
    ptUsesGuestPhysicalAddresses: [24, "Processor trace output addresses are guest-physical"],
    useTscScaling: [25, "What the guest reads of the TSC is multiplied first"],
    enableUserWaitAndPause: [26, "TPAUSE, UMONITOR and UMWAIT exist"],
    enablePconfig: [27, "PCONFIG exists; a bitmap decides which leaves exit"],
    enableEnclvExiting: [28, "A bitmap decides which ENCLV leaves exit"],
    vmmBusLockDetection: [30, "Exit after an instruction that took a bus lock"],
    instructionTimeout: [31, "Exit when no event could be taken for a given time"],
  },
  tertiary: {
    loadiwkeyExiting: [0, "LOADIWKEY exits"],
    enableHlat: [1, "Hypervisor-managed linear-address translation"],
    eptPagingWriteControl: [2, "EPT says where guest paging structures may be written"],
    guestPagingVerification: [3, "EPT says which pages a guest may only reach as verified"],
    ipiVirtualization: [4, "Interrupt commands of the guest become posted interrupts"],
    enableMsrListInstructions: [6, "RDMSRLIST and WRMSRLIST exist"],
    virtualizeIa32SpecCtrl: [7, "IA32_SPEC_CTRL has a mask and a shadow"],
    apicTimerVirtualization: [8, "The TSC-deadline timer of the guest is virtual"],
  },
  exit: {
    saveDebugControls: [2, "DR7 and IA32_DEBUGCTL are saved"],
    hostAddressSpaceSize: [9, "The host is in 64-bit mode"],
    loadIa32PerfGlobalCtrl: [12, "The host's IA32_PERF_GLOBAL_CTRL is loaded"],
    acknowledgeInterruptOnExit: [15, "The vector is taken from the interrupt controller"],
    saveIa32Pat: [18, "IA32_PAT is saved"],
    loadIa32Pat: [19, "The host's IA32_PAT is loaded"],
    saveIa32Efer: [20, "IA32_EFER is saved"],
    loadIa32Efer: [21, "The host's IA32_EFER is loaded"],
    saveVmxPreemptionTimer: [22, "What is left of the preemption timer is saved"],
    clearIa32Bndcfgs: [23, "IA32_BNDCFGS becomes 0"],
    concealVmxFromPt: [24, "Processor trace does not tell of the exit"],
    clearIa32RtitCtl: [25, "IA32_RTIT_CTL becomes 0"],
    clearIa32LbrCtl: [26, "IA32_LBR_CTL becomes 0"],
    clearUinv: [27, "The user-interrupt notification vector becomes 0"],
    loadCetState: [28, "The host's CET state is loaded"],
    loadPkrs: [29, "The host's IA32_PKRS is loaded"],
    saveIa32PerfGlobalCtrl: [30, "IA32_PERF_GLOBAL_CTRL is saved"],
    activateSecondaryControls: [31, "The secondary VM-exit word counts"],
  },
  exit2: {
    saveIa32Fred: [0, "FRED state is saved"],
    loadIa32Fred: [1, "The host's FRED state is loaded"],
    loadHostIa32SpecCtrl: [2, "The host's IA32_SPEC_CTRL is loaded"],
    prematurelyBusyShadowStack: [3, "An exit may report a shadow stack left busy"],
  },
  entry: {
    loadDebugControls: [2, "DR7 and IA32_DEBUGCTL are loaded"],
    ia32eModeGuest: [9, "The guest is in IA-32e mode"],
    entryToSmm: [10, "The entry leads into system-management mode"],
    deactivateDualMonitor: [11, "The entry ends the dual-monitor treatment of SMM"],
    loadIa32PerfGlobalCtrl: [13, "The guest's IA32_PERF_GLOBAL_CTRL is loaded"],
    loadIa32Pat: [14, "The guest's IA32_PAT is loaded"],
    loadIa32Efer: [15, "The guest's IA32_EFER is loaded"],
    loadIa32Bndcfgs: [16, "The guest's IA32_BNDCFGS is loaded"],
    concealVmxFromPt: [17, "Processor trace does not tell of the entry"],
    loadIa32RtitCtl: [18, "The guest's IA32_RTIT_CTL is loaded"],
    loadUinv: [19, "The guest's user-interrupt notification vector is loaded"],
    loadCetState: [20, "The guest's CET state is loaded"],
    loadGuestIa32LbrCtl: [21, "The guest's IA32_LBR_CTL is loaded"],
    loadPkrs: [22, "The guest's IA32_PKRS is loaded"],
    loadIa32Fred: [23, "The guest's FRED state is loaded"],
    loadGuestIa32SpecCtrl: [24, "The guest's IA32_SPEC_CTRL is loaded"],
  },
  vmFunction: {
    eptpSwitching: [0, "VMFUNC leaf 0 changes the EPT pointer"],
  },
} as const satisfies Record<string, Record<string, ControlRow>>;

export type ControlWord = keyof typeof controlTable;
/** A control as `word.name`. */
export type ControlName = {
  [W in ControlWord]: `${W}.${keyof (typeof controlTable)[W] & string}`;
}[ControlWord];

/** Reserved bits that read as 1 ("default1"), by word; the `true` masks are those of CPUs with TRUE capability MSRs. */
export const default1 = {
  pin: 0x0000_0016,
  primary: 0x0401_e172,
  exit: 0x0003_6dff,
  entry: 0x0000_11ff,
  primaryTrue: 0x0400_6172,
  exitTrue: 0x0003_6dfb,
  entryTrue: 0x0000_11fb,
} as const;

type Masks<T> = { readonly [K in keyof T]: number };

function masks<T extends Record<string, ControlRow>>(word: T): Masks<T> {
  const entries = Object.entries(word).map(([name, [bit]]) => [name, (1 << bit) >>> 0]);
  return Object.fromEntries(entries) as Masks<T>;
}

/** Masks of the controls by name, unsigned. */
export const pin = masks(controlTable.pin);
export const primary = masks(controlTable.primary);
export const secondary = masks(controlTable.secondary);
export const tertiary = masks(controlTable.tertiary);
export const exitControl = masks(controlTable.exit);
export const exitControl2 = masks(controlTable.exit2);
export const entryControl = masks(controlTable.entry);
export const vmFunction = masks(controlTable.vmFunction);

/** Every control and VM function, in the order of the table. */
export const controlNames: readonly ControlName[] = Object.entries(controlTable).flatMap(
  ([word, rows]) => Object.keys(rows).map((name) => `${word}.${name}` as ControlName),
);

export const wordOf = (control: ControlName): ControlWord =>
  control.slice(0, control.indexOf(".")) as ControlWord;

/** Bit number within the word. */
export function controlBit(control: ControlName): number {
  return rowOf(control)[0];
}
/** What a 1 does. */
export function controlText(control: ControlName): string {
  return rowOf(control)[1];
}
/** Unsigned. */
export function controlMask(control: ControlName): number {
  return (1 << controlBit(control)) >>> 0;
}

function rowOf(control: ControlName): ControlRow {
  const word = wordOf(control);
  const rows: Readonly<Record<string, ControlRow>> = controlTable[word];
  return present(rows[control.slice(word.length + 1)], control);
}
