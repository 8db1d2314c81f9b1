import type { CpuModel } from "./cpu-model.ts";
import { skylakeServer, skylakeServerFeatures, skylakeServerVmx } from "./skylake-server.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

export const icelakeServerVmx: VmxCapabilities = {
  ...skylakeServerVmx,
  revision: 0x13,
  controls: [...skylakeServerVmx.controls, "secondary.subPageWritePermissions"],
};

export const icelakeServerFeatures = [...skylakeServerFeatures, "umip", "rdpid", "fsrm"] as const;

/** Ice Lake server, family 6 model 6AH stepping 6: the Skylake model and UMIP, RDPID and fast short REP MOVSB. */
export const icelakeServer: CpuModel = {
  ...skylakeServer,
  name: "icelake-server",
  summary: "Ice Lake server (06_6AH): as skylake-server, and UMIP, RDPID, FSRM",
  brand: "vmxon Ice Lake server processor",
  signature: 0x0006_06a6,
  features: new Set(icelakeServerFeatures),
  microcodeRevision: 0x0d00_0390,
  vmx: icelakeServerVmx,
};
