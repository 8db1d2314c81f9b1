import type { EntryContext } from "./entry-context.ts";

/** CET: bits 9:6 are reserved, and the tracker cannot wait while it is suppressed. */
export function isValidSCet(e: EntryContext, position: number): boolean {
  const low = e.low(position);
  const isSuppressedAndWaiting = (low & 0xc00) === 0xc00;
  return (low & 0x3c0) === 0 && !isSuppressedAndWaiting && e.isCanonical(position);
}

/** Shadow-stack pointer: aligned to 4 bytes, canonical in 64-bit mode, 32 bits wide outside. */
export function isValidSsp(e: EntryContext, position: number, is64Bit: boolean): boolean {
  return (
    (e.low(position) & 3) === 0 && (is64Bit ? e.isCanonical(position) : e.high(position) === 0)
  );
}
