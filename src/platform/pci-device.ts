import type { TimedDevice } from "./device.ts";
import type { PciFunction } from "./pci-function.ts";

/** A device behind the PCI bus. */
export interface PciDevice {
  readonly function: PciFunction;
  /** Does things as time passes. */
  readonly timed?: TimedDevice;
  /** Power-up state; the function has been reset before. */
  reset(): void;
}
