import type { Msr } from "../cpu/msr-register.ts";
import type { VmxProfile } from "./capabilities.ts";
import { vmxMsr } from "./reported-msrs.ts";

/** IA32_VMX_* of a profile: read-only, and reported as the profile says ("VMX Capability Reporting Facility"). */
export function capabilityMsrs(profile: VmxProfile): readonly Msr[] {
  return Object.entries(vmxMsr).flatMap(([name, address]) => {
    const value = profile.msrs.get(address);
    return value === undefined ? [] : [readOnlyMsr(address, msrName(name), value)];
  });
}

function readOnlyMsr(address: number, name: string, value: bigint): Msr {
  return { address, name, read: () => value, write: () => false };
}

/** `truePinbased` becomes IA32_VMX_TRUE_PINBASED and so on. */
function msrName(name: string): string {
  return `IA32_VMX_${name.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase()}`;
}
