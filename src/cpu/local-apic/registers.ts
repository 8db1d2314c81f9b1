/** The local APIC's register file: offsets, bits and access rules. Behaviour is in `local-apic.ts`. */

/** Byte offsets in the APIC page; the x2APIC MSR of a register is `x2apicMsrBase + offset / 16`. */
export const ApicRegister = {
  Id: 0x020,
  Version: 0x030,
  TaskPriority: 0x080,
  ArbitrationPriority: 0x090,
  ProcessorPriority: 0x0a0,
  EndOfInterrupt: 0x0b0,
  RemoteRead: 0x0c0,
  LogicalDestination: 0x0d0,
  DestinationFormat: 0x0e0,
  SpuriousVector: 0x0f0,
  /** Eight registers of 32 vectors each, 16 bytes apart; likewise the next two. */
  InService: 0x100,
  TriggerMode: 0x180,
  InterruptRequest: 0x200,
  ErrorStatus: 0x280,
  LvtCmci: 0x2f0,
  CommandLow: 0x300,
  CommandHigh: 0x310,
  LvtTimer: 0x320,
  LvtThermal: 0x330,
  LvtPerformance: 0x340,
  LvtLint0: 0x350,
  LvtLint1: 0x360,
  LvtError: 0x370,
  InitialCount: 0x380,
  CurrentCount: 0x390,
  DivideConfiguration: 0x3e0,
  SelfIpi: 0x3f0,
} as const;

/**
 * Words of the APIC page that no architectural register uses. The first two are read by other threads to resolve
 * destinations.
 */
export const ApicPrivate = {
  /** u32 `ApicMode`. */
  mode: 0x400,
  /** u32 x2APIC id, in every mode. */
  x2apicId: 0x404,
  /** u32: bit n = level of pin LINTn. */
  pins: 0x408,
  /** u32: errors detected since the last write of the error status register. */
  errors: 0x40c,
  /** f64: timer tick at which the count reaches zero; negative when the timer is stopped. */
  timerExpiry: 0x410,
  /** u32: 1 when an ExtINT message waits to be acknowledged. */
  externalLatched: 0x418,
} as const;

/** Bits 11:10 of IA32_APIC_BASE, shifted down: bit 1 enabled, bit 0 extended. */
export const ApicMode = { Disabled: 0, XApic: 2, X2Apic: 3 } as const;
export type ApicMode = (typeof ApicMode)[keyof typeof ApicMode];

export const x2apicMsrBase = 0x800;
export const x2apicMsrLast = 0x8ff;

/** Version 15H, seven local vector table entries, EOI-broadcast suppression offered. */
export const apicVersion = 0x0106_0015;

export const spuriousVectorBit = { enable: 1 << 8, suppressEoiBroadcast: 1 << 12 } as const;

/** Fields of a local vector table entry. */
export const lvt = {
  vectorMask: 0xff,
  deliveryModeShift: 8,
  deliveryModeMask: 7,
  remoteIrr: 1 << 14,
  level: 1 << 15,
  masked: 1 << 16,
  timerModeShift: 17,
  timerModeMask: 3,
} as const;

export const TimerMode = { OneShot: 0, Periodic: 1, TscDeadline: 2 } as const;

/** Bits of the error status register that this APIC can report. */
export const ApicError = {
  SendIllegalVector: 1 << 5,
  ReceiveIllegalVector: 1 << 6,
  IllegalRegister: 1 << 7,
} as const;

/** Fields of the low half of the interrupt command register. */
export const command = {
  logical: 1 << 11,
  assert: 1 << 14,
  level: 1 << 15,
  shorthandShift: 18,
} as const;

type Access = "none" | "ro" | "wo" | "rw";

export interface RegisterRule {
  readonly name: string;
  readonly xapic: Access;
  readonly x2apic: Access;
  /** Bits that software may change. */
  readonly writable: number;
  /** Bits that read as state and are ignored when written. Every other bit is reserved: #GP in x2APIC mode. */
  readonly readOnly: number;
}

type Row = readonly [
  offset: number,
  name: string,
  xapic: Access,
  x2apic: Access,
  writable: number,
  readOnly: number,
];

const deliveryStatus = 1 << 12;

const rows: readonly Row[] = [
  [ApicRegister.Id, "ID", "rw", "ro", 0xff00_0000, 0],
  [ApicRegister.Version, "VERSION", "ro", "ro", 0, 0],
  [ApicRegister.TaskPriority, "TPR", "rw", "rw", 0xff, 0],
  [ApicRegister.ArbitrationPriority, "APR", "ro", "none", 0, 0],
  [ApicRegister.ProcessorPriority, "PPR", "ro", "ro", 0, 0],
  [ApicRegister.EndOfInterrupt, "EOI", "wo", "wo", 0, 0],
  [ApicRegister.RemoteRead, "RRD", "ro", "none", 0, 0],
  [ApicRegister.LogicalDestination, "LDR", "rw", "ro", 0xff00_0000, 0],
  [ApicRegister.DestinationFormat, "DFR", "rw", "none", 0xf000_0000, 0],
  [ApicRegister.SpuriousVector, "SVR", "rw", "rw", 0x13ff, 0],
  [ApicRegister.ErrorStatus, "ESR", "rw", "rw", 0, 0],
  [ApicRegister.LvtCmci, "LVT_CMCI", "rw", "rw", 0x0001_07ff, deliveryStatus],
  [ApicRegister.CommandLow, "ICR", "rw", "rw", 0x000c_cfff, deliveryStatus],
  [ApicRegister.CommandHigh, "ICR_HIGH", "rw", "none", 0xff00_0000, 0],
  [ApicRegister.LvtTimer, "LVT_TIMER", "rw", "rw", 0x0007_00ff, deliveryStatus],
  [ApicRegister.LvtThermal, "LVT_THERMAL", "rw", "rw", 0x0001_07ff, deliveryStatus],
  [ApicRegister.LvtPerformance, "LVT_PMC", "rw", "rw", 0x0001_07ff, deliveryStatus],
  [ApicRegister.LvtLint0, "LVT_LINT0", "rw", "rw", 0x0001_a7ff, deliveryStatus | lvt.remoteIrr],
  [ApicRegister.LvtLint1, "LVT_LINT1", "rw", "rw", 0x0001_a7ff, deliveryStatus | lvt.remoteIrr],
  [ApicRegister.LvtError, "LVT_ERROR", "rw", "rw", 0x0001_00ff, deliveryStatus],
  [ApicRegister.InitialCount, "TIMER_INITIAL", "rw", "rw", 0xffff_ffff, 0],
  [ApicRegister.CurrentCount, "TIMER_CURRENT", "ro", "ro", 0, 0],
  [ApicRegister.DivideConfiguration, "TIMER_DIVIDE", "rw", "rw", 0xb, 0],
  [ApicRegister.SelfIpi, "SELF_IPI", "none", "wo", 0xff, 0],
  ...vectorRegisters(ApicRegister.InService, "ISR"),
  ...vectorRegisters(ApicRegister.TriggerMode, "TMR"),
  ...vectorRegisters(ApicRegister.InterruptRequest, "IRR"),
];

function vectorRegisters(first: number, name: string): Row[] {
  return Array.from({ length: 8 }, (_, n) => [first + n * 16, `${name}${n}`, "ro", "ro", 0, 0]);
}

/** Rules by register offset; an offset without a rule is reserved. */
export const registerRules: ReadonlyMap<number, RegisterRule> = new Map(
  rows.map(([offset, name, xapic, x2apic, writable, readOnly]) => [
    offset,
    { name, xapic, x2apic, writable, readOnly },
  ]),
);

/** The local vector table. */
export const lvtRegisters = [
  ApicRegister.LvtCmci,
  ApicRegister.LvtTimer,
  ApicRegister.LvtThermal,
  ApicRegister.LvtPerformance,
  ApicRegister.LvtLint0,
  ApicRegister.LvtLint1,
  ApicRegister.LvtError,
] as const;
export type LvtRegister = (typeof lvtRegisters)[number];
