import type { CurrentFields } from "../cpu/ports.ts";
import { highBitsOf, isReadOnly, lowBitsOf } from "./instructions/field-operand.ts";
import { slotOfEncoding } from "./vmcs-fields.ts";
import type { VmxUnit } from "./vmx-unit.ts";

/** VMREAD and VMWRITE of scripts where the instructions would do nothing but move words. */
export class OwnFields implements CurrentFields {
  readonly #unit: VmxUnit;

  constructor(unit: VmxUnit) {
    this.#unit = unit;
  }

  get isOpen(): boolean {
    const { lp, vmcs, isOn, isNonRoot } = this.#unit;
    const isAccessible = isOn && !isNonRoot && vmcs.hasCurrent;
    return isAccessible && lp.trace === undefined && lp.is64Bit && lp.state.cpl === 0;
  }

  find(encoding: number): number {
    const position = (encoding & 1) !== 0 ? -1 : slotOfEncoding(encoding);
    return position >= 0 && this.#unit.profile.fieldExists[position] !== 0 ? position : -1;
  }
  findWritable(encoding: number): number {
    const position = this.find(encoding);
    const isWritable = this.#unit.profile.writesReadOnlyFields || !isReadOnly(position);
    return position >= 0 && isWritable ? position : -1;
  }

  low(position: number): number {
    this.#unit.succeed();
    return this.#unit.vmcs.low(position);
  }
  high(position: number): number {
    return this.#unit.vmcs.high(position);
  }
  write(position: number, low: number, high: number): void {
    this.#unit.vmcs.write(position, low & lowBitsOf(position), high & highBitsOf(position));
    this.#unit.succeed();
  }
}
