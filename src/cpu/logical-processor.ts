import { present } from "../base/assert.ts";
import { Prng } from "../base/prng.ts";
import { TickRate } from "../base/tick-rate.ts";
import type { CodePagePort } from "../execution/code-pages.ts";
import { CodePages } from "../execution/code-pages.ts";
import type { CoreHost } from "../execution/core-host.ts";
import { readStatusFlags, statusFlagsMask, writeStatusFlags } from "../execution/flags.ts";
import { lpOffset, Pending, Segment } from "../execution/lp-window.ts";
import { codeNumber, mnemonicNumber } from "../isa/instruction-names.ts";
import { lpCountMax, type MemoryLayout, windowBase } from "../memory/physical-memory.ts";
import { AddressSpace } from "./address-space.ts";
import { Breakpoints } from "./breakpoints.ts";
import type { CorePort } from "./core-port.ts";
import { CpuidLeaves } from "./cpuid.ts";
import { type FixedBits, noFixedBits } from "./fixed-bits.ts";
import { InstructionView } from "./instruction-view.ts";
import { LinearMemory } from "./linear-memory.ts";
import { LocalApic } from "./local-apic/local-apic.ts";
import { privateOffset } from "./lp-private.ts";
import { LpState } from "./lp-state.ts";
import type { CpuModel } from "./models/cpu-model.ts";
import { ModelSpecificRegisters } from "./msr.ts";
import { PageWalker } from "./paging.ts";
import { PhysicalAccess } from "./physical-access.ts";
import type {
  Bus,
  Clock,
  DeliveredEvent,
  Intercepts,
  InterruptFabric,
  SecondStage,
  TraceSink,
} from "./ports.ts";
import { cr0Bit, eferBit, flagBit, flagsDefined, rightsBit } from "./register-bits.ts";
import { noIntercepts, noSecondStage } from "./root-operation.ts";
import { deriveSegment, isProtectedMode, segmentLinear } from "./segment-registers.ts";
import { type Fault, generalProtection } from "./trap.ts";

export interface LogicalProcessorOptions {
  readonly memory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  /** LP 0 is the bootstrap processor. */
  readonly index: number;
  /** The compiled interpreter, shared by all LPs. */
  readonly module: WebAssembly.Module;
  readonly bus: Bus;
  readonly fabric: InterruptFabric;
  readonly clock: Clock;
  readonly codePages: CodePagePort;
  readonly model: CpuModel;
  readonly lpCount: number;
  /** x2APIC ids by LP index. */
  readonly apicIds: readonly number[];
  /** Seed of RDRAND and RDSEED; LPs of one machine differ by their index. */
  readonly randomSeed?: number;
  readonly trace?: TraceSink;
}

/**
 * Why `run` came back: budget used up; nothing to do before an event (halted, waiting for SIPI, MWAIT); at work that touches
 * nothing until `wakeDeadline`; shut down by a triple fault; the driver asked (`Pending.Stop`).
 */
export type LpStop = "budget" | "idle" | "busy" | "shutdown" | "stop";

/** Executes one system instruction. @returns an `Outcome` */
export type InstructionHandler = (lp: LogicalProcessor, insn: InstructionView) => number;
/**
 * Handlers by iced's name of the mnemonic (`Hlt`), or of the Code where one mnemonic means several unrelated instructions
 * (`Mov_r64_cr`); the Code goes before the mnemonic.
 */
export type InstructionTable = Readonly<Record<string, InstructionHandler>>;

/** Blocking of events, in the layout of the VMCS's interruptibility state. */
export const Blocking = { sti: 1, movSs: 2, nmi: 8 } as const;

/**
 * A logical processor: its state, its parts, and what instructions ask of it. How it lives (reset, running, delivering
 * events) is in `Processor`, the only subclass, so that semantics can name this class without knowing all of that.
 */
export abstract class LogicalProcessor {
  readonly index: number;
  readonly layout: MemoryLayout;
  readonly memory: WebAssembly.Memory;
  readonly state: LpState;
  readonly core: CorePort;
  readonly physical: PhysicalAccess;
  readonly walker: PageWalker;
  readonly addressSpace: AddressSpace;
  readonly breakpoints: Breakpoints;
  readonly linear: LinearMemory;
  readonly apic: LocalApic;
  readonly bus: Bus;
  readonly fabric: InterruptFabric;
  readonly clock: Clock;
  readonly model: CpuModel;
  readonly lpCount: number;
  readonly apicIds: readonly number[];
  readonly trace: TraceSink | undefined;
  readonly msrs: ModelSpecificRegisters;
  readonly cpuid: CpuidLeaves;
  readonly random: Prng;
  /** Takes over from the window what assistants have done there (see `CoreHost.catchUp`). */
  catchUp: () => void = () => {};
  /** What VMX operation demands of CR0 and CR4. */
  fixedBits: FixedBits = noFixedBits;
  intercepts: Intercepts = noIntercepts;
  secondStage: SecondStage = noSecondStage;
  /** Instructions that raised #UD for want of semantics: count by mnemonic. */
  readonly unsupported = new Map<string, number>();

  /** The event being delivered through the IDT, for a VM exit that interrupts the delivery. */
  delivering: DeliveredEvent | undefined;
  /** Blocking by STI or MOV SS was set by the instruction in progress, so that it outlives that instruction. */
  shadowIsNew = false;
  /** RFLAGS.RF was loaded by the instruction in progress: it covers the next one. */
  resumeIsNew = false;
  /** RFLAGS.TF as single-stepping of the instruction in progress sees it. */
  stepAfter = false;
  /** Iterations of repeated instructions that were stopped at, other than last ones: they retire nothing. */
  iterations = 0;
  /** Clock value at which MWAIT gives up. */
  mwaitUntil = 0;
  /** The instruction in progress is an IRET that has unblocked NMIs. */
  nmiUnblockedByIret = false;

  readonly #byMnemonic: (InstructionHandler | undefined)[] = [];
  readonly #byCode: (InstructionHandler | undefined)[] = [];
  protected readonly view: InstructionView;

  /** @param createCore makes the execution core, given what it calls back */
  constructor(options: LogicalProcessorOptions, createCore: (host: CoreHost) => CorePort) {
    const { memory, layout, model, bus, clock } = options;
    this.index = options.index;
    this.layout = layout;
    this.memory = memory;
    this.bus = bus;
    this.fabric = options.fabric;
    this.clock = clock;
    this.model = model;
    this.lpCount = options.lpCount;
    this.apicIds = options.apicIds;
    this.trace = options.trace;
    const state = new LpState(memory, windowBase(layout, options.index));
    this.state = state;
    this.view = new InstructionView(state);
    this.apic = new LocalApic({
      state,
      clock,
      bus,
      fabric: options.fabric,
      index: options.index,
      apicId: options.apicIds[options.index] ?? options.index,
      bootProcessor: options.index === 0,
      features: {
        physicalAddressBits: model.physicalAddressBits,
        x2apic: model.features.has("x2apic"),
      },
      timerRate: new TickRate(clock.frequencyHz, model.crystalFrequencyHz),
    });
    this.core = createCore({
      system: (record) => this.execute(record),
      access: (size, kind) => this.linear.access(size, kind),
      commit: () => this.linear.commit(),
      store: (size) => this.linear.store(size),
      raise: (exception) => this.raise(exception),
      fetch: () => this.linear.fetch(),
      catchUp: () => this.catchUp(),
    });
    const { core } = this;
    this.physical = new PhysicalAccess(
      state,
      bus,
      this.apic,
      layout.ramBytes,
      new CodePages(memory, layout),
      (physical, size) => core.codeWritten(physical, size),
    );
    this.walker = new PageWalker(state, this.physical, model, noSecondStage);
    this.addressSpace = new AddressSpace(state, this.walker, core.tlb);
    this.breakpoints = new Breakpoints(state);
    this.linear = new LinearMemory(
      state,
      this.walker,
      this.addressSpace,
      this.physical,
      core.tlb,
      this.breakpoints,
    );
    this.msrs = new ModelSpecificRegisters(this);
    const { apicIds } = options;
    const apicId = apicIds[options.index] ?? options.index;
    this.cpuid = new CpuidLeaves(model, state, { apicId, apicIds }, clock.frequencyHz);
    this.random = new Prng((options.randomSeed ?? 0) * lpCountMax + options.index);
  }

  // ——— life (see `Processor`)

  /** Power-up: the bootstrap processor is active at the reset vector, the others wait for a SIPI. */
  abstract reset(): void;
  /** Executes up to `budget` instructions; takes in messages, delivers events. */
  abstract run(budget: number): LpStop;
  /** Clock value at which an idle LP has something to do. */
  abstract wakeDeadline(): number | undefined;
  /**
   * Delivers an event through the IDT (or as a VM exit), with whatever follows from faults on the way: double fault, shutdown.
   * RIP is that of the instruction that raised the event; software events (types 4, 5, 6) return behind it. CR2, DR6 and
   * RFLAGS.RF are not touched for the event itself: an injected one leaves them as they are.
   * Never throws for what the guest does, but `vmExitTaken` passes.
   */
  abstract deliver(event: DeliveredEvent): void;
  /**
   * #DB, together with the debug exceptions pending.
   * @param bits of DR6
   * @param type 3, or 5 for INT1 with its length
   */
  abstract deliverDebug(bits: number, type: 3 | 5, instructionLength: number): void;
  /** Empties the mailbox into the local APIC: what a driver calls to make room in it, at any moment. */
  abstract takeMail(): void;
  /** Delivers an exception of the instruction at RIP: the way of a fault that was not thrown out of an instruction. */
  abstract deliverFault(fault: Fault): void;
  protected abstract execute(record: number): number;
  protected abstract raise(exception: number): never;

  // ——— composition

  /** VMX takes its place. */
  attachVmx(intercepts: Intercepts, secondStage: SecondStage): void {
    this.intercepts = intercepts;
    this.secondStage = secondStage;
    this.walker.secondStage = secondStage;
  }
  addInstructions(table: InstructionTable): void {
    for (const [name, handler] of Object.entries(table)) {
      const mnemonic = mnemonicNumber(name);
      if (mnemonic !== undefined) {
        this.#byMnemonic[mnemonic] = handler;
      } else {
        this.#byCode[present(codeNumber(name), `no instruction is called ${name}`)] = handler;
      }
    }
  }
  protected handlerOf(insn: InstructionView): InstructionHandler | undefined {
    return this.#byCode[insn.code] ?? this.#byMnemonic[insn.mnemonic];
  }

  // ——— modes

  get isLongMode(): boolean {
    return (this.state.read32(lpOffset.efer) & eferBit.LMA) !== 0;
  }
  /** 64-bit code, as against compatibility mode. */
  get is64Bit(): boolean {
    return this.isLongMode && (this.state.rights(Segment.CS) & rightsBit.long) !== 0;
  }
  /** CR0.PE is set and RFLAGS.VM is not. */
  get isProtected(): boolean {
    return isProtectedMode(this.state);
  }
  get isVirtual8086(): boolean {
    return (this.state.read32(lpOffset.systemFlags) & flagBit.VM) !== 0;
  }
  get ioPrivilegeLevel(): number {
    return (this.state.read32(lpOffset.systemFlags) >>> 12) & 3;
  }
  /** @throws #GP(0) unless CPL is 0 */
  requirePrivilege0(): void {
    if (this.state.cpl !== 0) {
      throw generalProtection();
    }
  }

  // ——— flags

  /** RFLAGS; upper half is zero. */
  readFlags(): number {
    const status = readStatusFlags(this.state.u32, this.state.base);
    return (this.state.read32(lpOffset.systemFlags) & ~statusFlagsMask) | status;
  }
  /** Writes all of RFLAGS and nothing else: what a change of AC, IF, TF, RF or VM entails is the caller's (see `changeFlags`). */
  writeFlags(image: number): void {
    const flags = (image & flagsDefined) | flagBit.fixed;
    writeStatusFlags(this.state.u32, this.state.base, flags);
    this.state.write32(lpOffset.systemFlags, flags & ~statusFlagsMask);
  }
  /** Replaces the flags in `mask`, and sees to what a change of IF, AC or TF entails. */
  changeFlags(image: number, mask: number): void {
    const old = this.readFlags();
    const changed = (old ^ image) & mask;
    this.writeFlags(old ^ changed);
    if ((changed & flagBit.AC) !== 0) {
      this.addressSpace.modeChanged();
    }
    if ((changed & (flagBit.IF | flagBit.TF | flagBit.RF | flagBit.VIF)) !== 0) {
      this.requestEventsAfterFlags();
    }
  }
  /** After an instruction has loaded RFLAGS: leaves the core when an event may now be due, or single-stepping begins. */
  requestEventsAfterFlags(): void {
    const flags = this.state.read32(lpOffset.systemFlags);
    if ((flags & (flagBit.TF | flagBit.RF)) !== 0 || this.eventsHeldBack) {
      this.requestEvents();
    }
  }

  // ——— events

  /** The event window is to be looked at before the next block of instructions, here and not by an attendant. */
  requestEvents(): void {
    this.state.write32(lpOffset.attendant, 0);
    Atomics.or(this.state.i32, (this.state.base + lpOffset.pending) >>> 2, Pending.Events);
  }
  /** STI and loads of SS: events are held back until after the next instruction. @param bit of `Blocking` */
  blockNextBoundary(bit: number): void {
    const { state } = this;
    // A second load of SS in a row does not prolong the shadow.
    if ((state.interruptibility & bit) !== 0 && !this.shadowIsNew) {
      return;
    }
    state.interruptibility |= bit;
    this.shadowIsNew = true;
    this.requestEvents();
  }
  get nmiPending(): boolean {
    return this.state.read32(privateOffset.nmisPending) !== 0;
  }
  /**
   * An NMI has arrived. One is remembered while NMIs are blocked; two while they are not, since the first is as good as taken
   * and the second then waits for its handler to return.
   */
  latchNmi(): void {
    const { state } = this;
    const most = (state.interruptibility & Blocking.nmi) !== 0 ? 1 : 2;
    const latched = state.read32(privateOffset.nmisPending);
    state.write32(privateOffset.nmisPending, Math.max(latched, Math.min(latched + 1, most)));
    this.requestEvents();
  }
  /** One of the NMIs that are latched is being delivered, or causes a VM exit. */
  unlatchNmi(): void {
    const latched = this.state.read32(privateOffset.nmisPending);
    this.state.write32(privateOffset.nmisPending, latched - 1);
  }
  get initPending(): boolean {
    return this.state.read32(privateOffset.initPending) !== 0;
  }
  set initPending(pending: boolean) {
    this.state.write32(privateOffset.initPending, pending ? 1 : 0);
    if (pending) {
      this.requestEvents();
    }
  }
  /** An event waits for RFLAGS.IF, a shadow or NMI blocking to go: whoever lifts one calls `requestEvents`. */
  get eventsHeldBack(): boolean {
    return this.state.read32(privateOffset.eventsHeldBack) !== 0;
  }
  set eventsHeldBack(isHeld: boolean) {
    this.state.write32(privateOffset.eventsHeldBack, isHeld ? 1 : 0);
  }
  /** DR6 bits of debug exceptions that wait for the next boundary. */
  get pendingDebug(): number {
    return this.state.read32(privateOffset.pendingDebug);
  }
  set pendingDebug(bits: number) {
    this.state.write32(privateOffset.pendingDebug, bits);
    if (bits !== 0) {
      this.requestEvents();
    }
  }

  // ——— what follows from a change of state

  /**
   * Recomputes everything that is derived from control registers, EFER, RFLAGS, segment registers and debug registers, after
   * a wholesale change (mode switch, VM entry, VM exit). CPL becomes that of SS. Nothing is invalidated in the TLB. The event
   * window is asked for when something in this state, or an event held back so far, wants it.
   */
  loadControlState(): void {
    const { state } = this;
    const virtual = (state.read32(lpOffset.systemFlags) & flagBit.VM) !== 0;
    if ((state.read32(lpOffset.cr0) & cr0Bit.PE) === 0) {
      state.write32(lpOffset.cpl, 0);
    } else {
      state.write32(lpOffset.cpl, virtual ? 3 : (state.rights(Segment.SS) >>> 5) & 3);
    }
    deriveSegment(state, Segment.CS);
    this.breakpoints.configure();
    this.addressSpace.watchData(this.breakpoints.data);
    this.addressSpace.changed();
    this.core.codeContextChanged();
    this.#requestStepping();
  }
  /** As `loadControlState`, after a VM entry or exit that has left all it looks at as it was but the address space. */
  switchedVm(): void {
    this.addressSpace.vmChanged();
    this.#requestStepping();
  }
  /** CPL, CS or SS has changed. */
  codeSegmentChanged(): void {
    this.addressSpace.modeChanged();
    this.core.codeContextChanged();
  }
  /** A debug register or CR4.DE was written. */
  debugRegistersChanged(): void {
    this.breakpoints.configure();
    this.addressSpace.watchData(this.breakpoints.data);
    this.#requestStepping();
  }
  /** Leaves the core when what follows must go instruction by instruction, or an event may now be due. */
  #requestStepping(): void {
    const { state } = this;
    const shadowed = (state.interruptibility & (Blocking.sti | Blocking.movSs)) !== 0;
    if (shadowed || this.breakpoints.any || this.intercepts.stepping) {
      this.requestEvents();
    } else {
      this.requestEventsAfterFlags();
    }
  }
  /** IA32_APIC_BASE was written. */
  apicBaseChanged(): void {
    this.physical.apicPage = this.apic.pageAddress;
    this.addressSpace.invalidateAll();
  }

  // ——— operands in memory

  /**
   * Linear address of `size` bytes at `offset` behind the memory operand, checked against the segment.
   * @throws #GP(0), #SS(0)
   */
  effectiveLinear(insn: InstructionView, offset: number, size: number, isWrite: boolean): bigint {
    const address = insn.effectiveAddress() + BigInt(offset);
    const wrapped = BigInt.asUintN(insn.addressSize * 8, address);
    return this.segmentLinear(insn.segment, wrapped, size, isWrite);
  }
  segmentLinear(segment: number, offset: bigint, size: number, isWrite: boolean): bigint {
    return segmentLinear(this.state, this.is64Bit, segment, offset, size, isWrite);
  }
}
