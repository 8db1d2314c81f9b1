import { ApicMode } from "../../cpu/local-apic/registers.ts";
import type { LogicalProcessor } from "../../cpu/logical-processor.ts";
import { DeliveryMode, Shorthand } from "../../protocol/interrupt-message.ts";
import {
  claimNotification,
  destinationOf,
  notificationDestination,
  notificationVector,
  postRequest,
} from "../../protocol/posted-interrupt-descriptor.ts";
import { tertiary } from "../controls.ts";
import { slot } from "../vmcs-fields.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import type { VirtualInterrupts } from "./virtual-interrupts.ts";

/** Fields of the interrupt command register, low half. */
export const command = {
  vector: 0xff,
  /** Fixed delivery mode, not pending, edge; reserved bits. The shorthand is looked at by itself. */
  mustBeZero: 0xfff3_b700,
  logical: 1 << 11,
  shorthandShift: 18,
} as const;

/** Entry of the PID-pointer table. */
export const pointerBit = { valid: 1, reserved: 0x3e } as const;

/** Interrupt commands of the guest that need no exit: IPIs to itself, and "IPI Virtualization". */
export class VirtualIpis {
  readonly #unit: VmxUnit;
  readonly #interrupts: VirtualInterrupts;

  constructor(unit: VmxUnit, interrupts: VirtualInterrupts) {
    this.#unit = unit;
    this.#interrupts = interrupts;
  }

  get isUsed(): boolean {
    return (this.#unit.controls.tertiary & tertiary.ipiVirtualization) !== 0;
  }

  /**
   * @param low half of the command
   * @param destination virtual APIC id
   * @returns false when the command is not one of those: an APIC-write VM exit is due
   */
  send(low: number, destination: number): boolean {
    const vector = low & command.vector;
    const shorthand = (low >>> command.shorthandShift) & 3;
    if ((low & command.mustBeZero) !== 0 || vector >>> 4 === 0) {
      return false;
    }
    if (shorthand === Shorthand.Self && this.#interrupts.isUsed) {
      this.#interrupts.virtualizeSelfIpi(vector);
      return true;
    }
    const isPhysical = shorthand === Shorthand.None && (low & command.logical) === 0;
    return this.isUsed && isPhysical && this.#post(vector, destination);
  }

  #post(vector: number, destination: number): boolean {
    const { lp } = this.#unit;
    const descriptor = this.#descriptorOf(destination);
    if (descriptor < 0 || !lp.physical.isRam(descriptor)) {
      return false;
    }
    const words = lp.state.i32;
    const at = descriptor >>> 2;
    postRequest(words, at, vector);
    if (claimNotification(words, at)) {
      this.#notify(at);
    }
    lp.trace?.("ipi-virtualized", { lp: lp.index, vector, destination, descriptor });
    return true;
  }

  /** @returns address of the posted-interrupt descriptor of a virtual APIC id, -1 when the table has none */
  #descriptorOf(destination: number): number {
    const { lp, vmcs, profile } = this.#unit;
    if (destination > (vmcs.low(slot.lastPidPointerIndex) & 0xffff)) {
      return -1;
    }
    const entry = vmcs.address(slot.pidPointerTable) + destination * 8;
    const low = lp.physical.read32(entry);
    const high = lp.physical.read32(entry + 4);
    const isUsable =
      (low & (pointerBit.valid | pointerBit.reserved)) === pointerBit.valid &&
      (high & profile.physicalHighMask) === 0;
    return isUsable ? high * 0x1_0000_0000 + ((low & ~0x3f) >>> 0) : -1;
  }

  #notify(at: number): void {
    const { lp } = this.#unit;
    const words = lp.state.i32;
    const wide = lp.apic.mode === ApicMode.X2Apic;
    const destination = notificationDestination(words, at, wide);
    send(lp, destination, wide, notificationVector(words, at));
  }
}

/** A notification that a post owes. @param field NDST as it lies in the descriptor */
export function sendNotification(lp: LogicalProcessor, field: number, vector: number): void {
  const wide = lp.apic.mode === ApicMode.X2Apic;
  send(lp, destinationOf(field, wide), wide, vector);
}

function send(lp: LogicalProcessor, destination: number, wide: boolean, vector: number): void {
  lp.fabric.send({
    vector,
    deliveryMode: DeliveryMode.Fixed,
    logical: false,
    level: false,
    assert: true,
    shorthand: Shorthand.None,
    destination,
    wide,
    source: lp.index,
  });
}
