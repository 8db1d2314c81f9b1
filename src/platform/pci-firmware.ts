import type { PciEndpoint } from "./pci-device.ts";
import type { PciSpace } from "./pci-function.ts";

/** Where windows are put: memory below the chipset's devices and above all RAM, ports above those of the board. */
const space = {
  memory: { start: 0xe000_0000, end: 0xfd00_0000, smallest: 4096 },
  io: { start: 0xc000, end: 0x1_0000, smallest: 32 },
} as const;
const register = { command: 0x04, bars: 0x10, line: 0x3c } as const;
const decodeEnable = { io: 1, memory: 2 } as const;

/**
 * What a PC's firmware does for the functions it finds: gives each window a place, turns decoding on and writes down the
 * interrupt line. Bus mastering is left to the driver. A window for which there is no room stays undecoded.
 * @param lineOf the line of a function that has an INTx pin
 */
export function placePciFunctions(
  functions: readonly PciEndpoint[],
  lineOf: (fn: PciEndpoint) => number,
): void {
  const next: Record<PciSpace, number> = { memory: space.memory.start, io: space.io.start };
  for (const each of functions) {
    let command = each.readConfiguration(register.command, 2);
    for (const [n, bar] of each.bars) {
      const size = Math.max(bar.bytes, space[bar.space].smallest);
      const start = Math.ceil(next[bar.space] / size) * size;
      if (start + size <= space[bar.space].end) {
        next[bar.space] = start + size;
        each.writeConfiguration(register.bars + 4 * n, 4, start);
        command |= decodeEnable[bar.space];
      }
    }
    each.writeConfiguration(register.command, 2, command);
    if ((each.identity.interruptPin ?? 0) > 0) {
      each.writeConfiguration(register.line, 1, lineOf(each));
    }
  }
}
