import type { Prng } from "../base/prng.ts";

/**
 * Scripted software: a generator that yields architectural operations, one at a time, and is given the result of each. A logical
 * processor executes them as it executes machine code, through the same intercepts, faults, VM entries and VM exits:
 *
 * ```ts
 * function* counter(): Script {
 *   for (let n = 0n; n < 10n; n++) yield store(0x1000n, 8, n);
 *   yield hlt();
 * }
 * ```
 *
 * Each operation occupies `operationBytes` of the linear address space at RIP, so that RIP, the instruction length of a VM exit
 * and the return address of an interrupt mean what they mean for machine code. An operation that a hypervisor emulates (it
 * moves the guest's RIP past it) takes its result from RAX, or from EDX:EAX for RDMSR and RDTSC.
 *
 * Addresses are linear, values are unsigned 64-bit numbers.
 */
export type Script = Generator<Operation, void, bigint>;

/** A part of a script that has a result: to be called with `yield*`. */
export type Steps<Result> = Generator<Operation, Result, bigint>;

/** Length of an operation as an instruction, in bytes. */
export const operationBytes = 4;

export const OperationKind = {
  Compute: 0,
  Load: 1,
  Store: 2,
  CompareExchange: 3,
  Exchange: 4,
  ExchangeAdd: 5,
  LockedOr: 6,
  LockedAnd: 7,
  BitTestAndSet: 8,
  BitTestAndReset: 9,
  CompareExchange16: 10,
  Fence: 11,
  Cpuid: 12,
  ReadMsr: 13,
  WriteMsr: 14,
  ReadTsc: 15,
  ReadControl: 16,
  WriteControl: 17,
  PortIn: 18,
  PortOut: 19,
  Halt: 20,
  Pause: 21,
  SetInterruptFlag: 22,
  ClearInterruptFlag: 23,
  InvalidatePage: 24,
  VmxOn: 25,
  VmxOff: 26,
  VmClear: 27,
  VmPtrLoad: 28,
  VmPtrStore: 29,
  VmRead: 30,
  VmWrite: 31,
  VmLaunch: 32,
  VmResume: 33,
  VmCall: 34,
  VmFunc: 35,
  InvalidateEpt: 36,
  InvalidateVpid: 37,
  Note: 38,
  Spin: 39,
  SpinUntil: 40,
} as const;
export type OperationKind = (typeof OperationKind)[keyof typeof OperationKind];

/** The general registers RAX RCX RDX RBX RSP RBP RSI RDI R8…R15 of a guest, as a hypervisor keeps them between VM exit and VM entry. */
export type GeneralRegisters = BigUint64Array<ArrayBufferLike>;
/** What CPUID answers. */
export interface CpuidRegisters {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** What an event of the trace tells. */
export type NoteDetail = Readonly<Record<string, number | bigint | string | boolean>>;

/** One operation. All have the same shape, so that executing one is a look-up by `kind`. */
export interface Operation {
  readonly kind: OperationKind;
  /** Linear address, port, MSR, register number, VMCS field. */
  readonly address: bigint;
  /** Bytes accessed: 1, 2, 4, 8. */
  readonly size: number;
  /** Value written, operand, subleaf. */
  readonly value: bigint;
  /** Compare-exchange: value expected. */
  readonly expected: bigint;
  /** What work takes, and a spin at most; whole, not below 0. */
  readonly cycles: number;
  readonly extra: GeneralRegisters | CpuidRegisters | NoteDetail | readonly bigint[] | undefined;
}

function operation(
  kind: OperationKind,
  address = 0n,
  size = 8,
  value = 0n,
  expected = 0n,
  extra: Operation["extra"] = undefined,
  cycles = 0,
): Operation {
  return { kind, address, size, value, expected, cycles: Math.max(0, Math.round(cycles)), extra };
}

/** What a VMX instruction answers. */
export const VmxResult = { Success: 0n, FailInvalid: 1n, FailValid: 2n } as const;

// ——— work and memory

/** Work that takes so many cycles and touches nothing. Events interrupt it; it goes on where it was. */
export const compute = (cycles: number): Operation =>
  operation(OperationKind.Compute, 0n, 8, 0n, 0n, undefined, cycles);
/** MOV from memory. */
export const load = (address: bigint, size = 8): Operation =>
  operation(OperationKind.Load, address, size);
/** MOV to memory. */
export const store = (address: bigint, size: number, value: bigint): Operation =>
  operation(OperationKind.Store, address, size, value);
/** LOCK CMPXCHG. @returns what was there: `expected` when the exchange was made */
export const compareExchange = (
  address: bigint,
  size: number,
  expected: bigint,
  value: bigint,
): Operation => operation(OperationKind.CompareExchange, address, size, value, expected);
/** XCHG. @returns what was there */
export const exchange = (address: bigint, size: number, value: bigint): Operation =>
  operation(OperationKind.Exchange, address, size, value);
/** LOCK XADD. @returns what was there */
export const exchangeAdd = (address: bigint, size: number, value: bigint): Operation =>
  operation(OperationKind.ExchangeAdd, address, size, value);
/** LOCK OR. No result. */
export const lockedOr = (address: bigint, size: number, value: bigint): Operation =>
  operation(OperationKind.LockedOr, address, size, value);
/** LOCK AND. No result. */
export const lockedAnd = (address: bigint, size: number, value: bigint): Operation =>
  operation(OperationKind.LockedAnd, address, size, value);
/** LOCK BTS. @returns the bit as it was */
export const bitTestAndSet = (address: bigint, bit: number): Operation =>
  operation(OperationKind.BitTestAndSet, address, 8, BigInt(bit));
/** LOCK BTR. @returns the bit as it was */
export const bitTestAndReset = (address: bigint, bit: number): Operation =>
  operation(OperationKind.BitTestAndReset, address, 8, BigInt(bit));
/** LOCK CMPXCHG16B: halves low, high. @returns 1 when the exchange was made, else 0 */
export const compareExchange16 = (
  address: bigint,
  expected: readonly [bigint, bigint],
  value: readonly [bigint, bigint],
): Operation =>
  operation(OperationKind.CompareExchange16, address, 16, 0n, 0n, [...expected, ...value]);
/** MFENCE. */
export const fence = (): Operation => operation(OperationKind.Fence);

// ——— the processor

/** CPUID; fills `into` when given. @returns EAX */
export const cpuid = (leaf: number, subleaf = 0, into?: CpuidRegisters): Operation =>
  operation(OperationKind.Cpuid, BigInt(leaf), 4, BigInt(subleaf), 0n, into);
export const rdmsr = (index: number): Operation => operation(OperationKind.ReadMsr, BigInt(index));
export const wrmsr = (index: number, value: bigint): Operation =>
  operation(OperationKind.WriteMsr, BigInt(index), 8, value);
export const rdtsc = (): Operation => operation(OperationKind.ReadTsc);
/** MOV from CR0, CR2, CR3, CR4 or CR8. */
export const readControl = (register: number): Operation =>
  operation(OperationKind.ReadControl, BigInt(register));
export const writeControl = (register: number, value: bigint): Operation =>
  operation(OperationKind.WriteControl, BigInt(register), 8, value);
export const portIn = (port: number, size: number): Operation =>
  operation(OperationKind.PortIn, BigInt(port), size);
export const portOut = (port: number, size: number, value: bigint): Operation =>
  operation(OperationKind.PortOut, BigInt(port), size, value);
export const hlt = (): Operation => operation(OperationKind.Halt);
export const pause = (): Operation => operation(OperationKind.Pause);
/**
 * A loop of PAUSE for as long as memory holds a value, at most for so many cycles: one operation that stands for as many rounds of
 * the loop as there is time, with the VM exits they may cause. A hypervisor that emulates the PAUSE ends the loop early: look again.
 */
export const spin = (address: bigint, size: number, value: bigint, cycles: number): Operation =>
  operation(OperationKind.Spin, address, size, value, 0n, undefined, cycles);
/** The same for as long as memory holds another value. */
export const spinUntil = (
  address: bigint,
  size: number,
  value: bigint,
  cycles: number,
): Operation => operation(OperationKind.SpinUntil, address, size, value, 0n, undefined, cycles);
/** STI, with its shadow of one operation. */
export const sti = (): Operation => operation(OperationKind.SetInterruptFlag);
export const cli = (): Operation => operation(OperationKind.ClearInterruptFlag);
export const invlpg = (address: bigint): Operation =>
  operation(OperationKind.InvalidatePage, address);

// ——— VMX; those without another result answer a `VmxResult`

export const vmxon = (region: bigint): Operation => operation(OperationKind.VmxOn, region);
export const vmxoff = (): Operation => operation(OperationKind.VmxOff);
export const vmclear = (vmcs: bigint): Operation => operation(OperationKind.VmClear, vmcs);
export const vmptrld = (vmcs: bigint): Operation => operation(OperationKind.VmPtrLoad, vmcs);
/** @returns the current-VMCS pointer */
export const vmptrst = (): Operation => operation(OperationKind.VmPtrStore);
/** @returns the field's value; all ones when the instruction failed */
export const vmread = (field: number): Operation => operation(OperationKind.VmRead, BigInt(field));
export const vmwrite = (field: number, value: bigint): Operation =>
  operation(OperationKind.VmWrite, BigInt(field), 8, value);
/**
 * VMLAUNCH. The result comes after the next VM exit (`Success`; HOST_RIP is the script's `exitPoint`) or at once, when no guest
 * was entered. A VM exit for a failed entry is an exit.
 * @param registers loaded before the entry, stored after the exit; without them the guest's are lost
 */
export const vmlaunch = (registers?: GeneralRegisters): Operation =>
  operation(OperationKind.VmLaunch, 0n, 8, 0n, 0n, registers);
/** VMRESUME; see `vmlaunch`. */
export const vmresume = (registers?: GeneralRegisters): Operation =>
  operation(OperationKind.VmResume, 0n, 8, 0n, 0n, registers);
/** VMCALL with RAX = `call` and RBX = `argument`. @returns RAX as the hypervisor leaves it */
export const vmcall = (call = 0n, argument = 0n): Operation =>
  operation(OperationKind.VmCall, call, 8, argument);
/** VMFUNC with EAX = `leaf`, ECX = `index`. */
export const vmfunc = (leaf: number, index: number): Operation =>
  operation(OperationKind.VmFunc, BigInt(leaf), 4, BigInt(index));
export const invept = (type: number, eptPointer: bigint): Operation =>
  operation(OperationKind.InvalidateEpt, BigInt(type), 8, eptPointer);
export const invvpid = (type: number, vpid: number, address = 0n): Operation =>
  operation(OperationKind.InvalidateVpid, BigInt(type), 8, address, BigInt(vpid));

/** Not an instruction: an event for the trace and for whoever measures. Takes no time, cannot be interrupted. */
export const note = (kind: string, detail: NoteDetail = {}): Operation =>
  operation(OperationKind.Note, 0n, 0, 0n, 0n, { ...detail, kind });

// ——— operations carried out at once

/**
 * Operations of one LP alone, for software that nothing interrupts: in root operation with interrupts off. They are carried out when they are
 * called, and the script goes on at once instead of yielding. So it is ahead of the other LPs by the time they take, until it next
 * yields an operation: what it shares with others it should touch before these, or behind the next `yield`. None may fault.
 */
export interface OwnOperations {
  /** VMREAD. @returns the field's low 32 bits */
  vmreadLow(field: number): number;
  /** @returns the field's value */
  vmread(field: number): bigint;
  /** VMWRITE of a value below 2^32. */
  vmwriteLow(field: number, value: number): void;
  vmwrite(field: number, value: bigint): void;
  /** Work. */
  compute(cycles: number): void;
  /** Any operation that goes on behind itself. @returns its result */
  execute(operation: Operation): bigint;
  /** All operations of a part of a script. @returns the part's result */
  run<Result>(steps: Steps<Result>): Result;
}

// ——— programs

/** Where a script runs, and what its loader tells it. */
export interface ScriptEnvironment {
  readonly lp: number;
  readonly lpCount: number;
  /** x2APIC ids by LP index. */
  readonly apicIds: readonly number[];
  /** Bytes of RAM. */
  readonly ramBytes: number;
  /** Of this stream of operations alone; a function of the machine's seed. */
  readonly random: Prng;
  /** The machine's clock in cycles (nanoseconds): for measuring, costs nothing. A guest that wants the time executes RDTSC. */
  now(): number;
  /** Linear address at which a processor that arrives there begins the program anew, with `argument` (0 … 65535). */
  entry(program: string, argument?: number): bigint;
  /** The same for a gate of an IDT, with the vector as argument: returning from the program is an IRET. */
  gate(program: string, vector: number): bigint;
  /** A program entered through a gate: address of the interrupt frame, its error code if there is one. */
  readonly frame: bigint;
  /** Where this stream goes on after a VM exit: its HOST_RIP. */
  readonly exitPoint: bigint;
  /** Operations of this LP that need no `yield`. */
  readonly own: OwnOperations;
  /** The flat 64-bit state the loader has set up on this LP (descriptor tables, stack), for the host-state area of a VMCS. */
  readonly host: HostLayout;
}

/** Selectors and linear addresses of the state in which an LP's first program starts. Memory is mapped one to one. */
export interface HostLayout {
  readonly codeSelector: number;
  readonly dataSelector: number;
  readonly taskSelector: number;
  readonly gdtBase: bigint;
  readonly idtBase: bigint;
  readonly taskBase: bigint;
  /** Top of this LP's stack. */
  readonly stackTop: bigint;
}

/**
 * Makes a script. Returning from a program that was entered through a gate restores the general registers and is an IRET;
 * returning from another one is HLT, for ever.
 */
export type Program = (environment: ScriptEnvironment, argument: number) => Script;

/**
 * Software of a machine. Every LP starts with the program `main`, in 64-bit mode with interrupts off; the IDT it finds leads
 * to `interrupt` with the vector as argument.
 */
export interface ScriptedSoftware {
  readonly programs: Readonly<Record<string, Program>>;
  /** What a loader would have put into RAM. `freeFrom`: first byte that the machine's own tables leave free. */
  readonly load?: (ram: Uint8Array, freeFrom: number) => void;
}
