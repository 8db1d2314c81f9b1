import { highRamStart, lowRamEnd } from "../memory-map.ts";
import { byteCount, hexadecimal } from "../quantities.ts";
import { UserError } from "../user-error.ts";
import type { Segment } from "./image.ts";

/** Bytes `start` up to, not including, `end`, and whose they are. */
interface Claim {
  readonly what: string;
  readonly start: number;
  readonly end: number;
}

/** Who takes which part of RAM before the machine starts. Nothing may lie outside RAM, in the hole below 1 MiB, or overlap. */
export class Placement {
  readonly #ram: Uint8Array;
  readonly #claims: Claim[] = [];

  /** @param ram the machine's RAM, all zero */
  constructor(ram: Uint8Array) {
    this.#ram = ram;
  }

  /**
   * Takes a range.
   * @throws {UserError} outside RAM or overlapping
   */
  claim(what: string, start: number, bytes: number): void {
    const end = start + bytes;
    const range = `${hexadecimal(start)} to ${hexadecimal(end)}`;
    if (end > this.#ram.length) {
      throw new UserError(
        `${what}: ${range} lies outside RAM (${byteCount(this.#ram.length)}); give more with --ram or load it lower`,
      );
    }
    if (start < highRamStart && end > lowRamEnd) {
      throw new UserError(
        `${what}: ${range} reaches into ${hexadecimal(lowRamEnd)} to ${hexadecimal(highRamStart)}, where there is no RAM to load to; load it elsewhere`,
      );
    }
    const other = this.#claims.find((claim) => start < claim.end && claim.start < end);
    if (other !== undefined) {
      throw new UserError(
        `${what}: ${range} overlaps ${other.what} (${hexadecimal(other.start)} to ${hexadecimal(other.end)}); move one of them`,
      );
    }
    this.#claims.push({ what, start, end });
  }

  /** Claims the segment's memory and copies its bytes there. */
  load(segment: Segment): void {
    this.claim(segment.what, segment.address, segment.memoryBytes);
    this.#ram.set(segment.bytes, segment.address);
  }

  /** Lowest multiple of `unit` at or above `from` with `bytes` bytes that nobody has taken. It may lie outside RAM. */
  free(from: number, bytes: number, unit: number): number {
    const align = (address: number): number => Math.ceil(address / unit) * unit;
    let start = align(from);
    for (const claim of [...this.#claims].sort((a, b) => a.start - b.start)) {
      if (start < claim.end && claim.start < start + bytes) {
        start = align(claim.end);
      }
    }
    return start;
  }
}
