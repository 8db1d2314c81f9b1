import type { RequesterPort } from "./requester.ts";

/** Ids of the capabilities in the list of a configuration header. */
export const PciCapabilityId = { Msi: 0x05, Vendor: 0x09, Msix: 0x11 } as const;

/**
 * A structure in the capability list of a function. The function gives it a place in configuration space; the capability
 * reads what software has written there, and acts on it.
 */
export interface PciCapability {
  readonly id: number;
  /** Bytes after the id and the next pointer, as they are after reset. */
  readonly values: readonly number[];
  /** Bits of each of these bytes that software may change. */
  readonly writable: readonly number[];
  /**
   * Called once.
   * @param body a live view of the capability in configuration space, its id and next pointer first
   * @param port reaches nothing while the function may not master the bus
   */
  attach(body: Uint8Array, port: RequesterPort): void;
  /** Software is about to read the body, from `offset` on. */
  reading?(offset: number): void;
  /**
   * Software has written to configuration space.
   * @param offset where, from the start of the body; negative, or behind its end, when the write was elsewhere
   */
  written(offset: number): void;
  /** The body holds its reset values again. */
  reset(): void;
}

/** Little-endian bytes of a value below 2^32. */
export function littleEndian(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, n) => (value >>> (8 * n)) & 0xff);
}

/** An unsigned little-endian number of up to four bytes. */
export function littleEndianAt(bytes: Uint8Array, offset: number, size: number): number {
  let value = 0;
  for (let n = 0; n < size; n++) {
    value |= (bytes[offset + n] ?? 0) << (8 * n);
  }
  return value >>> 0;
}
