import { FaultReason } from "./fault-reasons.ts";
import type { TableMemory } from "./table-memory.ts";

/** What a request needs of an entry, and what an entry permits. */
export const Permission = { Read: 1, Write: 2 } as const;
const anyPermission = Permission.Read | Permission.Write;

/** A read of no bytes needs some permission, whichever. */
export function permits(permissions: number, need: number): boolean {
  return need === 0 ? permissions !== 0 : (permissions & need) === need;
}

const entryBit = { page: 1 << 7, snoop: 1 << 11 } as const;
/** Of an entry's upper half: the address, as far as tables may have one. */
const addressHighMask = 0xf_ffff;

export interface SecondStageOptions {
  readonly hostAddressBits: number;
  readonly largePages: boolean;
  readonly snoopControl: boolean;
}

/** Walks second-stage tables. The result of a walk stays in its fields until the next. */
export class SecondStageWalk {
  /** Page of the host. */
  frame = 0;
  /** Permissions of all levels together. */
  permissions = 0;
  /** Level of the entry that maps the page. */
  level = 0;
  readonly #memory: TableMemory;
  readonly #reservedHigh: number;
  readonly #largePages: boolean;
  readonly #leafReserved: number;

  constructor(memory: TableMemory, options: SecondStageOptions) {
    this.#memory = memory;
    this.#reservedHigh = addressHighMask & ~(2 ** (options.hostAddressBits - 32) - 1);
    this.#largePages = options.largePages;
    this.#leafReserved = options.snoopControl ? 0 : entryBit.snoop;
  }

  /**
   * @param table number of the page of the highest table
   * @param page number of the page to translate, within what so many levels reach
   * @param need the walk ends at the first entry that does not permit it; `permissions` then tells
   * @returns 0, or the reason of the fault: table outside RAM, or reserved bit in an entry that is present
   */
  walk(table: number, levels: number, page: number, need: number): FaultReason | 0 {
    this.permissions = anyPermission;
    let next = table;
    for (let level = levels; level >= 1; level--) {
      const span = 512 ** (level - 1);
      const index = Math.floor(page / span) % 512;
      if (!this.#memory.quadword(next * 4096 + index * 8)) {
        return FaultReason.PageTableAccess;
      }
      const { low, high } = this.#memory;
      this.permissions &= low;
      if ((low & anyPermission) === 0) {
        return 0;
      }
      const isLeaf = level === 1 || (low & entryBit.page) !== 0;
      if (this.#isReserved(low, high, level, isLeaf)) {
        return FaultReason.PageTableReserved;
      }
      if (!permits(this.permissions, need)) {
        return 0;
      }
      next = (high & addressHighMask) * 2 ** 20 + (low >>> 12);
      if (isLeaf) {
        this.frame = next + (page % span);
        this.level = level;
        return 0;
      }
    }
    return 0;
  }

  /** Of an entry that permits something. */
  #isReserved(low: number, high: number, level: number, isLeaf: boolean): boolean {
    if ((high & this.#reservedHigh) !== 0) {
      return true;
    }
    if (!isLeaf) {
      return (low & entryBit.snoop) !== 0;
    }
    if ((low & this.#leafReserved) !== 0) {
      return true;
    }
    if (level === 1) {
      return false;
    }
    const offset = 2 ** (12 + 9 * (level - 1)) - 4096;
    return level > 3 || !this.#largePages || (low & offset) !== 0;
  }
}
