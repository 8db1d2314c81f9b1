import type { Msr } from "../cpu/msr-register.ts";
import type { VmxProfile } from "./capabilities.ts";
import { vmxMsr } from "./reported-msrs.ts";

/** The manual's names. */
const names: Readonly<Record<keyof typeof vmxMsr, string>> = {
  basic: "IA32_VMX_BASIC",
  pinbased: "IA32_VMX_PINBASED_CTLS",
  procbased: "IA32_VMX_PROCBASED_CTLS",
  exit: "IA32_VMX_EXIT_CTLS",
  entry: "IA32_VMX_ENTRY_CTLS",
  misc: "IA32_VMX_MISC",
  cr0Fixed0: "IA32_VMX_CR0_FIXED0",
  cr0Fixed1: "IA32_VMX_CR0_FIXED1",
  cr4Fixed0: "IA32_VMX_CR4_FIXED0",
  cr4Fixed1: "IA32_VMX_CR4_FIXED1",
  vmcsEnum: "IA32_VMX_VMCS_ENUM",
  procbased2: "IA32_VMX_PROCBASED_CTLS2",
  eptVpidCap: "IA32_VMX_EPT_VPID_CAP",
  truePinbased: "IA32_VMX_TRUE_PINBASED_CTLS",
  trueProcbased: "IA32_VMX_TRUE_PROCBASED_CTLS",
  trueExit: "IA32_VMX_TRUE_EXIT_CTLS",
  trueEntry: "IA32_VMX_TRUE_ENTRY_CTLS",
  vmfunc: "IA32_VMX_VMFUNC",
  procbased3: "IA32_VMX_PROCBASED_CTLS3",
  exit2: "IA32_VMX_EXIT_CTLS2",
};

/** IA32_VMX_* of a profile: read-only, and reported as the profile says ("VMX Capability Reporting Facility"). */
export function capabilityMsrs(profile: VmxProfile): readonly Msr[] {
  return Object.entries(vmxMsr).flatMap(([name, address]) => {
    const value = profile.msrs.get(address);
    return value === undefined
      ? []
      : [readOnlyMsr(address, names[name as keyof typeof vmxMsr], value)];
  });
}

function readOnlyMsr(address: number, name: string, value: bigint): Msr {
  return { address, name, read: () => value, write: () => false };
}
