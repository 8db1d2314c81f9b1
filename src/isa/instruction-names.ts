import { Code, Mnemonic } from "iced-x86";

/** Names and numbers of instructions as iced-x86 has them: tables elsewhere are written with the names. */

/** Mnemonic number by name (`"Hlt"`). */
export function mnemonicNumber(name: string): number | undefined {
  return Mnemonic[name as keyof typeof Mnemonic];
}
/** Number of one encoding by the name of its Code (`"Mov_r64_cr"`). */
export function codeNumber(name: string): number | undefined {
  return Code[name as keyof typeof Code];
}
/** For reports. */
export function mnemonicName(mnemonic: number): string {
  return (Mnemonic[mnemonic] ?? `mnemonic ${mnemonic}`).toUpperCase();
}
