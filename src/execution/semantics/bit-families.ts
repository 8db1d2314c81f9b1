import type { AccessSize } from "../../wasm/expression.ts";
import type { Semantics } from "./arithmetic.ts";
import * as bits from "./bits.ts";
import * as bmi from "./bmi.ts";
import { type Family, hotSizes, type Role, words } from "./family.ts";

const bitTest = (mnemonic: string, semantics: Semantics, lock: boolean): Family => ({
  mnemonic,
  sizes: words,
  patterns: ["rr", "ri", "mr", "mi"],
  semantics,
  ...(lock ? { lock: "allowed" } : {}),
});
const count = (mnemonic: string, semantics: Semantics): Family => ({
  mnemonic,
  sizes: words,
  patterns: ["rr", "rm"],
  semantics,
});
const bmiFamily = (mnemonic: string, semantics: Semantics, ...roles: readonly Role[]): Family => ({
  mnemonic,
  sizes: hotSizes,
  patterns: ["rr", "rm"],
  semantics,
  roles,
});

/** Bit test, bit scan, bit counts, bit manipulation extensions, CRC32. */
export const bitFamilies: readonly Family[] = [
  bitTest("Bt", bits.BT, false),
  bitTest("Bts", bits.BTS, true),
  bitTest("Btr", bits.BTR, true),
  bitTest("Btc", bits.BTC, true),
  count("Bsf", bits.BSF),
  count("Bsr", bits.BSR),
  count("Popcnt", bits.POPCNT),
  count("Lzcnt", bits.LZCNT),
  count("Tzcnt", bits.TZCNT),
  ...([1, 2, 4, 8] as const satisfies readonly AccessSize[]).map(
    (sourceSize): Family => ({
      mnemonic: "Crc32",
      sizes: [4],
      patterns: ["rr", "rm"],
      semantics: bits.crc32(sourceSize),
      sourceSize,
    }),
  ),
  bmiFamily("Andn", bmi.ANDN, "destination", "third", "source"),
  bmiFamily("Bextr", bmi.BEXTR, "destination", "source", "third"),
  bmiFamily("Blsi", bmi.BLSI, "destination", "source"),
  bmiFamily("Blsr", bmi.BLSR, "destination", "source"),
  bmiFamily("Blsmsk", bmi.BLSMSK, "destination", "source"),
  bmiFamily("Bzhi", bmi.BZHI, "destination", "source", "third"),
  bmiFamily("Mulx", bmi.MULX, "destination", "third", "source"),
  bmiFamily("Pdep", bmi.PDEP, "destination", "third", "source"),
  bmiFamily("Pext", bmi.PEXT, "destination", "third", "source"),
  bmiFamily("Rorx", bmi.RORX, "destination", "source", "immediate"),
  bmiFamily("Sarx", bmi.SARX, "destination", "source", "third"),
  bmiFamily("Shlx", bmi.SHLX, "destination", "source", "third"),
  bmiFamily("Shrx", bmi.SHRX, "destination", "source", "third"),
];
