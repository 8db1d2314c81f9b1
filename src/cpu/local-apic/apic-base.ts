import { ApicMode } from "./registers.ts";

/** IA32_APIC_BASE. */
export const apicBaseBit = { bootProcessor: 1 << 8, extended: 1 << 10, enable: 1 << 11 } as const;
export const apicBaseReset = 0xfee0_0000n;

/** What the model of the processor offers. */
export interface ApicBaseFeatures {
  readonly physicalAddressBits: number;
  readonly x2apic: boolean;
}

export function modeOfBase(value: bigint): ApicMode | "invalid" {
  const bits = Number((value >> 10n) & 3n);
  return bits === 1 ? "invalid" : (bits as ApicMode);
}

/**
 * "Detecting and enabling x2APIC mode; x2APIC state transitions": may `next` replace `current`?
 *
 * ```
 *   disabled ◀──▶ xAPIC ──▶ x2APIC ──▶ disabled
 * ```
 * Writing the current mode again is always allowed.
 * @returns the new mode, or undefined for #GP
 */
export function apicBaseTransition(
  current: bigint,
  next: bigint,
  features: ApicBaseFeatures,
): ApicMode | undefined {
  const reserved =
    0x2ffn |
    (features.x2apic ? 0n : BigInt(apicBaseBit.extended)) |
    (-1n << BigInt(features.physicalAddressBits));
  if ((BigInt.asUintN(64, next) & BigInt.asUintN(64, reserved)) !== 0n) {
    return undefined;
  }
  const from = modeOfBase(current);
  const to = modeOfBase(next);
  if (to === "invalid") {
    return undefined;
  }
  if (to === ApicMode.X2Apic && from === ApicMode.Disabled) {
    return undefined;
  }
  if (to === ApicMode.XApic && from === ApicMode.X2Apic) {
    return undefined;
  }
  return to;
}
