import type { TickRate } from "../../base/tick-rate.ts";
import { lpOffset, Pending } from "../../execution/lp-window.ts";
import {
  entryDeliveryMode,
  entryIsAsserted,
  entryIsLevel,
  entryIsPin,
  entryPin,
  entryVector,
  type InterruptEntry,
  type InterruptPin,
} from "../../protocol/interrupt-entry.ts";
import { DeliveryMode, type InterruptMessage } from "../../protocol/interrupt-message.ts";
import type { LpState } from "../lp-state.ts";
import type { Bus, Clock, InterruptFabric } from "../ports.ts";
import { endTurnBefore } from "../turn-end.ts";
import {
  type ApicBaseFeatures,
  apicBaseBit,
  apicBaseReset,
  apicBaseTransition,
  modeOfBase,
} from "./apic-base.ts";
import { ApicPage } from "./apic-page.ts";
import { ApicTimer } from "./apic-timer.ts";
import { firstLegalVector, interruptCommand, selfIpi } from "./interrupt-command.ts";
import {
  ApicError,
  ApicMode,
  ApicPrivate,
  ApicRegister,
  apicVersion,
  type LvtRegister,
  lvt,
  lvtRegisters,
  type RegisterRule,
  registerRules,
  spuriousVectorBit,
  x2apicMsrBase,
  x2apicMsrLast,
} from "./registers.ts";

export interface LocalApicOptions {
  readonly state: LpState;
  readonly clock: Clock;
  readonly bus: Pick<Bus, "endOfInterrupt" | "acknowledgeExternal">;
  readonly fabric: InterruptFabric;
  /** Index of the LP: the `source` of what it sends. */
  readonly index: number;
  /** x2APIC id; its low byte is the initial xAPIC id. */
  readonly apicId: number;
  readonly bootProcessor: boolean;
  readonly features: ApicBaseFeatures;
  /** Ticks of the APIC timer, before its divider, in clock cycles. */
  readonly timerRate: TickRate;
}

/** What the processor has to do about an event its local APIC has taken in. */
export const Acceptance = {
  /** Nothing: not for us, masked, or recorded in the APIC (the pending word then says `Events`). */
  None: 0,
  Nmi: 1,
  Init: 2,
  /** A start-up message; its vector is the entry's. */
  Startup: 3,
} as const;
export type Acceptance = (typeof Acceptance)[keyof typeof Acceptance];

/**
 * The local APIC of one LP, after "Advanced Programmable Interrupt Controller (APIC)". Registers lie in the LP's window at
 * `lpOffset.apicPage`, at their architectural offsets. All methods are for the LP's own thread.
 *
 * Whenever an interrupt may have become deliverable, the APIC sets `Pending.Events` in its window.
 */
export class LocalApic {
  readonly #state: LpState;
  readonly #page: ApicPage;
  readonly #timer: ApicTimer;
  readonly #options: LocalApicOptions;

  constructor(options: LocalApicOptions) {
    this.#options = options;
    this.#state = options.state;
    this.#page = new ApicPage(options.state);
    this.#timer = new ApicTimer(this.#page, options.state, options.timerRate);
  }

  // ---- Life: power-up, INIT, IA32_APIC_BASE ------------------------------------------------------------------------

  /** "Local APIC State After Power-Up or Reset", IA32_APIC_BASE included. */
  reset(): void {
    const boot = this.#options.bootProcessor ? apicBaseBit.bootProcessor : 0;
    this.#state.set("apicBase", apicBaseReset | BigInt(apicBaseBit.enable | boot));
    this.#page.write(ApicPrivate.pins, 0);
    this.#resetRegisters();
    this.#enter(ApicMode.XApic, true);
  }

  /** "Local APIC State After It Receives an INIT-Deassert Message": as after reset, but ids and mode stay. */
  initialize(): void {
    const id = this.#page.read(ApicRegister.Id);
    this.#resetRegisters();
    this.#page.write(ApicRegister.Id, id);
    this.#enter(this.mode, false);
  }

  /**
   * What a PC's firmware leaves behind: APIC enabled with spurious vector FFH, LINT0 connected to the 8259 pair, LINT1 to
   * NMI. For machines that start an image without firmware.
   */
  configureVirtualWire(): void {
    this.#writeRegister(ApicRegister.SpuriousVector, 0xff | spuriousVectorBit.enable);
    this.#writeRegister(ApicRegister.LvtLint0, lvt.level | (DeliveryMode.ExtInt << 8));
    this.#writeRegister(ApicRegister.LvtLint1, DeliveryMode.Nmi << 8);
  }

  get mode(): ApicMode {
    return this.#page.read(ApicPrivate.mode) as ApicMode;
  }
  /** CPUID.1:EDX[9] follows it. */
  get enabled(): boolean {
    return this.mode !== ApicMode.Disabled;
  }

  get baseRegister(): bigint {
    return this.#state.get("apicBase");
  }
  /** Writes IA32_APIC_BASE. @returns false for #GP: nothing has changed */
  writeBaseRegister(value: bigint): boolean {
    const mode = apicBaseTransition(this.baseRegister, value, this.#options.features);
    if (mode === undefined) {
      return false;
    }
    const from = modeOfBase(this.baseRegister);
    this.#state.set("apicBase", value);
    if (mode === from) {
      return true;
    }
    if (mode === ApicMode.Disabled) {
      this.#resetRegisters();
    }
    this.#enter(mode, true);
    return true;
  }

  /** Physical address of the page of memory-mapped registers, -1 when there is none (disabled, x2APIC mode). */
  get pageAddress(): number {
    return this.mode === ApicMode.XApic ? Number(this.baseRegister & ~0xfffn) : -1;
  }

  #enter(mode: ApicMode, freshId: boolean): void {
    const id = this.#options.apicId;
    this.#page.write(ApicPrivate.x2apicId, id);
    this.#page.write(ApicPrivate.mode, mode);
    if (mode === ApicMode.X2Apic) {
      this.#page.write(ApicRegister.Id, id);
      this.#page.write(ApicRegister.LogicalDestination, x2apicLogicalId(id));
    } else if (freshId) {
      this.#page.write(ApicRegister.Id, id << 24);
    }
    this.#signalIfPending();
  }

  #resetRegisters(): void {
    const page = this.#page;
    for (const [offset] of registerRules) {
      page.write(offset, 0);
    }
    for (const entry of lvtRegisters) {
      page.write(entry, lvt.masked);
    }
    page.write(ApicRegister.Version, apicVersion);
    page.write(ApicRegister.DestinationFormat, 0xffff_ffff);
    page.write(ApicRegister.SpuriousVector, 0xff);
    page.write(ApicPrivate.errors, 0);
    page.write(ApicPrivate.externalLatched, 0);
    this.#timer.reset();
  }

  // ---- Register access ---------------------------------------------------------------------------------------------

  /** A read of the memory-mapped page. @param size 1, 2 or 4 bytes */
  readMmio(offset: number, size: number): number {
    const register = offset & 0xff0;
    const byte = offset & 0xf;
    const rule = this.#mmioRule(register);
    if (rule === undefined || rule.xapic === "wo" || byte + size > 4) {
      return 0;
    }
    const value = this.#readRegister(register) >>> (byte * 8);
    return size === 4 ? value : value & ((1 << (size * 8)) - 1);
  }

  /** A write of the memory-mapped page. Only aligned 32-bit writes do something; reserved bits are dropped. */
  writeMmio(offset: number, size: number, value: number): void {
    if (size !== 4 || (offset & 0xf) !== 0) {
      return;
    }
    const rule = this.#mmioRule(offset);
    if (rule !== undefined && rule.xapic !== "ro") {
      this.#writeRegister(offset, (value & rule.writable) >>> 0);
    }
  }

  /** RDMSR of 800H–8FFH. @returns undefined for #GP */
  readMsr(msr: number): bigint | undefined {
    const register = (msr - x2apicMsrBase) << 4;
    const rule = this.#msrRule(msr);
    if (rule === undefined || rule.x2apic === "wo") {
      return undefined;
    }
    const low = BigInt(this.#readRegister(register));
    return register === ApicRegister.CommandLow
      ? low | (BigInt(this.#page.read(ApicRegister.CommandHigh)) << 32n)
      : low;
  }

  /** WRMSR of 800H–8FFH. @returns false for #GP: nothing has changed */
  writeMsr(msr: number, value: bigint): boolean {
    const register = (msr - x2apicMsrBase) << 4;
    const rule = this.#msrRule(msr);
    if (rule === undefined || rule.x2apic === "ro") {
      return false;
    }
    const low = Number(value & 0xffff_ffffn);
    const high = Number((value >> 32n) & 0xffff_ffffn);
    if ((low & ~(rule.writable | rule.readOnly)) !== 0) {
      return false;
    }
    if (register === ApicRegister.CommandLow) {
      this.#page.write(ApicRegister.CommandHigh, high);
    } else if (high !== 0) {
      return false;
    }
    this.#writeRegister(register, (low & rule.writable) >>> 0);
    return true;
  }

  /** IA32_TSC_DEADLINE. */
  get deadlineRegister(): bigint {
    this.poll(this.#options.clock.now());
    return this.#timer.deadlineRegister;
  }
  set deadlineRegister(value: bigint) {
    const now = this.#options.clock.now();
    this.poll(now);
    this.#timer.deadlineRegister = value;
    this.poll(now);
    this.#timerSet();
  }

  /** The task priority, 0..15, as CR8 shows it; it outlives disabling of the APIC. */
  get cr8(): number {
    return this.#page.read(ApicRegister.TaskPriority) >>> 4;
  }
  set cr8(value: number) {
    this.#writeRegister(ApicRegister.TaskPriority, (value & 0xf) << 4);
  }

  #mmioRule(register: number): RegisterRule | undefined {
    const rule = registerRules.get(register);
    if (rule === undefined || rule.xapic === "none") {
      this.#error(ApicError.IllegalRegister);
      return undefined;
    }
    return rule;
  }

  #msrRule(msr: number): RegisterRule | undefined {
    if (this.mode !== ApicMode.X2Apic || msr < x2apicMsrBase || msr > x2apicMsrLast) {
      return undefined;
    }
    const rule = registerRules.get((msr - x2apicMsrBase) << 4);
    return rule?.x2apic === "none" ? undefined : rule;
  }

  #readRegister(register: number): number {
    switch (register) {
      case ApicRegister.CurrentCount: {
        const now = this.#options.clock.now();
        this.poll(now);
        return this.#timer.currentCount(now);
      }
      case ApicRegister.ArbitrationPriority:
        return this.#arbitrationPriority();
      default:
        return this.#page.read(register);
    }
  }

  /** @param value bits that the register's rule lets through */
  #writeRegister(register: number, value: number): void {
    const page = this.#page;
    switch (register) {
      case ApicRegister.TaskPriority:
        page.write(register, value);
        this.#updatePriority();
        return;
      case ApicRegister.EndOfInterrupt:
        this.endOfInterrupt();
        return;
      case ApicRegister.DestinationFormat:
        page.write(register, value | 0x0fff_ffff);
        return;
      case ApicRegister.SpuriousVector:
        this.#writeSpuriousVector(value);
        return;
      case ApicRegister.ErrorStatus:
        page.write(register, page.read(ApicPrivate.errors));
        page.write(ApicPrivate.errors, 0);
        return;
      case ApicRegister.CommandLow:
        page.write(register, value);
        this.#sendCommand(value);
        return;
      case ApicRegister.SelfIpi:
        this.#send(selfIpi(value, this.#options.index));
        return;
      case ApicRegister.InitialCount:
        this.#timer.start(value, this.#options.clock.now());
        this.#timerSet();
        return;
      case ApicRegister.DivideConfiguration:
        this.#writeDivide(value);
        return;
      case ApicRegister.LvtTimer:
        this.#writeLvtTimer(value);
        return;
      case ApicRegister.LvtLint0:
        this.#writeLvtPin(0, value);
        return;
      case ApicRegister.LvtLint1:
        this.#writeLvtPin(1, value);
        return;
      case ApicRegister.LvtCmci:
      case ApicRegister.LvtThermal:
      case ApicRegister.LvtPerformance:
      case ApicRegister.LvtError:
        page.write(register, this.#lvtValue(value));
        return;
      default:
        page.write(register, value);
    }
  }

  #writeDivide(value: number): void {
    const now = this.#options.clock.now();
    this.poll(now);
    this.#timer.setDivide(value, now);
    this.#timerSet();
  }

  // ---- Spurious-interrupt vector register, local vector table ------------------------------------------------------

  /** "Local APIC State After It Has Been Software Disabled": every LVT entry is masked and stays so. */
  #writeSpuriousVector(value: number): void {
    // What expired before this write still counts.
    this.poll(this.#options.clock.now());
    this.#page.write(ApicRegister.SpuriousVector, value);
    if (!this.#softwareEnabled()) {
      for (const entry of lvtRegisters) {
        this.#page.write(entry, this.#page.read(entry) | lvt.masked);
      }
    }
  }

  #softwareEnabled(): boolean {
    return (this.#page.read(ApicRegister.SpuriousVector) & spuriousVectorBit.enable) !== 0;
  }

  #lvtValue(value: number): number {
    return this.#softwareEnabled() ? value : value | lvt.masked;
  }

  #writeLvtTimer(value: number): void {
    this.poll(this.#options.clock.now());
    const old = this.#page.read(ApicRegister.LvtTimer);
    const entry = this.#lvtValue(value);
    this.#page.write(ApicRegister.LvtTimer, entry);
    this.#timer.modeChanged(old, entry);
    this.#timerSet();
  }

  #writeLvtPin(pin: InterruptPin, value: number): void {
    const register = lvtOfPin(pin);
    const entry = this.#lvtValue(value);
    const remoteIrr = isFixedLevel(entry) ? this.#page.read(register) & lvt.remoteIrr : 0;
    this.#page.write(register, entry | remoteIrr);
    this.#evaluateLevelPin(pin);
    this.#signalIfPending();
  }

  /**
   * An event of a local source (thermal sensor, performance counter, CMCI): delivered as its LVT entry says.
   * The performance entry masks itself.
   */
  trigger(register: LvtRegister): Acceptance {
    const entry = this.#page.read(register);
    if ((entry & lvt.masked) !== 0) {
      return Acceptance.None;
    }
    if (register === ApicRegister.LvtPerformance) {
      this.#page.write(register, entry | lvt.masked);
    }
    switch (deliveryModeOf(entry)) {
      case DeliveryMode.Fixed:
        this.#acceptFixed(entry & lvt.vectorMask, false);
        return Acceptance.None;
      case DeliveryMode.Nmi:
        return Acceptance.Nmi;
      case DeliveryMode.Init:
        return Acceptance.Init;
      default:
        return Acceptance.None;
    }
  }

  // ---- Pins --------------------------------------------------------------------------------------------------------

  #acceptPin(pin: InterruptPin, high: boolean): Acceptance {
    const pins = this.#page.read(ApicPrivate.pins);
    const bit = 1 << pin;
    const rising = high && (pins & bit) === 0;
    this.#page.write(ApicPrivate.pins, high ? pins | bit : pins & ~bit);
    const verdict = rising ? this.#risingEdge(pin) : Acceptance.None;
    this.#evaluateLevelPin(pin);
    this.#signalIfPending();
    return verdict;
  }

  /** Without an APIC the pins are INTR and NMI. */
  #risingEdge(pin: InterruptPin): Acceptance {
    if (!this.enabled) {
      return pin === 1 ? Acceptance.Nmi : Acceptance.None;
    }
    const register = lvtOfPin(pin);
    return isFixedLevel(this.#page.read(register)) ? Acceptance.None : this.trigger(register);
  }

  /** A level-triggered pin that is high requests its vector unless the last request has not been dismissed. */
  #evaluateLevelPin(pin: InterruptPin): void {
    const register = lvtOfPin(pin);
    const entry = this.#page.read(register);
    const idle = (entry & (lvt.masked | lvt.remoteIrr)) === 0;
    if (this.enabled && idle && isFixedLevel(entry) && this.#isHigh(pin)) {
      this.#page.write(register, entry | lvt.remoteIrr);
      this.#acceptFixed(entry & lvt.vectorMask, true);
    }
  }

  #isHigh(pin: InterruptPin): boolean {
    return (this.#page.read(ApicPrivate.pins) & (1 << pin)) !== 0;
  }

  /** The 8259 pair asks through INTR, through a pin in ExtINT mode, or by an ExtINT message. */
  get externalPending(): boolean {
    if (!this.enabled) {
      return this.#isHigh(0);
    }
    return (
      this.#page.read(ApicPrivate.externalLatched) !== 0 ||
      this.#externalPin(0) ||
      this.#externalPin(1)
    );
  }

  #externalPin(pin: InterruptPin): boolean {
    const entry = this.#page.read(lvtOfPin(pin));
    return (
      this.#isHigh(pin) &&
      (entry & lvt.masked) === 0 &&
      deliveryModeOf(entry) === DeliveryMode.ExtInt
    );
  }

  // ---- Sending -----------------------------------------------------------------------------------------------------

  #sendCommand(low: number): void {
    const wide = this.mode === ApicMode.X2Apic;
    const high = this.#page.read(ApicRegister.CommandHigh);
    this.#send(interruptCommand(low, wide ? high : high >>> 24, wide, this.#options.index));
  }

  #send(message: InterruptMessage | "illegal vector" | undefined): void {
    if (message === "illegal vector") {
      this.#error(ApicError.SendIllegalVector);
    } else if (message !== undefined) {
      this.#options.fabric.send(message);
    }
  }

  // ---- Accepting ---------------------------------------------------------------------------------------------------

  /** Takes in an entry of the LP's mailbox. */
  accept(entry: InterruptEntry): Acceptance {
    if (entryIsPin(entry)) {
      return this.#acceptPin(entryPin(entry), entryIsAsserted(entry));
    }
    if (!this.enabled) {
      return Acceptance.None;
    }
    switch (entryDeliveryMode(entry)) {
      case DeliveryMode.Fixed:
      case DeliveryMode.LowestPriority:
        this.#acceptFixed(entryVector(entry), entryIsLevel(entry));
        return Acceptance.None;
      case DeliveryMode.Nmi:
        return Acceptance.Nmi;
      case DeliveryMode.Init:
        return Acceptance.Init;
      case DeliveryMode.Startup:
        return Acceptance.Startup;
      case DeliveryMode.ExtInt:
        this.#acceptExternal();
        return Acceptance.None;
      // There is no system-management mode.
      case DeliveryMode.Smi:
        return Acceptance.None;
    }
  }

  /** "Interrupt Acceptance for Fixed Interrupts". One request per vector; a second one merges with it. */
  #acceptFixed(vector: number, level: boolean): void {
    if (vector < firstLegalVector) {
      this.#error(ApicError.ReceiveIllegalVector);
      return;
    }
    if (!this.#softwareEnabled()) {
      return;
    }
    const page = this.#page;
    if (level) {
      page.add(ApicRegister.TriggerMode, vector);
    } else {
      page.remove(ApicRegister.TriggerMode, vector);
    }
    page.add(ApicRegister.InterruptRequest, vector);
    this.#signal();
  }

  #acceptExternal(): void {
    if (this.#softwareEnabled()) {
      this.#page.write(ApicPrivate.externalLatched, 1);
      this.#signal();
    }
  }

  /** "Error Handling": each kind of error counts once until the error status register is next written. */
  #error(bit: number): void {
    const errors = this.#page.read(ApicPrivate.errors);
    this.#page.write(ApicPrivate.errors, errors | bit);
    if ((errors & bit) === 0) {
      this.#triggerError();
    }
  }

  #triggerError(): void {
    const entry = this.#page.read(ApicRegister.LvtError);
    // An illegal vector in the error entry itself is recorded, and interrupts nobody.
    if ((entry & lvt.vectorMask) >= firstLegalVector) {
      this.trigger(ApicRegister.LvtError);
    }
  }

  // ---- Priorities, acknowledgement, dismissal ----------------------------------------------------------------------

  /** The requested vector whose priority class is above the processor priority, -1 when there is none. */
  highestPending(): number {
    if (!this.enabled) {
      return -1;
    }
    const vector = this.#page.highest(ApicRegister.InterruptRequest);
    const priorityClass = this.#page.read(ApicRegister.ProcessorPriority) >>> 4;
    return vector >> 4 > priorityClass ? vector : -1;
  }

  /** An interrupt waits for the processor: a deliverable vector, or the 8259 pair. */
  interruptPending(): boolean {
    return this.highestPending() >= 0 || this.externalPending;
  }

  /**
   * The processor takes the interrupt that waits: the vector moves from request to in service. When the request has gone
   * meanwhile, the answer is the spurious vector and nothing is in service.
   * @returns the vector to deliver
   */
  acknowledge(): number {
    if (this.externalPending) {
      this.#page.write(ApicPrivate.externalLatched, 0);
      return this.#options.bus.acknowledgeExternal();
    }
    const vector = this.highestPending();
    if (vector < 0) {
      return this.#page.read(ApicRegister.SpuriousVector) & 0xff;
    }
    this.#page.remove(ApicRegister.InterruptRequest, vector);
    this.#page.add(ApicRegister.InService, vector);
    this.#updatePriority();
    return vector;
  }

  /** "Signaling Interrupt Servicing Completion": a write of the EOI register. */
  endOfInterrupt(): void {
    const page = this.#page;
    const vector = page.highest(ApicRegister.InService);
    if (vector < 0) {
      return;
    }
    page.remove(ApicRegister.InService, vector);
    this.#updatePriority();
    if (!page.has(ApicRegister.TriggerMode, vector)) {
      return;
    }
    this.#dismissPin(0, vector);
    this.#dismissPin(1, vector);
    const suppressed =
      page.read(ApicRegister.SpuriousVector) & spuriousVectorBit.suppressEoiBroadcast;
    if (suppressed === 0) {
      this.#options.bus.endOfInterrupt(vector);
    }
  }

  #dismissPin(pin: InterruptPin, vector: number): void {
    const register = lvtOfPin(pin);
    const entry = this.#page.read(register);
    if ((entry & lvt.remoteIrr) !== 0 && (entry & lvt.vectorMask) === vector) {
      this.#page.write(register, entry & ~lvt.remoteIrr);
      this.#evaluateLevelPin(pin);
    }
  }

  /** "Task and Processor Priorities". */
  #updatePriority(): void {
    const task = this.#page.read(ApicRegister.TaskPriority);
    const service = this.#highestInService();
    const priority = task >>> 4 >= service >>> 4 ? task : service & 0xf0;
    this.#page.write(ApicRegister.ProcessorPriority, priority);
    this.#signalIfPending();
  }

  #highestInService(): number {
    return Math.max(this.#page.highest(ApicRegister.InService), 0);
  }

  #arbitrationPriority(): number {
    const task = this.#page.read(ApicRegister.TaskPriority);
    const service = this.#highestInService() >>> 4;
    const request = Math.max(this.#page.highest(ApicRegister.InterruptRequest), 0) >>> 4;
    const taskClass = task >>> 4;
    return taskClass >= request && taskClass > service
      ? task
      : Math.max(taskClass & service, request) << 4;
  }

  #signalIfPending(): void {
    if (this.interruptPending()) {
      this.#signal();
    }
  }

  #signal(): void {
    this.#state.write32(lpOffset.attendant, 0);
    Atomics.or(this.#state.i32, (this.#state.base + lpOffset.pending) >>> 2, Pending.Events);
  }

  // ---- Time --------------------------------------------------------------------------------------------------------

  /** Clock value at which the timer will have something to deliver, undefined when it will not. */
  deadline(): number | undefined {
    const masked = (this.#page.read(ApicRegister.LvtTimer) & lvt.masked) !== 0;
    return masked ? undefined : this.#timer.nextExpiry();
  }

  #timerSet(): void {
    endTurnBefore(this.deadline(), this.#state, this.#options.clock);
  }

  /** Lets the timer see the time; requests its vector when it has expired. */
  poll(now: number): void {
    if (this.#timer.advance(now)) {
      this.trigger(ApicRegister.LvtTimer);
    }
  }
}

/** Logical id in x2APIC mode: cluster in bits 31:16, one bit of 15:0. */
export function x2apicLogicalId(id: number): number {
  return (((id >>> 4) << 16) | (1 << (id & 0xf))) >>> 0;
}

const lvtOfPin = (
  pin: InterruptPin,
): typeof ApicRegister.LvtLint0 | typeof ApicRegister.LvtLint1 =>
  pin === 0 ? ApicRegister.LvtLint0 : ApicRegister.LvtLint1;

const deliveryModeOf = (entry: number): number =>
  (entry >>> lvt.deliveryModeShift) & lvt.deliveryModeMask;

/** Level triggering exists for the fixed delivery mode only; NMI, INIT and SMI are edges, ExtINT a level of its own. */
const isFixedLevel = (entry: number): boolean =>
  (entry & lvt.level) !== 0 && deliveryModeOf(entry) === DeliveryMode.Fixed;
