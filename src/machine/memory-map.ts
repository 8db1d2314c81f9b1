/**
 * Physical memory as firmware would describe it. RAM is one run from 0; the hole of the first MiB is part of it in the shared
 * memory but is not offered: the upper part holds the ACPI tables.
 */
export const RangeType = { Available: 1, Reserved: 2 } as const;
export type RangeType = (typeof RangeType)[keyof typeof RangeType];

/** Bytes `start` up to, not including, `end`. */
export interface MemoryRange {
  readonly start: number;
  readonly end: number;
  readonly type: RangeType;
}

/** End of the RAM below the hole; the last KiB is where a BIOS keeps its data. */
export const lowRamEnd = 0x9_fc00;
export const highRamStart = 0x10_0000;
/** RSDP and ACPI tables: in the range an operating system searches. */
export const firmwareArea = { start: 0xe_0000, end: 0x10_0000 } as const;
/** I/O APIC, HPET, VT-d, local APIC, the testing device's memory and the flash. */
const deviceArea = { start: 0xfec0_0000, end: 0x1_0000_0000 } as const;

/** The ranges in ascending order, without overlap. What no range covers is a hole. */
export function memoryMap(ramBytes: number): readonly MemoryRange[] {
  const map: MemoryRange[] = [
    { start: 0, end: lowRamEnd, type: RangeType.Available },
    { start: lowRamEnd, end: 0xa_0000, type: RangeType.Reserved },
    { ...firmwareArea, type: RangeType.Reserved },
  ];
  if (ramBytes > highRamStart) {
    map.push({ start: highRamStart, end: ramBytes, type: RangeType.Available });
  }
  map.push({ ...deviceArea, type: RangeType.Reserved });
  return map;
}
