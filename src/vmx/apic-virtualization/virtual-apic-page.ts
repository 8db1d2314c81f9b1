import { ApicRegister } from "../../cpu/local-apic/registers.ts";
import type { PhysicalAccess } from "../../cpu/physical-access.ts";

/** A set of 256 vectors in the page: VISR or VIRR. */
export type VectorSet = typeof ApicRegister.InService | typeof ApicRegister.InterruptRequest;

/** The virtual-APIC page of the current VMCS: memory of the host in which the guest's APIC registers live. */
export class VirtualApicPage {
  readonly #physical: PhysicalAccess;
  /** Host-physical address. */
  address = 0;

  constructor(physical: PhysicalAccess) {
    this.#physical = physical;
  }

  /** A register as u32. @param offset multiple of 4 */
  read(offset: number): number {
    return this.#physical.read32(this.address + offset);
  }
  write(offset: number, value: number): void {
    this.#physical.write32(this.address + offset, value >>> 0);
  }

  /** Bits 7:0 of VTPR. */
  get taskPriority(): number {
    return this.read(ApicRegister.TaskPriority) & 0xff;
  }

  add(set: VectorSet, vector: number): void {
    this.addGroup(set, vector >>> 5, 1 << (vector & 31));
  }
  /** Adds vectors 32 × group and up, one bit each. */
  addGroup(set: VectorSet, group: number, bits: number): void {
    const offset = set + group * 16;
    this.write(offset, this.read(offset) | bits);
  }
  remove(set: VectorSet, vector: number): void {
    const offset = set + (vector >>> 5) * 16;
    this.write(offset, this.read(offset) & ~(1 << (vector & 31)));
  }
  /** Highest vector of a set, 0 when it is empty. */
  highest(set: VectorSet): number {
    for (let group = 7; group >= 0; group--) {
      const bits = this.read(set + group * 16);
      if (bits !== 0) {
        return group * 32 + 31 - Math.clz32(bits);
      }
    }
    return 0;
  }
}
