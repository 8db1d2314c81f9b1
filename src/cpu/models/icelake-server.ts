import type { CpuModel } from "./cpu-model.ts";
import { skylakeServer } from "./skylake-server.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

/** The capabilities of the Skylake model, with the CR4 bit that UMIP brings. */
const vmx: VmxCapabilities | undefined = skylakeServer.vmx && {
  ...skylakeServer.vmx,
  cr4Fixed1: 0x37_2fffn,
};

/** Ice Lake server, family 6 model 6AH stepping 6: the Skylake model and UMIP, RDPID and fast short REP MOVSB. */
export const icelakeServer: CpuModel = {
  ...skylakeServer,
  name: "icelake-server",
  summary: "Ice Lake server (06_6AH): as skylake-server, and UMIP, RDPID, FSRM",
  brand: "vmxon Ice Lake server processor",
  signature: 0x0006_06a6,
  features: new Set([...skylakeServer.features, "umip", "rdpid", "fsrm"]),
  microcodeRevision: 0x0d00_0390,
  vmx,
};
