/**
 * What a logical processor needs from the rooms above it. The cpu room knows neither VMX nor devices: it declares these
 * ports; `vmx`, `platform` and `machine` implement them.
 */
import type { InterruptMessage } from "../protocol/interrupt-message.ts";
import type { InstructionView } from "./instruction-view.ts";

/** Physical accesses that are not RAM, and port I/O. Sizes are bytes (1, 2, 4; MMIO also 8 as two halves). */
export interface Bus {
  readPort(port: number, size: number): number;
  writePort(port: number, size: number, value: number): void;
  /** Physical address outside RAM and outside this LP's local APIC page. */
  readMmio(address: number, size: number): number;
  writeMmio(address: number, size: number, value: number): void;
  /** A level-triggered interrupt was dismissed: the EOI broadcast to I/O APICs. */
  endOfInterrupt(vector: number): void;
  /** Vector of the 8259 pair (ExtINT acknowledge). */
  acknowledgeExternal(): number;
}

/** Carries interrupt messages between LPs. */
export interface InterruptFabric {
  send(message: InterruptMessage): void;
}

/** The machine's clock in TSC cycles since reset, as a number below 2^53; monotonic. */
export interface Clock {
  readonly frequencyHz: number;
  now(): number;
  /** Virtual time: something takes longer than an instruction. A wall clock has no use for it. */
  charge?(operation: CostlyOperation, times?: number): void;
  /** Virtual time: the LP gives control back to its driver by then, whatever it does. */
  endsTurnBy?(time: number): boolean;
  /** Virtual time: so many cycles pass in which nothing can happen to the LP. */
  pass?(cycles: number): void;
  /** PAUSE: the program waits for somebody in a loop. Where LPs share the host's processors, time to let others run. */
  relax?(): void;
  /** What the program sends has not been noticed for long: as `relax`, at once. */
  rest?(): void;
}
/** What costs virtual time of its own. */
export type CostlyOperation =
  | "vmEntry"
  | "vmExit"
  | "eventDelivery"
  | "cacheFlush"
  | "lockedAccess"
  | "cpuid"
  | "rdmsr"
  | "wrmsr"
  | "pause"
  | "vmread"
  | "vmwrite"
  | "vmptrld"
  | "vmclear"
  | "invept"
  | "invvpid";

/** What an instruction in VMX non-root operation asks before it takes effect. Names are those of the exit reasons. */
export type InterceptedInstruction =
  | "CPUID"
  | "GETSEC"
  | "HLT"
  | "INVD"
  | "INVLPG"
  | "INVPCID"
  | "RDPMC"
  | "RDTSC"
  | "RDTSCP"
  | "MWAIT"
  | "MONITOR"
  | "PAUSE"
  | "RDMSR"
  | "WRMSR"
  | "RDRAND"
  | "RDSEED"
  | "WBINVD"
  | "WBNOINVD"
  | "XSETBV"
  | "XSAVES"
  | "XRSTORS"
  | "ENCLS"
  | "UMWAIT"
  | "TPAUSE"
  | "SGDT"
  | "SIDT"
  | "LGDT"
  | "LIDT"
  | "SLDT"
  | "STR"
  | "LLDT"
  | "LTR"
  | "RSM"
  | "VMCALL"
  | "VMCLEAR"
  | "VMLAUNCH"
  | "VMPTRLD"
  | "VMPTRST"
  | "VMREAD"
  | "VMRESUME"
  | "VMWRITE"
  | "VMXOFF"
  | "VMXON"
  | "INVEPT"
  | "INVVPID"
  | "VMFUNC";

/** An event about to be delivered through the IDT. `software` is the length of the instruction that raised it, when one did. */
export interface DeliveredEvent {
  readonly vector: number;
  /** VMX interruption types: 0 external, 2 NMI, 3 hardware exception, 4 INT n, 5 INT1, 6 INT3/INTO. */
  readonly type: 0 | 2 | 3 | 4 | 5 | 6;
  readonly errorCode: number | undefined;
  /** Instruction length of software interrupts and exceptions (types 4, 5, 6). */
  readonly instructionLength: number;
  /** #PF: faulting linear address; #DB: DR6 bits to report. */
  readonly qualification: bigint;
}

/**
 * VMX non-root operation as the rest of the processor meets it. Every question answers `true` when a VM exit has been taken:
 * the LP is then in root operation at the host's RIP, and the asking instruction must do nothing more (`Outcome.Jump`).
 * With `nonRoot` false no question is asked.
 */
export interface Intercepts {
  readonly nonRoot: boolean;
  /** @param operand MSR number, linear address, … as the exit reason wants; 0 otherwise. */
  instruction(which: InterceptedInstruction, insn: InstructionView, operand: bigint): boolean;
  /** The control that lets this instruction exist is 0: it raises #UD. RDPID asks as RDTSCP, XRSTORS as XSAVES. */
  isUndefined(which: "RDTSCP" | "INVPCID" | "XSAVES"): boolean;
  /** MOV to CR0/CR3/CR4/CR8: exit, or the value to load after masks and shadows; false: done, nothing to load. */
  writeControl(
    register: 0 | 3 | 4 | 8,
    value: bigint,
    insn: InstructionView,
    gpr: number,
  ): boolean | { readonly load: bigint };
  /** MOV from CR: exit (CR3, CR8), or the value the guest sees. */
  readControl(
    register: 0 | 3 | 4 | 8,
    value: bigint,
    insn: InstructionView,
    gpr: number,
  ): boolean | { readonly see: bigint };
  /** RDMSR that has not exited. @returns what the guest reads of a virtual APIC register; undefined: as without VMX */
  readApicMsr(index: number): bigint | undefined;
  /** WRMSR that has not exited. @returns false: as without VMX. @throws #GP(0) */
  writeApicMsr(index: number, value: bigint): boolean;
  clts(insn: InstructionView): boolean | "ignore" | "proceed";
  lmsw(source: number, insn: InstructionView): boolean | { readonly load: number };
  smsw(value: number): number;
  moveDebug(register: number, isRead: boolean, gpr: number, insn: InstructionView): boolean;
  /** `string`: INS/OUTS; `imm`: port from immediate. */
  io(
    port: number,
    size: number,
    isIn: boolean,
    insn: InstructionView,
    string: boolean,
    immediate: boolean,
    linear: bigint,
  ): boolean;
  taskSwitch(selector: number, source: number, insn: InstructionView | undefined): boolean;
  /** An exception, NMI or software event before IDT delivery. `nested`: raised while delivering `during`. */
  event(event: DeliveredEvent, during: DeliveredEvent | undefined): boolean;
  tripleFault(): boolean;
  /** An INIT or SIPI message has arrived. True: handled here (exit, or blocked in VMX operation). */
  init(): boolean;
  sipi(vector: number): boolean;
  /**
   * Between instructions, highest priority first: what APIC virtualization has left to do, MTF, preemption timer, NMI window,
   * NMI, interrupt window or virtual interrupt, external interrupt. Called before the LP's own delivery; true when one of them
   * was taken, by a VM exit or (virtual and posted interrupts) without. `interruptPending`: the local APIC has a deliverable
   * vector; `nmiPending`: an NMI is latched. It is asked when the event window is looked at: whoever makes one of these
   * conditions true by other means than an event calls `LogicalProcessor.requestEvents`.
   */
  boundary(interruptPending: boolean, nmiPending: boolean): boolean;
  /** RFLAGS.IF does not mask external interrupts and IRET/NMI rules differ when the exiting controls are set. */
  readonly externalInterruptExiting: boolean;
  readonly nmiExiting: boolean;
  /** RDTSC and its kin: what the guest sees for `tsc`. */
  guestTsc(tsc: bigint): bigint;
  /** IRET executed: virtual-NMI unblocking. True when the LP's own NMI blocking must be left as it is. */
  iret(): boolean;
  /** `boundary` is to be asked after every single instruction, before debug traps (monitor trap flag, APIC-write emulation). */
  readonly stepping: boolean;
  /** Cycles for which a loop of PAUSE may go on before its next PAUSE exits; infinity: it may for ever. */
  pauseLoopLeft(): number;
  /** The loop of PAUSE has gone on until now. */
  pausedUntilNow(): void;
  /** Clock value from which on `boundary` is to be asked though nothing else happens (preemption timer). */
  readonly deadline: number | undefined;
  /** Where VMREAD and VMWRITE do nothing but move words; undefined: there is no VMX. */
  readonly fields?: CurrentFields;
}

/** The fields of the current VMCS as VMREAD and VMWRITE of software in root operation reach them. */
export interface CurrentFields {
  /** Software is at privilege level 0 of 64-bit mode, there is a current VMCS, and nobody listens to accesses. Else: execute the instruction. */
  readonly isOpen: boolean;
  /** @returns where a field is; -1: execute the instruction, as for one that does not exist, or for a high half by itself */
  find(encoding: number): number;
  findWritable(encoding: number): number;
  low(position: number): number;
  high(position: number): number;
  /** Bits beyond the field are ignored. */
  write(position: number, low: number, high: number): void;
}

/** Nested paging. */
export interface SecondStage {
  readonly enabled: boolean;
  /**
   * Guest-physical to host-physical. Throws `vmExitTaken` on violation or misconfiguration.
   * @param access bit 0 read, 1 write, 2 execute, 3 the access is to a paging structure entry, 4 the linear address is one of user
   * mode (all of the guest's paging structures say so, or it has no paging), 5 its page is writable, 6 it is execute-disable
   * @param linearLow, linearHigh halves of the guest linear address, for the exit (no bigint: this is on the path of a TLB miss)
   * @param linearValid false when no linear address led here (loading of PDPTEs)
   * @returns host-physical address; what a TLB entry may remember of the mapping is left in `lastRights` and `lastPageBits`
   */
  translate(
    guestPhysical: number,
    access: number,
    linearLow: number,
    linearHigh: number,
    linearValid: boolean,
  ): number;
  /**
   * Accesses of the mapping that need not be asked about again: bit 0 read, 1 write, 2 execute. Without write while a dirty flag is
   * still to be set.
   */
  readonly lastRights: number;
  readonly lastPageBits: number;
}

/** Looks at every linear access to one page of memory (the APIC-access page, see `PhysicalAccess.watchedPage`). */
export interface PageWatcher {
  /**
   * @param offset within the page
   * @param size bytes within the page
   * @param kind an `AccessKind`
   * @returns physical address to make the access at instead
   * @throws vmExitTaken, also to have the instruction executed anew by itself
   */
  access(offset: number, size: number, kind: number): number;
  /** An instruction fetch. */
  fetch(offset: number): never;
}

/** What tracing hears; semantics never format strings. `kind` names the event, `detail` holds plain numbers and bigints. */
export type TraceSink = (
  kind: string,
  detail: Readonly<Record<string, number | bigint | string | boolean>>,
) => void;
