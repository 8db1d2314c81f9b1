import type { CostKey } from "../../hypervisor/costs/cost-profile.ts";
import type { CycleCosts } from "../cycle-costs.ts";

/**
 * The prices of a cost profile that the machine itself charges. An instruction of a script costs nothing beside its entry in the
 * profile.
 */
export function cycleCosts(of: Readonly<Record<CostKey, number>>): CycleCosts {
  return {
    instruction: 1,
    deviceAccess: of["operation.PortIn"],
    vmEntry: of["vmx.entry"],
    vmExit: of["vmx.exit"],
    eventDelivery: of["event.delivery"],
    cacheFlush: 0,
    interruptSent: of["ipi.send"],
    lockedAccess: of["operation.ExchangeAdd"],
    cpuid: of["operation.Cpuid"],
    rdmsr: of["operation.ReadMsr"],
    wrmsr: of["operation.WriteMsr"],
    pause: of["operation.Pause"],
    vmread: of["operation.VmRead"],
    vmwrite: of["operation.VmWrite"],
    vmptrld: of["operation.VmPtrLoad"],
    vmclear: of["operation.VmClear"],
    invept: of["operation.InvalidateEpt"],
    invvpid: of["operation.InvalidateVpid"],
  };
}
