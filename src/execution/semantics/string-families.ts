import type { Semantics } from "./arithmetic.ts";
import * as decimal from "./decimal.ts";
import { type Family, plain } from "./family.ts";
import * as strings from "./strings.ts";

/** One family per operand size; REP and its kin are looked at when the instruction is executed. */
const sizes = (name: string, semantics: Semantics): Family[] =>
  (
    [
      ["b", 1],
      ["w", 2],
      ["d", 4],
      ["q", 8],
    ] as const
  ).map(
    ([suffix, size]): Family => ({
      mnemonic: name + suffix,
      sizes: [size],
      patterns: ["--"],
      semantics,
      roles: ["skip", "skip"],
    }),
  );

/** String instructions without ports. */
export const stringFamilies: readonly Family[] = [
  ...sizes("Movs", strings.MOVS),
  ...sizes("Stos", strings.STOS),
  ...sizes("Lods", strings.LODS),
  ...sizes("Scas", strings.SCAS),
  ...sizes("Cmps", strings.CMPS),
];

/** Decimal adjustment and its neighbours, outside 64-bit mode. */
export const decimalFamilies: readonly Family[] = [
  plain("Daa", decimal.DAA),
  plain("Das", decimal.DAS),
  plain("Aaa", decimal.AAA),
  plain("Aas", decimal.AAS),
  { ...plain("Aam", decimal.AAM), roles: ["immediate"] },
  { ...plain("Aad", decimal.AAD), roles: ["immediate"] },
  plain("Salc", decimal.SALC),
];
