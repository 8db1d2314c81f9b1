import { ApicRegister } from "../../cpu/local-apic/registers.ts";
import { assistantOffset } from "../assistants/assistant-window.ts";
import { primary, secondary } from "../controls.ts";
import { slot } from "../vmcs-fields.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import type { TrapLikeExit } from "./trap-like-exit.ts";
import type { VirtualApicPage } from "./virtual-apic-page.ts";

const recognized = assistantOffset.recognized >>> 2;
const priorityClass = (priority: number): number => priority >>> 4;

/**
 * Virtual interrupts of the guest ("Evaluation and Delivery of Virtual Interrupts" and "Virtualizing APIC Registers"): requests
 * are in VIRR, RVI is the highest of them; what is in service is in VISR, SVI the highest of it. RVI and SVI are the guest
 * interrupt status of the VMCS.
 */
export class VirtualInterrupts {
  readonly #unit: VmxUnit;
  readonly #page: VirtualApicPage;
  readonly #exit: TrapLikeExit;
  constructor(unit: VmxUnit, page: VirtualApicPage, exit: TrapLikeExit) {
    this.#unit = unit;
    this.#page = page;
    this.#exit = exit;
  }

  /** A pending virtual interrupt is recognized: it is delivered as soon as nothing blocks it. */
  get isRecognized(): boolean {
    return this.#unit.vmcs.u32[recognized] !== 0;
  }
  set isRecognized(isRecognized: boolean) {
    this.#unit.vmcs.u32[recognized] = isRecognized ? 1 : 0;
  }

  /** Virtual-interrupt delivery is in use. */
  get isUsed(): boolean {
    return (this.#unit.controls.secondary & secondary.virtualInterruptDelivery) !== 0;
  }

  /** Requesting virtual interrupt. */
  get rvi(): number {
    return this.#unit.vmcs.low(slot.guestInterruptStatus) & 0xff;
  }
  /** Servicing virtual interrupt. */
  get svi(): number {
    return (this.#unit.vmcs.low(slot.guestInterruptStatus) >>> 8) & 0xff;
  }
  #setStatus(rvi: number, svi: number): void {
    this.#unit.vmcs.write32(slot.guestInterruptStatus, rvi | (svi << 8));
  }

  // ——— virtualization of registers

  /** "TPR Virtualization": VTPR has been written. */
  virtualizeTpr(): void {
    if (this.isUsed) {
      this.virtualizePpr();
      this.evaluate();
    } else if (this.isTprBelowThreshold) {
      this.#exit.tprBelowThreshold();
    }
  }
  get isTprBelowThreshold(): boolean {
    const threshold = this.#unit.vmcs.low(slot.tprThreshold) & 0xf;
    return priorityClass(this.#page.taskPriority) < threshold;
  }

  /** "PPR Virtualization". */
  virtualizePpr(): void {
    const task = this.#page.taskPriority;
    const { svi } = this;
    const priority = priorityClass(task) >= priorityClass(svi) ? task : svi & 0xf0;
    this.#page.write(ApicRegister.ProcessorPriority, priority);
  }

  /** "EOI Virtualization". */
  virtualizeEoi(): void {
    const vector = this.svi;
    this.#page.remove(ApicRegister.InService, vector);
    this.#setStatus(this.rvi, this.#page.highest(ApicRegister.InService));
    this.virtualizePpr();
    if (this.#exitsOnEoi(vector)) {
      this.#exit.virtualizedEoi(vector);
    } else {
      this.evaluate();
    }
  }
  #exitsOnEoi(vector: number): boolean {
    const bits = this.#unit.vmcs.low(slot.eoiExitBitmap0 + (vector >>> 5));
    return ((bits >>> (vector & 31)) & 1) !== 0;
  }

  /** "Self-IPI Virtualization". */
  virtualizeSelfIpi(vector: number): void {
    this.#page.add(ApicRegister.InterruptRequest, vector);
    this.raise(vector);
    this.evaluate();
  }

  /** RVI ← the higher of itself and a vector whose request has been entered into VIRR. */
  raise(vector: number): void {
    const { rvi } = this;
    if (vector > rvi) {
      this.#setStatus(vector, this.svi);
    }
  }

  // ——— evaluation and delivery

  /** "Evaluation of Pending Virtual Interrupts": at the moments the architecture names, never because memory has changed. */
  evaluate(): void {
    const { controls } = this.#unit;
    const current = this.#page.read(ApicRegister.ProcessorPriority) & 0xff;
    this.isRecognized =
      (controls.primary & primary.interruptWindowExiting) === 0 &&
      priorityClass(this.rvi) > priorityClass(current);
  }

  /** "Virtual-Interrupt Delivery": RVI moves into service. @returns the vector to deliver through the guest's IDT */
  takeIntoService(): number {
    const vector = this.rvi;
    const page = this.#page;
    page.add(ApicRegister.InService, vector);
    page.write(ApicRegister.ProcessorPriority, vector & 0xf0);
    page.remove(ApicRegister.InterruptRequest, vector);
    this.#setStatus(page.highest(ApicRegister.InterruptRequest), vector);
    this.isRecognized = false;
    return vector;
  }
}
