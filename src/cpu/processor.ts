import { codeMode } from "../execution/code-mode.ts";
import { ExecutionCore } from "../execution/core.ts";
import type { CoreHost } from "../execution/core-host.ts";
import { families } from "../execution/forms.ts";
import { Activity, Iteration, lpOffset, Pending } from "../execution/lp-window.ts";
import { mnemonicName, mnemonicNumber } from "../isa/instruction-names.ts";
import { windowBase } from "../memory/physical-memory.ts";
import { entryVector, type InterruptEntry } from "../protocol/interrupt-entry.ts";
import type { Mailbox } from "../protocol/mailbox.ts";
import type { CorePort } from "./core-port.ts";
import { afterFault, exceptionEvent } from "./double-fault.ts";
import { deliverThroughIdt } from "./event-delivery.ts";
import { takeEvent } from "./event-window.ts";
import type { InstructionView } from "./instruction-view.ts";
import { Acceptance } from "./local-apic/local-apic.ts";
import { lpMailbox } from "./local-apic/lp-mailbox.ts";
import {
  Blocking,
  LogicalProcessor,
  type LogicalProcessorOptions,
  type LpStop,
} from "./logical-processor.ts";
import { privateOffset } from "./lp-private.ts";
import { offeredInstructions } from "./models/offered-instructions.ts";
import { isWaitOver } from "./monitor.ts";
import type { DeliveredEvent } from "./ports.ts";
import { noSipi, powerUp } from "./power-up.ts";
import { cr0Bit, cr4Bit, dr6Bit, dr7Bit, flagBit } from "./register-bits.ts";
import { systemInstructions } from "./system-instructions.ts";
import {
  debugException,
  deviceNotAvailable,
  Fault,
  undefinedOpcode,
  Vector,
  vmExitTaken,
} from "./trap.ts";

const shadows = Blocking.sti | Blocking.movSs;
const simdMnemonics = new Set(
  families
    .filter((family) => family.simd)
    .flatMap((family) => [family.mnemonic, ...(family.aliases ?? [])].map(mnemonicNumber)),
);

/** A logical processor that lives: resets, runs machine code, takes in messages, delivers events. */
export class Processor extends LogicalProcessor {
  readonly #pending: number;
  readonly #mailbox: Mailbox;
  /** Instructions retired when events were last looked at. */
  #attendedAt = -1;
  /** Clock values of the local APIC's timer and of the guest's, known until the LP runs again. */
  #timerDeadline: number | undefined;
  #guestDeadline: number | undefined;
  #knowsDeadlines = false;
  readonly #receive = (entry: InterruptEntry): void => this.#accept(entry);

  /** @param createCore another source of instructions than the machine code of the memory */
  constructor(options: LogicalProcessorOptions, createCore?: (host: CoreHost) => CorePort) {
    const { memory, layout, index, module, codePages, model } = options;
    const base = windowBase(layout, index);
    const offers = offeredInstructions(model);
    super(
      options,
      createCore ??
        ((host) =>
          new ExecutionCore({ memory, layout, windowBase: base, module, host, codePages, offers })),
    );
    this.#pending = (base + lpOffset.pending) >>> 2;
    this.#mailbox = lpMailbox(this.state.i32, base);
    this.addInstructions(systemInstructions);
  }

  reset(): void {
    powerUp(this);
  }

  // ——— the run loop

  run(budget: number): LpStop {
    const { state, core } = this;
    if (core.busyUntil !== undefined) {
      core.putDownWork?.();
    }
    this.#lookAtClock();
    let left = budget;
    for (;;) {
      if ((state.i32[this.#pending] ?? 0) !== 0) {
        const taken = this.#attend();
        if (taken < 0) {
          return "stop";
        }
        left -= taken;
        this.#makeHeadway();
      }
      if (state.activity !== Activity.Active && !this.#awakes()) {
        return this.#rest();
      }
      if (left <= 0) {
        return "budget";
      }
      left -= this.#mustStep() ? this.#step() : this.#advance(left);
      if (core.busyUntil !== undefined && this.#goesOnWorking()) {
        return "busy";
      }
    }
  }

  /** A guest may rest in the shutdown state; the processor has not shut down. */
  #rest(): LpStop {
    const isDown = this.state.activity === Activity.Shutdown && !this.intercepts.nonRoot;
    return isDown ? "shutdown" : "idle";
  }

  /** Work that touches nothing is under way; an event interrupts it. */
  #goesOnWorking(): boolean {
    // That the driver wants the LP back does not interrupt it: it gets it.
    const isCalled = ((this.state.i32[this.#pending] ?? 0) & ~Pending.Stop) !== 0;
    if (isCalled) {
      this.core.putDownWork?.();
    }
    return !isCalled;
  }

  wakeDeadline(): number | undefined {
    const { activity } = this.state;
    if (activity === Activity.WaitForSipi) {
      return undefined;
    }
    if (activity === Activity.Shutdown) {
      return this.intercepts.deadline;
    }
    this.#lookAtDeadlines();
    const timer = earlier(this.#timerDeadline, this.#guestDeadline);
    if (activity === Activity.Mwait) {
      return earlier(timer, this.mwaitUntil);
    }
    return activity === Activity.Active ? earlier(timer, this.core.busyUntil) : timer;
  }

  #lookAtDeadlines(): void {
    this.#timerDeadline = this.apic.deadline();
    this.#guestDeadline = this.intercepts.deadline;
    this.#knowsDeadlines = true;
  }

  #lookAtClock(): void {
    if (!this.#knowsDeadlines) {
      this.#lookAtDeadlines();
    }
    // What is executed from here on may change them.
    this.#knowsDeadlines = false;
    const timer = this.#timerDeadline;
    const deadline = this.#guestDeadline;
    if (timer === undefined && deadline === undefined) {
      return;
    }
    const now = this.clock.now();
    if (timer !== undefined && now >= timer) {
      this.apic.poll(now);
    }
    if (deadline !== undefined && now >= deadline) {
      this.requestEvents();
    }
  }

  /**
   * Looks at whatever the pending word announces.
   * @returns events taken, or -1 when the driver wants the LP back
   */
  #attend(): number {
    const { i32 } = this.state;
    const word = Atomics.load(i32, this.#pending);
    if ((word & Pending.CodePage) !== 0) {
      // Whoever decodes the page waits until the bit is clear: first drop, then clear.
      this.core.dropWritePermission();
      Atomics.and(i32, this.#pending, ~Pending.CodePage);
    }
    if ((word & Pending.CodeChanged) !== 0) {
      Atomics.and(i32, this.#pending, ~Pending.CodeChanged);
      this.core.cache.dropChanged();
    }
    if ((word & Pending.Stop) !== 0) {
      return -1;
    }
    this.takeMail();
    this.linear.announceLockedWrite();
    return this.#takeEvents();
  }

  /** Messages that come as fast as they are attended to must not keep the program from ever going on. */
  #makeHeadway(): void {
    const { state, core } = this;
    const hasMail = (state.i32[this.#pending] ?? 0) === Pending.Mailbox;
    state.write32(lpOffset.heedless, hasMail && core.retired === this.#attendedAt ? 1 : 0);
    this.#attendedAt = core.retired;
  }

  /** Empties the mailbox into the local APIC and the latches of INIT, SIPI and NMI. */
  takeMail(): void {
    if ((Atomics.load(this.state.i32, this.#pending) & Pending.Mailbox) !== 0) {
      this.#mailbox.drain(this.#receive);
    }
  }
  #accept(entry: InterruptEntry): void {
    const { state } = this;
    switch (this.apic.accept(entry)) {
      case Acceptance.Nmi:
        this.latchNmi();
        break;
      case Acceptance.Init:
        this.initPending = true;
        state.write32(privateOffset.sipiVector, noSipi);
        break;
      case Acceptance.Startup:
        // A SIPI is for a processor that waits for one, or is about to.
        if (this.initPending || state.activity === Activity.WaitForSipi) {
          state.write32(privateOffset.sipiVector, entryVector(entry));
          this.requestEvents();
        }
        break;
      default:
    }
  }

  #takeEvents(): number {
    Atomics.and(this.state.i32, this.#pending, ~Pending.Events);
    let taken = 0;
    this.eventsHeldBack = false;
    while (this.#takesEvent()) {
      taken += 1;
      // What the event led to may hold back others than before.
      this.eventsHeldBack = false;
    }
    return taken;
  }
  #takesEvent(): boolean {
    try {
      return takeEvent(this);
    } catch (trap) {
      if (trap !== vmExitTaken) {
        throw trap;
      }
      return true;
    }
  }

  /** An LP that rests goes on by itself: the line it monitors was written to. */
  #awakes(): boolean {
    if (this.state.activity !== Activity.Mwait || !isWaitOver(this)) {
      return false;
    }
    this.state.activity = Activity.Active;
    return true;
  }

  #advance(budget: number): number {
    const { core } = this;
    const before = core.retired;
    try {
      core.run(budget);
    } catch (trap) {
      this.#caught(trap);
      // A fault counts, so that a guest that does nothing but fault comes to the end of its budget.
      return core.retired - before + 1;
    }
    return core.retired - before;
  }

  #caught(trap: unknown): void {
    this.core.trapped();
    if (trap === vmExitTaken) {
      return;
    }
    if (!(trap instanceof Fault)) {
      throw trap;
    }
    try {
      this.deliverFault(trap);
    } catch (further) {
      if (further !== vmExitTaken) {
        throw further;
      }
    }
  }

  // ——— one instruction at a time: shadows, single-step, breakpoints, monitor trap flag

  #mustStep(): boolean {
    const { state } = this;
    return (
      (state.interruptibility & shadows) !== 0 ||
      (state.read32(lpOffset.systemFlags) & (flagBit.TF | flagBit.RF)) !== 0 ||
      this.breakpoints.any ||
      (this.intercepts.nonRoot && this.intercepts.stepping)
    );
  }

  #step(): number {
    if (this.#hitsBreakpoint()) {
      return 1;
    }
    const { core, state } = this;
    const pendingDebug = this.pendingDebug;
    this.shadowIsNew = false;
    this.resumeIsNew = false;
    this.stepAfter = (state.read32(lpOffset.systemFlags) & flagBit.TF) !== 0;
    state.write32(privateOffset.dataHits, 0);
    const before = core.retired;
    let isIteration = false;
    try {
      isIteration = this.#runOne();
    } catch (trap) {
      // An instruction that faults has no debug traps. After a VM exit those pending are the host's: there are none.
      if (trap !== vmExitTaken) {
        this.pendingDebug = pendingDebug;
      }
      this.#caught(trap);
      this.requestEvents();
      return 1;
    }
    if (isIteration) {
      this.iterations += 1;
    } else if (core.retired === before) {
      return 0;
    } else {
      this.#completed();
    }
    this.pendingDebug |= state.read32(privateOffset.dataHits) | (this.stepAfter ? dr6Bit.BS : 0);
    this.requestEvents();
    return 1;
  }

  /**
   * One instruction, or one iteration of a repeated one where debug traps or the monitor trap flag may come between them.
   * @returns whether it was an iteration with more to follow
   */
  #runOne(): boolean {
    const { state } = this;
    const isWatched =
      this.stepAfter ||
      this.breakpoints.any ||
      (this.intercepts.nonRoot && this.intercepts.stepping);
    state.write32(lpOffset.iteration, isWatched ? Iteration.Stop : Iteration.Continue);
    try {
      this.core.run(1);
      return state.read32(lpOffset.iteration) === Iteration.Stopped;
    } finally {
      state.write32(lpOffset.iteration, Iteration.Continue);
    }
  }

  /** What covers one instruction ends with it. */
  #completed(): void {
    const { state } = this;
    if (!this.shadowIsNew) {
      state.interruptibility &= ~shadows;
    }
    if (!this.resumeIsNew) {
      const flags = state.read32(lpOffset.systemFlags);
      state.write32(lpOffset.systemFlags, flags & ~flagBit.RF);
    }
  }

  /**
   * Instruction breakpoints are faults: before the instruction, unless RF says that it has been seen. One on the instruction
   * behind a load of SS is passed over.
   */
  #hitsBreakpoint(): boolean {
    const { state } = this;
    if (!this.breakpoints.any || (state.read32(lpOffset.systemFlags) & flagBit.RF) !== 0) {
      return false;
    }
    if ((state.interruptibility & Blocking.movSs) !== 0) {
      return false;
    }
    const base = state.read64(lpOffset.codeBase);
    const hits = this.breakpoints.executeHits(
      (state.rip + base) & state.read64(lpOffset.linearMask),
    );
    if (hits === 0) {
      return false;
    }
    try {
      this.deliverFault(debugException(hits));
    } catch (trap) {
      if (trap !== vmExitTaken) {
        throw trap;
      }
    }
    return true;
  }

  // ——— events

  deliver(event: DeliveredEvent): void {
    this.#deliver(event, false);
  }
  deliverFault(fault: Fault): void {
    const { state } = this;
    if (fault.vector === Vector.DB) {
      this.deliverDebug(Number(fault.qualification), 3, 0);
      return;
    }
    state.write32(lpOffset.systemFlags, state.read32(lpOffset.systemFlags) | flagBit.RF);
    this.#deliver(exceptionEvent(fault), true);
  }
  deliverDebug(bits: number, type: 3 | 5, instructionLength: number): void {
    // Single-step that a load of SS held back goes unreported when the next instruction raises #DB by itself.
    const ownCause = bits !== 0 || type === 5;
    const held = ownCause ? this.pendingDebug & ~dr6Bit.BS : this.pendingDebug;
    const qualification = BigInt((bits | held) >>> 0);
    this.pendingDebug = 0;
    const event = { vector: Vector.DB, errorCode: undefined } as const;
    this.#deliver({ ...event, type, instructionLength, qualification }, true);
  }

  /** @param raised here, so that CR2, DR6 and DR7 are written; an injected event leaves them */
  #deliver(first: DeliveredEvent, raised: boolean): void {
    let event: DeliveredEvent | undefined = first;
    let during: DeliveredEvent | undefined;
    while (event !== undefined) {
      if (this.intercepts.nonRoot && this.intercepts.event(event, during)) {
        return;
      }
      if (raised || during !== undefined) {
        this.#recordCause(event);
      }
      this.clock.charge?.("eventDelivery");
      this.delivering = event;
      try {
        if (deliverThroughIdt(this, event)) {
          this.#delivered();
        }
        return;
      } catch (trap) {
        if (!(trap instanceof Fault)) {
          throw trap;
        }
        during = event;
        event = afterFault(event, trap);
      } finally {
        this.delivering = undefined;
      }
    }
    this.#shutDown();
  }

  #delivered(): void {
    this.state.interruptibility &= ~shadows;
    this.state.activity = Activity.Active;
    if (this.eventsHeldBack) {
      this.requestEvents();
    }
  }

  /** CR2, and DR6 with DR7.GD. A VM exit on the exception has left them alone. */
  #recordCause(event: DeliveredEvent): void {
    const { state } = this;
    this.trace?.("exception", {
      lp: this.index,
      vector: event.vector,
      error: event.errorCode ?? 0,
      rip: state.rip,
    });
    if (event.vector === Vector.PF && event.type === 3) {
      state.set("cr2", event.qualification);
    } else if (event.vector === Vector.DB && event.type !== 4) {
      const bits = Number(event.qualification);
      const found = dr6Bit.B0 | dr6Bit.B1 | dr6Bit.B2 | dr6Bit.B3;
      state.setLow("dr6", (state.read32(lpOffset.dr6) & ~found) | bits);
      state.setLow("dr7", state.read32(lpOffset.dr7) & ~dr7Bit.GD);
    }
  }

  #shutDown(): void {
    if (this.intercepts.nonRoot && this.intercepts.tripleFault()) {
      return;
    }
    this.state.activity = Activity.Shutdown;
    this.trace?.("shutdown", { lp: this.index, rip: this.state.rip });
    this.requestEvents();
  }

  // ——— for the execution core

  protected execute(record: number): number {
    const insn = this.view.at(record);
    const handler = this.handlerOf(insn);
    if (handler === undefined) {
      throw this.#unknown(insn);
    }
    return handler(this, insn);
  }
  #unknown({ mnemonic, unknownMnemonic }: InstructionView): Fault {
    const { state } = this;
    const blocked = (state.read32(lpOffset.codeMode) & codeMode.simdBlocked) !== 0;
    if (blocked && simdMnemonics.has(mnemonic)) {
      const available =
        (state.read32(lpOffset.cr0) & cr0Bit.EM) === 0 &&
        (state.read32(lpOffset.cr4) & cr4Bit.OSFXSR) !== 0;
      return available ? deviceNotAvailable() : undefinedOpcode();
    }
    const name = mnemonicName(unknownMnemonic || mnemonic);
    this.unsupported.set(name, (this.unsupported.get(name) ?? 0) + 1);
    return undefinedOpcode();
  }

  protected raise(exception: number): never {
    const hasErrorCode = (exception & 0x100) !== 0;
    throw new Fault(exception & 0xff, hasErrorCode ? exception >>> 16 : undefined);
  }
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) {
    return a ?? b;
  }
  return Math.min(a, b);
}
