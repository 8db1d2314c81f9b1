import type { LocalApic } from "./local-apic/local-apic.ts";
import type { LpState } from "./lp-state.ts";
import type { CpuModel } from "./models/cpu-model.ts";
import type { Clock } from "./ports.ts";

/** What model-specific registers need of the processor they belong to. */
export interface MsrOwner {
  readonly state: LpState;
  readonly model: CpuModel;
  readonly clock: Clock;
  readonly apic: LocalApic;
  /** Told when EFER.NXE has changed; loads IA32_PKRS. */
  readonly addressSpace: { changed(): void; loadKeys(offset: number, value: number): void };
  /** IA32_APIC_BASE was written. */
  apicBaseChanged(): void;
}

/** A model-specific register. */
export interface Msr {
  readonly address: number;
  readonly name: string;
  /** @returns undefined for #GP(0) */
  read(owner: MsrOwner): bigint | undefined;
  /** @param value 0..2^64-1 @returns false for #GP(0): nothing has changed */
  write(owner: MsrOwner, value: bigint): boolean;
  /** Sets the power-up value, of registers that are kept here. */
  reset?(owner: MsrOwner): void;
}
