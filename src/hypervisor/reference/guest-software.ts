import type { Script, ScriptEnvironment, Steps } from "../../isa/operations.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/** What runs on a vCPU. */
export interface GuestSoftware {
  /** It is an application: `main` begins at privilege level 3 with interrupts on, and may execute nothing that takes privilege. */
  readonly isUser?: boolean;
  /** From the first VM entry on, interrupts off. Returning halts for ever. */
  main(environment: ScriptEnvironment): Script;
  /** Body of the handler of an interrupt; the end of interrupt follows it. Interrupts are off. */
  interrupt?(vector: number): Steps<void>;
}

/** Makes the software of a vCPU. */
export type GuestFactory = (vcpu: VirtualCpu) => GuestSoftware;

/** Machine code that all vCPUs of a VM run, instead of software made of scripts. */
export interface GuestImage {
  readonly bytes: Uint8Array;
  /** Guest-physical address of its first byte, behind what `guestLayout` keeps for the hypervisor. */
  readonly address: number;
  /** Where a vCPU begins, interrupts off. @param vcpu its index in the VM */
  readonly entry: (vcpu: number) => bigint;
  /** Handler of a vector; undefined: it has none. */
  readonly gate: (vector: number) => bigint | undefined;
}

/** Names of the programs that guests begin in. */
export const guestProgram = { main: "guest", interrupt: "guest interrupt" } as const;
