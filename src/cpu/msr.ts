import type { LocalApic } from "./local-apic/local-apic.ts";
import { x2apicMsrBase, x2apicMsrLast } from "./local-apic/registers.ts";
import type { LpState } from "./lp-state.ts";
import type { CpuModel } from "./models/cpu-model.ts";
import { msrTable } from "./msr-table.ts";
import type { Clock } from "./ports.ts";

/** What model-specific registers need of the processor they belong to. */
export interface MsrOwner {
  readonly state: LpState;
  readonly model: CpuModel;
  readonly clock: Clock;
  readonly apic: LocalApic;
  /** A register that decides how linear addresses translate has changed. */
  pagingChanged(): void;
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

/**
 * The model-specific registers of one LP: those of the model, those of the local APIC, and those other rooms add. RDMSR,
 * WRMSR and the MSR lists of VM entry and exit all come here; privilege and intercepts are theirs to check.
 */
export class ModelSpecificRegisters {
  readonly #owner: MsrOwner;
  readonly #registers = new Map<number, Msr>();

  constructor(owner: MsrOwner) {
    this.#owner = owner;
    for (const register of msrTable(owner.model)) {
      this.add(register);
    }
  }

  /** Adds a register, or replaces the one at its address. */
  add(register: Msr): void {
    this.#registers.set(register.address, register);
  }

  /** @param address ECX, unsigned @returns undefined for #GP(0) */
  read(address: number): bigint | undefined {
    return isLocalApic(address)
      ? this.#owner.apic.readMsr(address)
      : this.#registers.get(address)?.read(this.#owner);
  }

  /** @returns false for #GP(0): nothing has changed */
  write(address: number, value: bigint): boolean {
    return isLocalApic(address)
      ? this.#owner.apic.writeMsr(address, value)
      : (this.#registers.get(address)?.write(this.#owner, value) ?? false);
  }

  /** Name for a trace; undefined when there is no such register. */
  nameOf(address: number): string | undefined {
    return this.#registers.get(address)?.name;
  }

  /** Power-up values. INIT changes none of them but IA32_EFER. */
  reset(): void {
    for (const register of this.#registers.values()) {
      register.reset?.(this.#owner);
    }
  }
}

function isLocalApic(address: number): boolean {
  return address >= x2apicMsrBase && address <= x2apicMsrLast;
}
