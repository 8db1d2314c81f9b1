import {
  rdmsr,
  readControl,
  type ScriptEnvironment,
  type Steps,
  store,
  VmxResult,
  vmxoff,
  vmxon,
  writeControl,
  wrmsr,
} from "../../isa/operations.ts";
import { msr } from "./architecture.ts";

const cr4Vmxe = 1n << 13n;
const featureLock = 1n;
const featureVmxOutsideSmx = 4n;
const x2apicEnable = 0xc00n;
const apicSoftwareEnable = 0x100n;
const spuriousVector = 0xffn;

/** Something the hypervisor relies on is not as it must be; the run ends. */
export class HypervisorError extends Error {
  override readonly name = "HypervisorError";
}

/** The local APIC of this LP in x2APIC mode, enabled. */
export function* enableApic(): Steps<void> {
  const base = yield rdmsr(msr.apicBase);
  yield wrmsr(msr.apicBase, base | x2apicEnable);
  yield wrmsr(msr.x2apicSpurious, apicSoftwareEnable | spuriousVector);
}

/** The revision identifier that VMXON regions and VMCSs of this processor begin with. */
export function* vmcsRevision(): Steps<bigint> {
  return (yield rdmsr(msr.vmxBasic)) & 0x7fff_ffffn;
}

/**
 * Takes this LP into VMX operation ("Enabling and Entering VMX Operation").
 * @param region physical address of a page for the processor's own use
 */
export function* enterVmxOperation(environment: ScriptEnvironment, region: bigint): Steps<void> {
  const feature = yield rdmsr(msr.featureControl);
  if ((feature & featureLock) === 0n) {
    yield wrmsr(msr.featureControl, feature | featureLock | featureVmxOutsideSmx);
  }
  const cr0 = yield readControl(0);
  yield writeControl(0, (cr0 | (yield rdmsr(msr.cr0Fixed0))) & (yield rdmsr(msr.cr0Fixed1)));
  const cr4 = (yield readControl(4)) | cr4Vmxe;
  yield writeControl(4, (cr4 | (yield rdmsr(msr.cr4Fixed0))) & (yield rdmsr(msr.cr4Fixed1)));
  yield store(region, 4, yield* vmcsRevision());
  if ((yield vmxon(region)) !== VmxResult.Success) {
    throw new HypervisorError(`VMXON failed on LP ${environment.lp}`);
  }
}

/** Leaves VMX operation. Every VMCS active here must have been cleared. */
export function* leaveVmxOperation(): Steps<void> {
  yield vmxoff();
  yield writeControl(4, (yield readControl(4)) & ~cr4Vmxe);
}
