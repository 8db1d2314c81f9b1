import { lpOffset } from "../../execution/lp-window.ts";
import { exitControl, pin, primary, secondary, tertiary } from "../controls.ts";
import { slot } from "../vmcs-fields.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { ability, assistantOffset } from "./assistant-window.ts";

const pageBytes = 4096;
const needed = {
  pin: pin.externalInterruptExiting | pin.processPostedInterrupts,
  primary: primary.useTprShadow | primary.useMsrBitmaps,
  secondary: secondary.virtualInterruptDelivery,
  exit: exitControl.acknowledgeInterruptOnExit,
} as const;
/** Controls under which a boundary between instructions may have more to it than interrupts. */
const forbidden = {
  pin: pin.activateVmxPreemptionTimer,
  primary: primary.interruptWindowExiting | primary.nmiWindowExiting | primary.monitorTrapFlag,
} as const;

/**
 * Decides which guests get their posted interrupts without TypeScript (`notificationAttendant`, `wrmsrAssistant`).
 *
 * A guest's controls do not change while it runs; so it is enough to look when it begins, and when a boundary has been found to
 * be without events. From then on the attendant looks for itself at what does change. It is dismissed as soon as anybody in TypeScript asks for
 * events (`LogicalProcessor.requestEvents`), and when the guest is left.
 *
 * Virtual time has a price for events, which TypeScript charges: on a machine that has it, everything stays there. So it does
 * with somebody listening to the trace.
 */
export class ReceivingGuests {
  readonly #unit: VmxUnit;
  readonly #attendant: number;
  readonly #isPossible: boolean;

  /** @param attendant its place in the core's table, 0 when there is none */
  constructor(unit: VmxUnit, attendant: number) {
    const { lp } = unit;
    this.#unit = unit;
    this.#attendant = attendant;
    this.#isPossible = attendant !== 0 && lp.trace === undefined && lp.clock.charge === undefined;
  }

  /** The guest begins, or a boundary between its instructions is without events. */
  quiet(): void {
    const { state } = this.#unit.lp;
    const isAdmitted =
      state.read32(lpOffset.attendant) !== 0 && state.read32(assistantOffset.receiving) !== 0;
    if (this.#isPossible && !isAdmitted) {
      this.#admit();
    }
  }

  #admit(): void {
    const { lp, vmcs, controls } = this.#unit;
    if (!this.#hasPostedInterrupts() || !this.#isReachable()) {
      return;
    }
    const usesX2apic = (controls.secondary & secondary.virtualizeX2apicMode) !== 0;
    const sendsIpis = (controls.tertiary & tertiary.ipiVirtualization) !== 0;
    const abilities = (usesX2apic ? ability.x2apicRegisters : 0) | (sendsIpis ? ability.ipis : 0);
    lp.state.write32(assistantOffset.abilities, abilities);
    lp.state.write32(assistantOffset.receiving, vmcs.location);
    lp.state.write32(lpOffset.attendant, this.#attendant);
  }

  #hasPostedInterrupts(): boolean {
    const { controls } = this.#unit;
    return (
      (controls.pin & (needed.pin | forbidden.pin)) === needed.pin &&
      (controls.primary & (needed.primary | forbidden.primary)) === needed.primary &&
      (controls.secondary & needed.secondary) === needed.secondary &&
      (controls.exit & needed.exit) === needed.exit
    );
  }

  /** What the attendant reaches by its address is RAM. */
  #isReachable(): boolean {
    const { lp, vmcs } = this.#unit;
    const pages = [slot.virtualApicAddress, slot.msrBitmaps, slot.postedInterruptDescriptor];
    return pages.every((position) => {
      const address = vmcs.address(position);
      return lp.physical.isRam(address - (address % pageBytes) + pageBytes - 1);
    });
  }
}
