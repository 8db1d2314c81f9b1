import type { TimedDevice } from "./device.ts";
import type { DecodedAddress, PciBar, PciIdentity, PciSpace } from "./pci-function.ts";

/** A function as the bus sees it. */
export interface PciEndpoint {
  readonly identity: PciIdentity;
  /** Windows by the number of their first base address register. */
  readonly bars: readonly (readonly [index: number, bar: PciBar])[];
  reset(): void;
  readConfiguration(offset: number, size: number): number;
  writeConfiguration(offset: number, size: number, value: number): void;
  /** The window that answers at an address, with the offset in it. */
  decode(space: PciSpace, address: number): DecodedAddress | undefined;
}

/** A device behind the PCI bus. */
export interface PciDevice {
  readonly function: PciEndpoint;
  /** Does things as time passes. */
  readonly timed?: TimedDevice;
  /** Power-up state; the function has been reset before. */
  reset(): void;
}
