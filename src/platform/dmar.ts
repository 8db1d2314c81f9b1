import type { TableWriter } from "./acpi-table.ts";
import { requesterId } from "./requester.ts";
import { vtdAddress } from "./vtd/registers.ts";

/** By which id the I/O APIC asks for interrupts: a place on the bus where no function is. */
export const ioapicPlace = { bus: 0xf0, device: 0x1f, function: 0 } as const;
export const ioapicRequester = requesterId(
  ioapicPlace.bus,
  ioapicPlace.device,
  ioapicPlace.function,
);

/** Memory that a function may be using before software has set tables up, and must go on to reach at its own address. */
export interface ReservedMemory {
  /** Aligned to a page. */
  readonly start: number;
  /** The last byte. */
  readonly last: number;
  /** The functions, on bus 0. */
  readonly functions: readonly { readonly device: number; readonly function: number }[];
}

export interface DmarOptions {
  /** Width of a physical address. */
  readonly hostAddressBits: number;
  readonly reserved?: readonly ReservedMemory[];
}

const dmarFlag = { interruptRemapping: 1 } as const;
const structure = { unit: 0, reserved: 1 } as const;
const unitFlag = { allFunctions: 1 } as const;
const scope = { endpoint: 1, ioapic: 3 } as const;
const scopeBytes = 8;
/** The I/O APIC's id in the MADT. */
const ioapicId = 0;

/** DMA remapping table: one unit for all functions and the I/O APIC, and what memory they need from the beginning. */
export function writeDmar(
  table: TableWriter,
  { hostAddressBits, reserved = [] }: DmarOptions,
): void {
  table
    .u8(hostAddressBits - 1)
    .u8(dmarFlag.interruptRemapping)
    .zeros(10);
  table
    .u16(structure.unit)
    .u16(16 + scopeBytes)
    .u8(unitFlag.allFunctions)
    .u8(0)
    .u16(0);
  table.u64(vtdAddress);
  writeScope(table, scope.ioapic, ioapicId, ioapicPlace.bus, ioapicPlace);
  for (const { start, last, functions } of reserved) {
    table
      .u16(structure.reserved)
      .u16(24 + functions.length * scopeBytes)
      .u16(0)
      .u16(0);
    table.u64(start).u64(last);
    for (const each of functions) {
      writeScope(table, scope.endpoint, 0, 0, each);
    }
  }
}

function writeScope(
  table: TableWriter,
  type: number,
  id: number,
  bus: number,
  path: { readonly device: number; readonly function: number },
): void {
  table.u8(type).u8(scopeBytes).u16(0).u8(id).u8(bus).u8(path.device).u8(path.function);
}
