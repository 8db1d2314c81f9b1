import { ApicMode } from "../cpu/local-apic/registers.ts";
import { type InterruptMessage, Shorthand } from "../protocol/interrupt-message.ts";

/** What decides whether an LP is a destination: registers of its local APIC. */
export interface ApicIdentity {
  readonly mode: ApicMode;
  /** xAPIC id, 8 bits. */
  readonly xapicId: number;
  readonly x2apicId: number;
  /** Logical destination register. */
  readonly logicalDestination: number;
  /** Destination format register. */
  readonly destinationFormat: number;
}

const xapicBroadcast = 0xff;
const x2apicBroadcast = 0xffff_ffff;
const flatModel = 0xf;

/**
 * "Determining IPI Destination". Each target compares the destination in the way of its own mode; a message in the
 * 8-bit format means the same number to a target in x2APIC mode. Ids are not unique by force: every match is a destination.
 */
export function isDestination(
  message: InterruptMessage,
  target: ApicIdentity,
  targetIndex: number,
): boolean {
  if (target.mode === ApicMode.Disabled) {
    return false;
  }
  switch (message.shorthand) {
    case Shorthand.Self:
      return targetIndex === message.source;
    case Shorthand.AllIncludingSelf:
      return true;
    case Shorthand.AllExcludingSelf:
      return targetIndex !== message.source;
    case Shorthand.None:
      return (
        message.destination === (message.wide ? x2apicBroadcast : xapicBroadcast) ||
        (message.logical
          ? matchesLogical(message.destination, target)
          : matchesPhysical(message.destination, target))
      );
  }
}

/**
 * "Physical Destination Mode". An LP whose id needs more than eight bits can be reached by its x2APIC id before it has
 * entered x2APIC mode; else it could not be started.
 */
function matchesPhysical(destination: number, target: ApicIdentity): boolean {
  return target.mode === ApicMode.X2Apic || destination > xapicBroadcast
    ? destination === target.x2apicId
    : destination === target.xapicId;
}

/** "Logical Destination Mode" and, in x2APIC mode, "Logical Destination Mode in x2APIC Mode". */
function matchesLogical(destination: number, target: ApicIdentity): boolean {
  const logical = target.logicalDestination;
  if (target.mode === ApicMode.X2Apic) {
    return logical >>> 16 === destination >>> 16 && (logical & destination & 0xffff) !== 0;
  }
  if (destination > 0xff) {
    return false;
  }
  const own = logical >>> 24;
  if (target.destinationFormat >>> 28 === flatModel) {
    return (own & destination) !== 0;
  }
  return own >>> 4 === destination >>> 4 && (own & destination & 0xf) !== 0;
}
