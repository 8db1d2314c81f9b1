import { allOnes } from "./device.ts";
import type { PciBar } from "./pci-function.ts";

/** The registers of a device by their offset. */
export interface WindowRegisters {
  read(offset: number): number;
  write(offset: number, value: number): void;
}

/** A memory window of 32-bit registers. Accesses of another size, or not aligned, read as ones and write nothing. */
export function registerWindow(bytes: number, registers: WindowRegisters): PciBar {
  const isRegister = (offset: number, size: number): boolean => size === 4 && offset % 4 === 0;
  return {
    space: "memory",
    bytes,
    read: (offset, size) => (isRegister(offset, size) ? registers.read(offset) : allOnes(size)),
    write: (offset, size, value) => {
      if (isRegister(offset, size)) registers.write(offset, value);
    },
  };
}
