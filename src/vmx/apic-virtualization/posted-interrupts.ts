import { ApicRegister } from "../../cpu/local-apic/registers.ts";
import {
  clearOutstanding,
  requestGroups,
  takeRequests,
} from "../../protocol/posted-interrupt-descriptor.ts";
import { pin } from "../controls.ts";
import { slot } from "../vmcs-fields.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import type { VirtualApicPage } from "./virtual-apic-page.ts";
import type { VirtualInterrupts } from "./virtual-interrupts.ts";

/** "Posted-Interrupt Processing" of one LP. */
export class PostedInterrupts {
  readonly #unit: VmxUnit;
  readonly #page: VirtualApicPage;
  readonly #interrupts: VirtualInterrupts;

  constructor(unit: VmxUnit, page: VirtualApicPage, interrupts: VirtualInterrupts) {
    this.#unit = unit;
    this.#page = page;
    this.#interrupts = interrupts;
  }

  /** @param vector of an external interrupt that has been acknowledged */
  isNotification(vector: number): boolean {
    const { controls, vmcs } = this.#unit;
    return (
      (controls.pin & pin.processPostedInterrupts) !== 0 &&
      vector === (vmcs.low(slot.postedInterruptVector) & 0xff)
    );
  }

  /**
   * The notification has come: what is posted becomes requests of the guest. Nothing of the guest happens in between, and the
   * guest's activity state stays as it is.
   */
  process(): void {
    const { lp, vmcs } = this.#unit;
    const descriptor = vmcs.address(slot.postedInterruptDescriptor);
    const isReachable = lp.physical.isRam(descriptor);
    const at = descriptor >>> 2;
    if (isReachable) {
      clearOutstanding(lp.state.i32, at);
    }
    lp.apic.endOfInterrupt();
    if (isReachable) {
      this.#takeAll(at);
    }
    this.#interrupts.evaluate();
    lp.trace?.("posted-interrupts", {
      lp: lp.index,
      vmcs: vmcs.currentPointer,
      rvi: this.#interrupts.rvi,
    });
  }

  /** VIRR gets PIR, PIR is emptied, RVI rises to the highest request found. */
  #takeAll(at: number): void {
    const { i32 } = this.#unit.lp.state;
    for (let group = 0; group < requestGroups; group++) {
      const bits = takeRequests(i32, at, group);
      if (bits !== 0) {
        this.#page.addGroup(ApicRegister.InterruptRequest, group, bits);
        this.#interrupts.raise(group * 32 + 31 - Math.clz32(bits));
      }
    }
  }
}
