import { exitReason } from "../exit-reasons.ts";
import { entryFailure, type RuleDescription, type RuleOutcome } from "./entry-rule.ts";

/** One 16-byte entry of a VM-entry or VM-exit MSR area. */
export interface MsrAreaEntry {
  readonly index: number;
  /** Bits 63:32 of the entry. */
  readonly reserved: number;
  readonly value: bigint;
}

/** The processor's MSRs as the areas meet them: at CPL 0, a fault becomes `false`. */
export interface MsrPort {
  readonly isX2apic: boolean;
  /** Writes as WRMSR would. @returns false where WRMSR would fault */
  write(index: number, value: bigint): boolean;
  /** Reads as RDMSR would. @returns undefined where RDMSR would fault */
  read(index: number): bigint | undefined;
}

export interface MsrRule extends RuleDescription {
  readonly holds: (entry: MsrAreaEntry, msrs: MsrPort) => boolean;
}

/** VMX-abort indicators. */
export const abortIndicator = {
  saveGuestMsrs: 1,
  hostPdptes: 2,
  vmcsCorrupted: 3,
  loadHostMsrs: 4,
  machineCheck: 5,
  notLongMode: 6,
} as const;

const fsBase = 0xc000_0100;
const gsBase = 0xc000_0101;
const smmMonitorControl = 0x9b;
const smbase = 0x9e;
/** Loading microcode is refused: IA32_BIOS_UPDT_TRIG, IA32_BIOS_SIGN_ID. */
const microcode: readonly number[] = [0x79, 0x8b];

const isX2apicIndex = (index: number): boolean => index >>> 8 === 8;

/** What "Loading MSRs" asks of each entry. `msrs.write` does the load: it comes last. */
const loadHolds = {
  reserved: (entry: MsrAreaEntry) => entry.reserved === 0,
  notSegmentBase: (entry: MsrAreaEntry) => entry.index !== fsBase && entry.index !== gsBase,
  notX2apic: (entry: MsrAreaEntry, msrs: MsrPort) => !msrs.isX2apic || !isX2apicIndex(entry.index),
  notSmm: (entry: MsrAreaEntry) => entry.index !== smmMonitorControl,
  notMicrocode: (entry: MsrAreaEntry) => !microcode.includes(entry.index),
  write: (entry: MsrAreaEntry, msrs: MsrPort) => msrs.write(entry.index, entry.value),
};

function canLoad(entry: MsrAreaEntry, msrs: MsrPort): boolean {
  return Object.values(loadHolds).every((holds) => holds(entry, msrs));
}

/** The qualification of a failure is the number of the entry, counted from 1: not known here. */
const loadFailure: RuleOutcome = entryFailure(exitReason.msrLoading);

const each = "each entry of the VM-entry MSR-load area, in order";

export const entryMsrLoadRules: readonly MsrRule[] = [
  {
    id: "MSL-01",
    text: "bits 63:32 are 0",
    when: each,
    outcome: loadFailure,
    holds: loadHolds.reserved,
  },
  {
    id: "MSL-02",
    text: "the MSR is not IA32_FS_BASE or IA32_GS_BASE",
    when: each,
    outcome: loadFailure,
    holds: loadHolds.notSegmentBase,
  },
  {
    id: "MSL-03",
    text: "the MSR is not one of 800H-8FFH while the local APIC is in x2APIC mode",
    when: each,
    outcome: loadFailure,
    holds: loadHolds.notX2apic,
  },
  {
    id: "MSL-04",
    text: "the MSR is not one that only SMM may write",
    when: each,
    outcome: loadFailure,
    holds: loadHolds.notSmm,
  },
  {
    id: "MSL-05",
    text: "the MSR does not load microcode",
    when: each,
    outcome: loadFailure,
    holds: loadHolds.notMicrocode,
  },
  {
    id: "MSL-06",
    text: "WRMSR of the value at CPL 0 would not fault",
    when: each,
    outcome: loadFailure,
    holds: loadHolds.write,
  },
  // Machine checks do not arise.
  {
    id: "MSL-07",
    text: "no machine check arises during the entry",
    when: undefined,
    outcome: entryFailure(exitReason.entryMachineCheck),
    holds: () => true,
  },
];

/** Value that an MSR-store entry gets, or undefined when the entry cannot be stored. */
export function storedMsr(entry: MsrAreaEntry, msrs: MsrPort): bigint | undefined {
  const refused =
    entry.reserved !== 0 || (msrs.isX2apic && isX2apicIndex(entry.index)) || entry.index === smbase;
  return refused ? undefined : msrs.read(entry.index);
}

export const exitMsrRules: readonly MsrRule[] = [
  {
    id: "XMS-01",
    text: "bits 63:32 are 0, the MSR is no x2APIC register in x2APIC mode and not IA32_SMBASE, and RDMSR would not fault",
    when: "each entry of the VM-exit MSR-store area, in order",
    outcome: { type: "abort", indicator: abortIndicator.saveGuestMsrs },
    holds: (entry, msrs) => storedMsr(entry, msrs) !== undefined,
  },
  {
    id: "XMS-02",
    text: "the entry could be loaded on VM entry",
    when: "each entry of the VM-exit MSR-load area, in order",
    outcome: { type: "abort", indicator: abortIndicator.loadHostMsrs },
    holds: canLoad,
  },
];

/** Checked with the host state, not with an MSR area; `loadHostState` in `exit.ts` decides it. */
export const hostPdpteRule: RuleDescription = {
  id: "XMS-03",
  text: "the reserved bits of present PDPTEs at the host's CR3 are 0",
  when: "the host will use PAE paging",
  outcome: { type: "abort", indicator: abortIndicator.hostPdptes },
};
