import type { InterruptFabric } from "../cpu/ports.ts";
import { DeliveryMode, type InterruptMessage, Shorthand } from "../protocol/interrupt-message.ts";

/** Writes to this megabyte are interrupts: FEEx_xxxxH. */
const interruptRange = { first: 0xfee0_0000, end: 0xfef0_0000 } as const;

export function isInterruptAddress(address: number): boolean {
  return address >= interruptRange.first && address < interruptRange.end;
}

/** Bits of the address and the data of a message ("Message Signalled Interrupts"). */
const addressBit = { logical: 1 << 2, redirectionHint: 1 << 3 } as const;
const dataBit = { assert: 1 << 14, level: 1 << 15 } as const;
const reservedModes = 1 << 3;

/** False for delivery modes that name nothing, and the start-up IPI, which only a local APIC sends. */
export function isDeviceDeliveryMode(mode: number): mode is DeliveryMode {
  const known = 0xff & ~(reservedModes | (1 << DeliveryMode.Startup));
  return (known & (1 << mode)) !== 0;
}

/**
 * The interrupt of a message in the compatibility format.
 * @param destinationHigh bits 31:8 of a 32-bit destination, in place; undefined where destinations have eight bits
 * @returns undefined for a delivery mode that devices cannot ask for
 */
export function msiInterrupt(
  address: number,
  data: number,
  destinationHigh?: number,
): InterruptMessage | undefined {
  const mode = (data >>> 8) & 7;
  if (!isDeviceDeliveryMode(mode)) {
    return undefined;
  }
  const logical = (address & addressBit.logical) !== 0;
  const level = (data & dataBit.level) !== 0;
  return {
    vector: data & 0xff,
    deliveryMode: redirected(mode, logical, (address & addressBit.redirectionHint) !== 0),
    logical,
    level,
    assert: !level || (data & dataBit.assert) !== 0,
    shorthand: Shorthand.None,
    destination: (((destinationHigh ?? 0) & ~0xff) | ((address >>> 12) & 0xff)) >>> 0,
    wide: destinationHigh !== undefined,
    source: -1,
  };
}

/** The redirection hint makes one processor of a logical destination take a fixed interrupt. */
export function redirected(mode: DeliveryMode, logical: boolean, hint: boolean): DeliveryMode {
  return hint && logical && mode === DeliveryMode.Fixed ? DeliveryMode.LowestPriority : mode;
}

/** Sends a message in the compatibility format, with an eight-bit destination. */
export function sendMsi(fabric: InterruptFabric, address: number, data: number): void {
  const message = msiInterrupt(address, data);
  if (message !== undefined) {
    fabric.send(message);
  }
}
