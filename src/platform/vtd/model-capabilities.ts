import type { CpuModel } from "../../cpu/models/cpu-model.ts";
import { serverCapabilities, type VtdCapabilities } from "./capabilities.ts";

/**
 * The unit that goes with a processor: addresses as wide as the processor's, 32-bit destinations where its local APIC has them,
 * and interrupts posted where the processor takes posted interrupts.
 */
export function vtdCapabilitiesFor(model: CpuModel): VtdCapabilities {
  return {
    ...serverCapabilities,
    hostAddressBits: model.physicalAddressBits,
    extendedInterruptMode: model.features.has("x2apic"),
    interruptPosting: model.vmx?.controls.includes("pin.processPostedInterrupts") ?? false,
  };
}
