import { x2apicMsrBase, x2apicMsrLast } from "./local-apic/registers.ts";
import type { Msr, MsrOwner } from "./msr-register.ts";
import { msrTable } from "./msr-table.ts";

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
