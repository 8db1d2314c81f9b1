import type { Script, ScriptEnvironment, Steps } from "../../isa/operations.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/** What runs on a vCPU. */
export interface GuestSoftware {
  /** From the first VM entry on, interrupts off. Returning halts for ever. */
  main(environment: ScriptEnvironment): Script;
  /** Body of the handler of an interrupt; the end of interrupt follows it. Interrupts are off. */
  interrupt?(vector: number): Steps<void>;
}

/** Makes the software of a vCPU. */
export type GuestFactory = (vcpu: VirtualCpu) => GuestSoftware;

/** Names of the programs that guests begin in. */
export const guestProgram = { main: "guest", interrupt: "guest interrupt" } as const;
