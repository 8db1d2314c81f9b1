import type { CoreHarness } from "./core-harness.ts";

/** Where programs of tests lie. */
export const programBase = 0x10_0000;

/** Bytes written in hexadecimal, spaces at will. */
export function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));
}

/** Puts code where programs lie and RIP at its start. */
export function load(harness: CoreHarness, hex: string, at = programBase): void {
  harness.write(BigInt(at), bytes(hex));
  harness.rip = BigInt(at);
}
