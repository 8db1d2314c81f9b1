import { joinHalves } from "../../cpu/halves.ts";
import { ApicRegister, x2apicMsrBase, x2apicMsrLast } from "../../cpu/local-apic/registers.ts";
import { flagBit } from "../../cpu/register-bits.ts";
import { generalProtection } from "../../cpu/trap.ts";
import { Activity, lpOffset } from "../../execution/lp-window.ts";
import { pin, primary, secondary } from "../controls.ts";
import type { VmExits } from "../exit.ts";
import { highHalf, lowHalf } from "../halves.ts";
import { slot } from "../vmcs-fields.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import { ApicAccessPage } from "./apic-access-page.ts";
import { PostedInterrupts } from "./posted-interrupts.ts";
import { TrapLikeExit } from "./trap-like-exit.ts";
import { VirtualApicPage } from "./virtual-apic-page.ts";
import { VirtualInterrupts } from "./virtual-interrupts.ts";
import { VirtualIpis } from "./virtual-ipis.ts";

const blocking = { sti: 1, movSs: 2, nmi: 8 } as const;
const byte = 0xff;
/** Controls under which a VM entry has something to do here. */
const virtualizes = secondary.virtualInterruptDelivery | secondary.virtualizeApicAccesses;

/** The local APIC as the guest of one LP meets it ("APIC Virtualization and Virtual Interrupts"). */
export class ApicVirtualization {
  readonly #unit: VmxUnit;
  readonly #exits: VmExits;
  readonly #page: VirtualApicPage;
  readonly #exit = new TrapLikeExit();
  readonly #interrupts: VirtualInterrupts;
  readonly #posted: PostedInterrupts;
  readonly #ipis: VirtualIpis;
  /** What linear memory asks about accesses to the APIC-access page. */
  readonly accessPage: ApicAccessPage;

  constructor(unit: VmxUnit, exits: VmExits) {
    this.#unit = unit;
    this.#exits = exits;
    this.#page = new VirtualApicPage(unit.lp.physical);
    this.#interrupts = new VirtualInterrupts(unit, this.#page, this.#exit);
    this.#posted = new PostedInterrupts(unit, this.#page, this.#interrupts);
    this.#ipis = new VirtualIpis(unit, this.#interrupts);
    this.accessPage = new ApicAccessPage(unit, exits, this.#page);
  }

  // ——— VM entry

  /** The guest begins: its state is loaded, nothing has been injected yet. */
  begin(): void {
    const { lp, vmcs, controls } = this.#unit;
    this.accessPage.takeWrite();
    this.#exit.take();
    this.#interrupts.isRecognized = false;
    if ((controls.primary & primary.useTprShadow) === 0) {
      return;
    }
    this.#page.address = vmcs.address(slot.virtualApicAddress);
    if ((controls.secondary & virtualizes) === 0) {
      return;
    }
    if (this.#interrupts.isUsed) {
      this.#interrupts.virtualizePpr();
      this.#interrupts.evaluate();
    } else if (this.#interrupts.isTprBelowThreshold) {
      this.#exit.tprBelowThreshold();
    }
    if (this.#isPending()) {
      lp.requestEvents();
    }
  }

  #isPending(): boolean {
    return this.#interrupts.isRecognized || this.#exit.isOwed;
  }

  // ——— instructions

  /** MOV from CR8. @param value of the task priority without virtualization */
  readCr8(value: bigint): bigint {
    return this.#hasShadow() ? BigInt(this.#page.taskPriority >>> 4) : value;
  }
  /** MOV to CR8. @returns what is to be loaded, false when nothing is. @throws #GP(0) */
  writeCr8(value: bigint): false | { readonly load: bigint } {
    if (!this.#hasShadow()) {
      return { load: value };
    }
    if (value > 0xfn) {
      throw generalProtection();
    }
    this.#page.write(ApicRegister.TaskPriority, Number(value) << 4);
    this.#interrupts.virtualizeTpr();
    this.#acted();
    return false;
  }
  #hasShadow(): boolean {
    return (this.#unit.controls.primary & primary.useTprShadow) !== 0;
  }

  /** RDMSR that does not exit. @returns undefined when the register is not a virtual one */
  readMsr(index: number): bigint | undefined {
    if (!this.#isVirtualMsr(index)) {
      return undefined;
    }
    const offset = (index & byte) << 4;
    const { controls } = this.#unit;
    const all = (controls.secondary & secondary.apicRegisterVirtualization) !== 0;
    return all || offset === ApicRegister.TaskPriority
      ? joinHalves(this.#page.read(offset), this.#page.read(offset + 4))
      : undefined;
  }
  /** WRMSR that does not exit. @returns false when the register is not a virtual one. @throws #GP(0) */
  writeMsr(index: number, value: bigint): boolean {
    if (!this.#isVirtualMsr(index)) {
      return false;
    }
    const isDone = this.#writeRegister((index & byte) << 4, lowHalf(value), highHalf(value));
    if (isDone) {
      this.#acted();
    }
    return isDone;
  }
  #isVirtualMsr(index: number): boolean {
    return (
      index >= x2apicMsrBase &&
      index <= x2apicMsrLast &&
      (this.#unit.controls.secondary & secondary.virtualizeX2apicMode) !== 0
    );
  }

  /** "Virtualizing MSR-Based APIC Accesses". */
  #writeRegister(offset: number, low: number, high: number): boolean {
    const delivers = this.#interrupts.isUsed;
    if (offset === ApicRegister.TaskPriority) {
      this.#store(offset, low, high, byte);
      this.#interrupts.virtualizeTpr();
      return true;
    }
    if (offset === ApicRegister.EndOfInterrupt && delivers) {
      this.#store(offset, low, high, 0);
      this.#interrupts.virtualizeEoi();
      return true;
    }
    if (offset === ApicRegister.SelfIpi && delivers) {
      this.#selfIpi(low, high);
      return true;
    }
    if (offset === ApicRegister.CommandLow && this.#ipis.isUsed) {
      this.#page.write(offset, low);
      this.#page.write(offset + 4, high);
      this.#command(low, high);
      return true;
    }
    return false;
  }
  /** @param allowed bits that may be 1 */
  #store(offset: number, low: number, high: number, allowed: number): void {
    if (high !== 0 || (low & ~allowed) !== 0) {
      throw generalProtection();
    }
    this.#page.write(offset, low);
    this.#page.write(offset + 4, 0);
  }
  #selfIpi(low: number, high: number): void {
    this.#store(ApicRegister.SelfIpi, low, high, byte);
    if (low >>> 4 === 0) {
      this.#exit.apicWrite(ApicRegister.SelfIpi);
    } else {
      this.#interrupts.virtualizeSelfIpi(low);
    }
  }
  #command(low: number, destination: number): void {
    if (!this.#ipis.send(low, destination)) {
      this.#exit.apicWrite(ApicRegister.CommandLow);
    }
  }

  /** An instruction has been virtualized: what it has brought about comes right behind it. */
  #acted(): void {
    if (this.#isPending()) {
      this.#unit.lp.requestEvents();
    }
  }

  // ——— between instructions

  /** The next boundary is not to be missed, and comes before debug traps. */
  get isBusy(): boolean {
    return this.accessPage.isBusy || this.#exit.isOwed;
  }

  /** "APIC-Write Emulation", and the exits that come behind an instruction. @returns whether a VM exit was taken */
  finish(): boolean {
    const offset = this.accessPage.takeWrite();
    if (offset >= 0) {
      this.#emulateWrite(offset);
    }
    if (!this.#exit.isOwed) {
      return false;
    }
    const { qualification } = this.#exit;
    this.#exits.between(this.#exit.take(), qualification);
    return true;
  }

  #emulateWrite(offset: number): void {
    const page = this.#page;
    switch (offset) {
      case ApicRegister.TaskPriority:
        page.write(offset, page.read(offset) & byte);
        this.#interrupts.virtualizeTpr();
        return;
      case ApicRegister.EndOfInterrupt:
        if (this.#interrupts.isUsed) {
          page.write(offset, 0);
          this.#interrupts.virtualizeEoi();
          return;
        }
        break;
      case ApicRegister.CommandLow:
        this.#command(page.read(offset), page.read(ApicRegister.CommandHigh) >>> 24);
        return;
      case ApicRegister.CommandHigh:
        page.write(offset, page.read(offset) & 0xff00_0000);
        return;
      default:
    }
    this.#exit.apicWrite(offset);
  }

  /**
   * Delivers the virtual interrupt that is recognized, unless something blocks it or a real NMI goes first.
   * @param nmiPending an NMI is latched
   * @returns whether there was one
   * @throws vmExitTaken
   */
  deliver(nmiPending: boolean): boolean {
    if (!this.#interrupts.isRecognized) {
      return false;
    }
    const { lp } = this.#unit;
    const { state } = lp;
    if (state.activity === Activity.Shutdown || (nmiPending && this.#nmiGoesFirst())) {
      return false;
    }
    const isEnabled = (state.read32(lpOffset.systemFlags) & flagBit.IF) !== 0;
    if (!isEnabled || (state.interruptibility & (blocking.sti | blocking.movSs)) !== 0) {
      lp.eventsHeldBack = true;
      return false;
    }
    state.activity = Activity.Active;
    const vector = this.#interrupts.takeIntoService();
    lp.trace?.("virtual-interrupt", { lp: lp.index, vector, rip: state.rip });
    lp.deliver({
      vector,
      type: 0,
      errorCode: undefined,
      instructionLength: 0,
      qualification: 0n,
    });
    return true;
  }
  /** NMIs that do not exit and are not blocked are delivered by the processor. */
  #nmiGoesFirst(): boolean {
    const { lp, controls } = this.#unit;
    return (
      (controls.pin & pin.nmiExiting) === 0 && (lp.state.interruptibility & blocking.nmi) === 0
    );
  }

  /** @param vector of an external interrupt that has been acknowledged. @returns whether it was a notification */
  takeNotification(vector: number): boolean {
    const isNotification = this.#posted.isNotification(vector);
    if (isNotification) {
      this.#posted.process();
    }
    return isNotification;
  }
}
