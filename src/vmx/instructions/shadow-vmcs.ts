/** VMREAD and VMWRITE of a guest that go to its shadow VMCS ("VMREAD—…" and "VMWRITE—…", operation in non-root operation). */

import { slot } from "../vmcs-fields.ts";
import type { VmxUnit } from "../vmx-unit.ts";

const allOnes = 0xffff_ffff;

/**
 * The VMCS whose fields VMREAD and VMWRITE are about: the current one, and for a guest the one that its VMCS links to.
 * @returns its physical address, or -1 when there is none
 */
export function accessedVmcs({ vmcs, isNonRoot }: VmxUnit): number {
  if (!isNonRoot) {
    return vmcs.currentPointer;
  }
  const isLinked =
    vmcs.low(slot.vmcsLinkPointer) !== allOnes || vmcs.high(slot.vmcsLinkPointer) !== allOnes;
  return isLinked ? vmcs.address(slot.vmcsLinkPointer) : -1;
}

/**
 * Makes the fields of that VMCS the ones at hand. A shadow VMCS is active together with the guest's own one, which stays the
 * current one as far as software can tell: nothing that may fault or fail is to be done before `closeVmcs`.
 * @returns what `closeVmcs` needs
 */
export function openVmcs({ vmcs }: VmxUnit, pointer: number): number {
  const current = vmcs.currentPointer;
  if (pointer !== current) {
    vmcs.load(pointer);
  }
  return current;
}
export function closeVmcs({ vmcs }: VmxUnit, current: number): void {
  if (vmcs.currentPointer !== current) {
    vmcs.load(current);
  }
}
