import type { CpuModel } from "./cpu-model.ts";
import { icelakeServerFeatures, icelakeServerVmx } from "./icelake-server.ts";
import { skylakeServer } from "./skylake-server.ts";
import type { VmxCapabilities } from "./vmx-capabilities.ts";

/**
 * VMX of a Sapphire Rapids part, less what hangs on features the model leaves out beside those of the Skylake model: CET,
 * user interrupts, WAITPKG, ENQCMD, PCONFIG, architectural last-branch records.
 */
const sapphireRapidsVmx: VmxCapabilities = {
  ...icelakeServerVmx,
  controls: [
    ...icelakeServerVmx.controls.filter((name) => name !== "secondary.subPageWritePermissions"),
    "primary.activateTertiaryControls",
    "secondary.vmmBusLockDetection",
    "secondary.instructionTimeout",
    "tertiary.enableHlat",
    "tertiary.eptPagingWriteControl",
    "tertiary.guestPagingVerification",
    "tertiary.ipiVirtualization",
    "exit.loadPkrs",
    "entry.loadPkrs",
  ],
  translation: [...icelakeServerVmx.translation, "ept.walkLength5", "ept.supervisorShadowStack"],
  injectsAnyErrorCode: true,
};

/** Sapphire Rapids server, family 6 model 8FH stepping 8, with 48-bit linear addresses. */
export const sapphireRapids: CpuModel = {
  ...skylakeServer,
  name: "sapphire-rapids",
  summary: "Sapphire Rapids server (06_8FH), VMX with tertiary controls and IPI virtualization",
  brand: "vmxon Sapphire Rapids server processor",
  signature: 0x0008_06f8,
  features: new Set([...icelakeServerFeatures, "wbnoinvd", "pku", "pks"]),
  microcodeRevision: 0x2b00_04b1,
  vmx: sapphireRapidsVmx,
};
