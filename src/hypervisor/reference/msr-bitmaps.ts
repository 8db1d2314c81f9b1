import type { HypervisorFeatures } from "../scenario.ts";
import { msr } from "../vmx/architecture.ts";

const writes = 0x800;
const firstApicRegister = 0x800;
const lastApicRegister = 0x8ff;

/**
 * The MSR bitmaps of all vCPUs ("MSR-Bitmap Address"): what a guest may not access by itself. Its local APIC when that is emulated; of
 * a virtualized one the interrupt command register unless IPIs are virtualized too; the deadline of its timer in any case.
 */
export function writeMsrBitmaps(page: Uint8Array, features: HypervisorFeatures): void {
  const intercept = (base: number, index: number): void => {
    const at = base + (index >>> 3);
    page[at] = (page[at] ?? 0) | (1 << (index & 7));
  };
  intercept(writes, msr.tscDeadline);
  if (!features.posting) {
    for (let index = firstApicRegister; index <= lastApicRegister; index++) {
      intercept(0, index);
      intercept(writes, index);
    }
  } else if (!features.ipiVirtualization) {
    intercept(writes, msr.x2apicCommand);
  }
}
