import { type Assembler, createAssembler } from "../../src/isa/assembler.ts";
import type { CoreHarness } from "./core-harness.ts";

/** Where programs of tests lie. */
export const programBase = 0x10_0000;

/** Bytes written in hexadecimal, spaces at will. */
export function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));
}

/** Machine code of 64-bit mode, written with the assembler. */
export function assembled(write: (asm: Assembler) => void, at = programBase): Uint8Array {
  const asm = createAssembler({ origin: at, bits: 64 });
  write(asm);
  return asm.assemble().bytes;
}

/** Puts code, in hexadecimal or for the assembler, where programs lie and RIP at its start. */
export function load(
  harness: CoreHarness,
  code: string | ((asm: Assembler) => void),
  at = programBase,
): void {
  harness.write(BigInt(at), typeof code === "string" ? bytes(code) : assembled(code, at));
  harness.rip = BigInt(at);
}
