import type { PageWatcher } from "../../cpu/ports.ts";
import { vmExitTaken } from "../../cpu/trap.ts";
import { codeMode } from "../../execution/code-mode.ts";
import { AccessKind } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { primary, secondary, tertiary } from "../controls.ts";
import type { VmExits } from "../exit.ts";
import { exitReason } from "../exit-reasons.ts";
import { interruptInstruction } from "../interrupted-instruction.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { type AccessControls, isReadVirtualized, isWriteVirtualized } from "./register-accesses.ts";
import type { VirtualApicPage } from "./virtual-apic-page.ts";

/** Access type of an APIC-access exit, bits 15:12 of the qualification. */
const ApicAccess = {
  LinearRead: 0,
  LinearWrite: 1,
  LinearFetch: 2,
  LinearDelivery: 3,
  GuestPhysicalDelivery: 10,
  GuestPhysical: 15,
} as const;
const accessTypeShift = 12;
const none = -1;

/**
 * Accesses to the APIC-access page ("Virtualizing Memory-Mapped APIC Accesses"). The page never gets into the TLB, so each
 * access comes here: it exits, or goes to the virtual-APIC page instead.
 *
 * What a virtualized write brings about comes behind the instruction, before the next one. The core looks at events only
 * between blocks of instructions; therefore the instruction is unwound once and executed again by itself.
 */
export class ApicAccessPage implements PageWatcher {
  readonly #unit: VmxUnit;
  readonly #exits: VmExits;
  readonly #page: VirtualApicPage;
  /** Offset of the virtualized write of the instruction in progress, or -1. */
  #written = none;
  /** The next instruction is to be executed by itself. */
  #steps = false;
  readonly #controls: { -readonly [K in keyof AccessControls]: AccessControls[K] } = {
    registerVirtualization: false,
    interruptDelivery: false,
    ipiVirtualization: false,
  };

  constructor(unit: VmxUnit, exits: VmExits, page: VirtualApicPage) {
    this.#unit = unit;
    this.#exits = exits;
    this.#page = page;
  }

  /** Something is to be done at the boundary behind the instruction, or must not miss it. */
  get isBusy(): boolean {
    return this.#steps || this.#written !== none;
  }
  /** A guest begins, or a boundary has been reached. @returns offset of the write to act on, -1 when there was none */
  takeWrite(): number {
    const offset = this.#written;
    this.#written = none;
    this.#steps = false;
    return offset;
  }

  access(offset: number, size: number, kind: number): number {
    const { lp } = this.#unit;
    const isWrite = kind !== AccessKind.Read;
    if (lp.delivering !== undefined) {
      this.#exit(offset, ApicAccess.LinearDelivery);
    }
    if (!this.#isVirtualized(offset, size, kind)) {
      this.#exit(offset, isWrite ? ApicAccess.LinearWrite : ApicAccess.LinearRead);
    }
    if (isWrite) {
      this.#write(offset);
    }
    return this.#page.address + offset;
  }
  fetch(offset: number): never {
    this.#exit(offset, ApicAccess.LinearFetch);
  }
  guestPhysical(): never {
    const { delivering } = this.#unit.lp;
    const isDelivery = delivering !== undefined;
    this.#exit(0, isDelivery ? ApicAccess.GuestPhysicalDelivery : ApicAccess.GuestPhysical);
  }

  #isVirtualized(offset: number, size: number, kind: number): boolean {
    const unit = this.#unit;
    // A second access of an instruction whose write was virtualized exits.
    if ((unit.controls.primary & primary.useTprShadow) === 0 || this.#written !== none) {
      return false;
    }
    const controls = this.#controls;
    const { secondary: word, tertiary: third } = unit.controls;
    controls.registerVirtualization = (word & secondary.apicRegisterVirtualization) !== 0;
    controls.interruptDelivery = (word & secondary.virtualInterruptDelivery) !== 0;
    controls.ipiVirtualization = (third & tertiary.ipiVirtualization) !== 0;
    return (
      (kind === AccessKind.Write || isReadVirtualized(controls, offset, size)) &&
      (kind === AccessKind.Read || isWriteVirtualized(controls, offset, size))
    );
  }

  #write(offset: number): void {
    const { lp } = this.#unit;
    const isAlone = (lp.state.read32(lpOffset.codeMode) & codeMode.single) !== 0;
    if (!isAlone) {
      this.#steps = true;
      throw vmExitTaken;
    }
    this.#written = offset;
    lp.requestEvents();
  }

  #exit(offset: number, type: number): never {
    const length = interruptInstruction(this.#unit);
    const qualification = offset | (type << accessTypeShift);
    this.#exits.fault(exitReason.apicAccess, qualification, 0, length);
    throw vmExitTaken;
  }
}
