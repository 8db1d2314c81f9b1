import type { DeliveredEvent } from "../cpu/ports.ts";
import { flagBit } from "../cpu/register-bits.ts";
import { Activity, lpOffset } from "../execution/lp-window.ts";
import type { ApicVirtualization } from "./apic-virtualization/apic-virtualization.ts";
import type { ReceivingGuests } from "./assistants/receiving-guests.ts";
import { exitControl, pin, primary } from "./controls.ts";
import type { VmExits } from "./exit.ts";
import { exitReason } from "./exit-reasons.ts";
import { InterruptionType, interruptionBit } from "./interruption.ts";
import type { PreemptionTimer } from "./preemption-timer.ts";
import { slot } from "./vmcs-fields.ts";
import type { VmxUnit } from "./vmx-unit.ts";

const blocking = { sti: 1, movSs: 2, nmi: 8 } as const;
const nmiInformation = interruptionBit.valid | (InterruptionType.Nmi << 8) | 2;
const notStarted = -1;
/** Controls under which the first boundary may exit though nothing new has happened. */
const mayExitAtOnce =
  primary.interruptWindowExiting | primary.nmiWindowExiting | primary.monitorTrapFlag;

export interface GuestEventsParts {
  readonly unit: VmxUnit;
  readonly exits: VmExits;
  readonly timer: PreemptionTimer;
  readonly apic: ApicVirtualization;
  readonly receiving: ReceivingGuests;
}

/** Events that exit between instructions, and the injection of events at VM entry. */
export class GuestEvents {
  readonly #unit: VmxUnit;
  readonly #exits: VmExits;
  readonly #timer: PreemptionTimer;
  readonly #apic: ApicVirtualization;
  readonly #receiving: ReceivingGuests;
  /** An MTF exit is due at the next boundary. */
  #isMtfPending = false;
  /** Steps (instructions, iterations of repeated ones) when the guest began, known from the first boundary on. */
  #stepsBefore = notStarted;
  /** The event being injected: no intercept asks about it. */
  #injected: DeliveredEvent | undefined;

  constructor(parts: GuestEventsParts) {
    this.#unit = parts.unit;
    this.#exits = parts.exits;
    this.#timer = parts.timer;
    this.#apic = parts.apic;
    this.#receiving = parts.receiving;
  }

  /** The guest begins: after its state is loaded, before anything is injected. */
  begin(): void {
    const { lp, controls, vmcs, isInitHeld } = this.#unit;
    // Whatever of the following asks for events takes it back.
    this.#receiving.quiet();
    this.beginPlain();
    if ((controls.pin & pin.activateVmxPreemptionTimer) !== 0) {
      this.#timer.start(vmcs.low(slot.preemptionTimerValue));
    }
    lp.clock.charge?.("vmEntry");
    if (this.#timer.hasExpired || isInitHeld || (controls.primary & mayExitAtOnce) !== 0) {
      lp.requestEvents();
    }
  }

  /** The part of `begin` for a guest that no control makes begin with an event. */
  beginPlain(): void {
    this.#isMtfPending = false;
    this.#stepsBefore = notStarted;
    this.#apic.begin();
  }

  // ——— injection

  /** @throws vmExitTaken */
  inject(event: DeliveredEvent): void {
    const { lp } = this.#unit;
    if (event.type === InterruptionType.Nmi) {
      lp.state.interruptibility |= blocking.nmi;
    }
    this.#injected = event;
    this.#unit.isInjecting = true;
    try {
      lp.deliver(event);
    } finally {
      this.#injected = undefined;
      this.#unit.isInjecting = false;
    }
    this.delivered();
  }
  isInjected(event: DeliveredEvent): boolean {
    return this.#injected === event;
  }

  // ——— monitor trap flag

  requestMtf(): void {
    this.#isMtfPending = true;
    this.#unit.lp.requestEvents();
  }
  /** An event has been delivered to the guest: the trap comes before the first instruction of its handler. */
  delivered(): void {
    if (this.#hasMonitorTrap() && this.#unit.isNonRoot) {
      this.requestMtf();
    }
  }
  get stepping(): boolean {
    return (
      this.#unit.isNonRoot && (this.#isMtfPending || this.#hasMonitorTrap() || this.#apic.isBusy)
    );
  }
  #hasMonitorTrap(): boolean {
    return (this.#unit.controls.primary & primary.monitorTrapFlag) !== 0;
  }
  /** The guest has executed something since it began, or since the last boundary. */
  #hasStepped(): boolean {
    const { lp } = this.#unit;
    const steps = lp.core.retired + lp.iterations;
    const hasStepped = this.#stepsBefore !== notStarted && this.#stepsBefore !== steps;
    this.#stepsBefore = steps;
    return hasStepped;
  }

  // ——— between instructions

  get deadline(): number | undefined {
    return this.#unit.isNonRoot ? this.#timer.deadline : undefined;
  }

  /**
   * Takes the event of highest priority that exits, if there is one. Not asked while the guest waits for a SIPI.
   * @param interruptPending the local APIC has a vector for the processor
   * @param nmiPending an NMI is latched
   * @returns whether a VM exit, a virtual interrupt or a posted-interrupt notification was taken
   */
  boundary(interruptPending: boolean, nmiPending: boolean): boolean {
    if (this.#apic.finish() || this.#init() || this.#monitorTrap()) {
      return true;
    }
    if (this.#hasDebugTrap()) {
      return false;
    }
    const hasTaken =
      this.#preemptionTimer() ||
      this.#nmiWindow() ||
      this.#nmi(nmiPending) ||
      this.#interruptWindow() ||
      this.#apic.deliver(nmiPending) ||
      this.#externalInterrupt(interruptPending);
    if (!hasTaken) {
      this.#receiving.quiet();
    }
    return hasTaken;
  }

  /** An INIT that was held back until the guest began. */
  #init(): boolean {
    const unit = this.#unit;
    if (!unit.isInitHeld) {
      return false;
    }
    unit.isInitHeld = false;
    this.#exits.between(exitReason.init);
    return true;
  }

  #monitorTrap(): boolean {
    const hasStepped = this.#hasStepped();
    if (!this.#isMtfPending && !(hasStepped && this.#hasMonitorTrap())) {
      return false;
    }
    this.#isMtfPending = false;
    this.#exits.between(exitReason.monitorTrapFlag);
    return true;
  }

  /** Traps of the instruction before go first; the processor delivers them and asks again. */
  #hasDebugTrap(): boolean {
    const { lp } = this.#unit;
    return lp.pendingDebug !== 0 && (lp.state.interruptibility & blocking.movSs) === 0;
  }

  #preemptionTimer(): boolean {
    if (!this.#timer.isRunning || !this.#timer.hasExpired) {
      return false;
    }
    this.#exits.between(exitReason.preemptionTimer);
    return true;
  }

  #nmiWindow(): boolean {
    const { lp, controls } = this.#unit;
    if ((controls.primary & primary.nmiWindowExiting) === 0) {
      return false;
    }
    if ((lp.state.interruptibility & (blocking.movSs | blocking.nmi)) !== 0) {
      lp.eventsHeldBack = true;
      return false;
    }
    this.#exits.between(exitReason.nmiWindow);
    return true;
  }

  #nmi(nmiPending: boolean): boolean {
    const { lp, controls } = this.#unit;
    if (!nmiPending || (controls.pin & pin.nmiExiting) === 0) {
      return false;
    }
    // Virtual NMI blocking is the guest's affair and does not hold back real NMIs. STI does, as it does outside of VMX.
    const ownBlocking = (controls.pin & pin.virtualNmis) !== 0 ? 0 : blocking.nmi;
    if ((lp.state.interruptibility & (blocking.sti | blocking.movSs | ownBlocking)) !== 0) {
      lp.eventsHeldBack = true;
      return false;
    }
    lp.unlatchNmi();
    this.#exits.between(exitReason.exceptionOrNmi, 0, nmiInformation >>> 0);
    return true;
  }

  #interruptWindow(): boolean {
    const { lp, controls } = this.#unit;
    if ((controls.primary & primary.interruptWindowExiting) === 0) {
      return false;
    }
    const isEnabled = (lp.state.read32(lpOffset.systemFlags) & flagBit.IF) !== 0;
    if (!isEnabled || !this.#canTakeInterrupts()) {
      lp.eventsHeldBack = true;
      return false;
    }
    this.#exits.between(exitReason.interruptWindow);
    return true;
  }

  /** RFLAGS.IF does not count when external interrupts exit. */
  #externalInterrupt(interruptPending: boolean): boolean {
    const { lp, controls } = this.#unit;
    const exits = (controls.pin & pin.externalInterruptExiting) !== 0;
    if (!interruptPending || !exits || !this.#canTakeInterrupts()) {
      return false;
    }
    const acknowledges = (controls.exit & exitControl.acknowledgeInterruptOnExit) !== 0;
    const vector = acknowledges ? lp.apic.acknowledge() : 0;
    if (acknowledges && this.#apic.takeNotification(vector)) {
      return true;
    }
    const information = acknowledges ? (vector | interruptionBit.valid) >>> 0 : 0;
    this.#exits.between(exitReason.externalInterrupt, 0, information);
    return true;
  }

  /** Nothing but RFLAGS.IF holds external interrupts back. */
  #canTakeInterrupts(): boolean {
    const { state } = this.#unit.lp;
    return (
      (state.interruptibility & (blocking.sti | blocking.movSs)) === 0 &&
      state.activity !== Activity.Shutdown
    );
  }
}
