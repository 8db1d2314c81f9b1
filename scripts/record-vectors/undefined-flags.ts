import type { CaseBuilder } from "./case-builder.ts";
import { RCX } from "./registers.ts";

const CF = 0x001n;
const PF = 0x004n;
const AF = 0x010n;
const ZF = 0x040n;
const SF = 0x080n;
const OF = 0x800n;

/** Flags left undefined whatever the operands, by mnemonic; from the "Flags Affected" part of each instruction. */
const ALWAYS: readonly (readonly [bigint, string])[] = [
  [AF, "And Or Xor Test"],
  [SF | ZF | AF | PF, "Mul Imul"],
  [CF | OF | SF | ZF | AF | PF, "Div Idiv"],
  [OF | SF | AF | PF, "Bt Bts Btr Btc"],
  [CF | OF | SF | AF | PF, "Bsf Bsr"],
  [OF | SF | AF | PF, "Lzcnt Tzcnt"],
  [AF | PF, "Andn Blsi Blsr Blsmsk Bzhi"],
  [AF | SF | PF, "Bextr"],
  [OF, "Daa Das"],
  [OF | SF | ZF | PF, "Aaa Aas"],
  [OF | AF | CF, "Aam Aad"],
];

const BY_MNEMONIC: ReadonlyMap<string, bigint> = new Map(
  ALWAYS.flatMap(([flags, names]) => names.split(" ").map((name) => [name, flags] as const)),
);

const SHIFTS = new Set(["Shl", "Sal", "Shr", "Sar", "Shld", "Shrd"]);
const ROTATES = new Set(["Rol", "Ror", "Rcl", "Rcr"]);

/** The count that the processor uses: the low five or, for 64-bit operands, six bits of the immediate or of CL. */
function maskedCount(builder: CaseBuilder): number {
  const { instruction, form, operandBits } = builder;
  const byRegister = form.operands.at(-1) === "cl";
  const count = byRegister ? Number(builder.low(RCX, 8)) : instruction.immediate8;
  return count & (operandBits === 64 ? 63 : 31);
}

/** A count of 0 changes no flag; OF is defined for 1 only; CF of SHL and SHR only below the operand size. */
function afterShift(builder: CaseBuilder, shifts: boolean): bigint {
  const count = maskedCount(builder);
  if (count === 0) return 0n;
  const overflow = count === 1 ? 0n : OF;
  if (!shifts) return overflow;
  const carries = ["Shl", "Sal", "Shr"].includes(builder.form.mnemonic);
  const carry = carries && count >= builder.operandBits ? CF : 0n;
  return overflow | AF | carry;
}

/** The status flags that the architecture leaves undefined when this case completes. */
export function undefinedFlags(builder: CaseBuilder): bigint {
  const { mnemonic } = builder.form;
  if (SHIFTS.has(mnemonic)) return afterShift(builder, true);
  if (ROTATES.has(mnemonic)) return afterShift(builder, false);
  return BY_MNEMONIC.get(mnemonic) ?? 0n;
}

/** The same after a fault: a fault changes no flag, but for #DE the manual does not promise it. */
export function undefinedFlagsAfterFault(vector: number): bigint {
  return vector === 0 ? CF | OF | SF | ZF | AF | PF : 0n;
}
