import type { Line } from "./device.ts";
import type { RequesterPort } from "./requester.ts";

/** What a function is wired to. */
export interface PciWiring {
  /** Memory and the interrupt bus, by the function's requester id. */
  readonly port: RequesterPort;
  /** Its INTx pin. */
  readonly interrupt: Line;
}

/** A place on the bus for a function. */
export interface PciSlot extends PciWiring {
  readonly bus: number;
  readonly device: number;
  readonly function: number;
}
