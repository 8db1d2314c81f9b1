import {
  DeliveryMode,
  type InterruptMessage,
  Shorthand,
} from "../../protocol/interrupt-message.ts";
import { command } from "./registers.ts";

/** First vector that may be used: the lower ones belong to exceptions and are illegal in an interrupt message. */
export const firstLegalVector = 16;

/**
 * The message that a write of the interrupt command register sends.
 *
 * @param low bits 31:0 of the register
 * @param destination 8 bits in xAPIC mode, 32 bits in x2APIC mode (`wide`)
 * @returns undefined when nothing goes out (reserved delivery mode, INIT level de-assert); "illegal vector" when the error
 *   is to be reported instead
 */
export function interruptCommand(
  low: number,
  destination: number,
  wide: boolean,
  source: number,
): InterruptMessage | "illegal vector" | undefined {
  const vector = low & 0xff;
  const deliveryMode = (low >>> 8) & 7;
  switch (deliveryMode) {
    case DeliveryMode.Fixed:
    case DeliveryMode.LowestPriority:
      if (vector < firstLegalVector) {
        return "illegal vector";
      }
      break;
    case DeliveryMode.Init:
      // De-asserting INIT once synchronized arbitration ids; no processor with an APIC version of 14H or more listens.
      if ((low & command.level) !== 0 && (low & command.assert) === 0) {
        return undefined;
      }
      break;
    case DeliveryMode.Smi:
    case DeliveryMode.Nmi:
    case DeliveryMode.Startup:
      break;
    default:
      return undefined;
  }
  return {
    vector,
    deliveryMode,
    logical: (low & command.logical) !== 0,
    // The trigger-mode bit means something to INIT alone: every other interrupt between processors is an edge.
    level: false,
    assert: true,
    shorthand: ((low >>> command.shorthandShift) & 3) as Shorthand,
    destination,
    wide,
    source,
  };
}

/** The message of the x2APIC self-IPI register. */
export function selfIpi(vector: number, source: number): InterruptMessage | "illegal vector" {
  if (vector < firstLegalVector) {
    return "illegal vector";
  }
  return {
    vector,
    deliveryMode: DeliveryMode.Fixed,
    logical: false,
    level: false,
    assert: true,
    shorthand: Shorthand.Self,
    destination: 0,
    wide: true,
    source,
  };
}
