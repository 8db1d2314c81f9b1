import type { DeliveryMode, InterruptMessage } from "./interrupt-message.ts";

/**
 * One interrupt as it lies in the mailbox of the LP it is for: an `InterruptMessage` whose destination has been resolved,
 * or the new level of one of the processor's two interrupt pins. Packed into 31 bits, so that a ring slot is one atomic word:
 *
 * ```
 *   23..16       15          14        13      12     10..8          7..0
 *   source + 1   pin number  is a pin  assert  level  delivery mode  vector
 * ```
 */
export type InterruptEntry = number;

/** Pins LINT0 (INTR) and LINT1 (NMI) of a local APIC. */
export type InterruptPin = 0 | 1;

const level = 1 << 12;
const assertion = 1 << 13;
const pin = 1 << 14;
const pinNumber = 1 << 15;
const sourceShift = 16;
const sourceMask = 0xff;

/** The entry that carries `message` to each of its destinations. */
export function messageEntry(message: InterruptMessage): InterruptEntry {
  return (
    (message.vector & 0xff) |
    (message.deliveryMode << 8) |
    (message.level ? level : 0) |
    (message.assert ? assertion : 0) |
    (((message.source + 1) & sourceMask) << sourceShift)
  );
}

/** The entry that tells an LP the level of one of its pins. */
export function pinEntry(which: InterruptPin, high: boolean): InterruptEntry {
  return pin | (which === 1 ? pinNumber : 0) | (high ? assertion : 0);
}

export const entryVector = (entry: InterruptEntry): number => entry & 0xff;
export const entryDeliveryMode = (entry: InterruptEntry): DeliveryMode =>
  ((entry >>> 8) & 7) as DeliveryMode;
export const entryIsLevel = (entry: InterruptEntry): boolean => (entry & level) !== 0;
export const entryIsAsserted = (entry: InterruptEntry): boolean => (entry & assertion) !== 0;
export const entryIsPin = (entry: InterruptEntry): boolean => (entry & pin) !== 0;
export const entryPin = (entry: InterruptEntry): InterruptPin =>
  (entry & pinNumber) !== 0 ? 1 : 0;
/** Index of the sending LP, -1 for a device. */
export const entrySource = (entry: InterruptEntry): number =>
  ((entry >>> sourceShift) & sourceMask) - 1;
