/**
 * Direct near branches whose target cannot be executed: it is not canonical, or lies beyond CS.limit. The core leaves such a
 * branch, and no other, to TypeScript. One that is taken faults by itself: the return address of the #GP is its own.
 */
import { Outcome } from "../../execution/core-host.ts";
import { statusFlag } from "../../execution/flags.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import { generalProtection } from "../trap.ts";

const { CF, PF, ZF, SF, OF } = statusFlag;

/** The conditions of Jcc, each by the mnemonic that branches on it and the one that branches otherwise. */
const conditions: readonly (readonly [string, string, (flags: number) => boolean])[] = [
  ["Jo", "Jno", (flags) => (flags & OF) !== 0],
  ["Jb", "Jae", (flags) => (flags & CF) !== 0],
  ["Je", "Jne", (flags) => (flags & ZF) !== 0],
  ["Jbe", "Ja", (flags) => (flags & (CF | ZF)) !== 0],
  ["Js", "Jns", (flags) => (flags & SF) !== 0],
  ["Jp", "Jnp", (flags) => (flags & PF) !== 0],
  ["Jl", "Jge", isLess],
  ["Jle", "Jg", (flags) => (flags & ZF) !== 0 || isLess(flags)],
];
function isLess(flags: number): boolean {
  return ((flags & SF) !== 0) !== ((flags & OF) !== 0);
}

const unconditional = [
  "Jmp_rel8_16",
  "Jmp_rel8_32",
  "Jmp_rel8_64",
  "Jmp_rel16",
  "Jmp_rel32_32",
  "Jmp_rel32_64",
  "Call_rel16",
  "Call_rel32_32",
  "Call_rel32_64",
];

const branchIf =
  (isTaken: (flags: number) => boolean): InstructionHandler =>
  (lp) => {
    if (isTaken(lp.readFlags())) {
      throw generalProtection();
    }
    return Outcome.Next;
  };

/** The count register as the address size makes it. */
function readCounter(lp: LogicalProcessor, size: number): bigint {
  return BigInt.asUintN(size * 8, lp.state.gpr(1));
}

/** LOOP, LOOPE, LOOPNE: nothing is counted when the branch faults. */
const loop =
  (goesOn: (flags: number) => boolean): InstructionHandler =>
  (lp, insn) => {
    const size = insn.addressSize;
    const left = BigInt.asUintN(size * 8, readCounter(lp, size) - 1n);
    if (left !== 0n && goesOn(lp.readFlags())) {
      throw generalProtection();
    }
    // A 32-bit count clears the upper half, a 16-bit one leaves it.
    const kept = size === 2 ? lp.state.gpr(1) & ~0xffffn : 0n;
    lp.state.setGpr(1, kept | left);
    return Outcome.Next;
  };

const jumpIfCounterZero: InstructionHandler = (lp, insn) => {
  if (readCounter(lp, insn.addressSize) === 0n) {
    throw generalProtection();
  }
  return Outcome.Next;
};

export const strayBranchInstructions: InstructionTable = {
  ...Object.fromEntries(unconditional.map((code) => [code, branchIf(() => true)])),
  ...Object.fromEntries(
    conditions.flatMap(([when, unless, test]) => [
      [when, branchIf(test)],
      [unless, branchIf((flags) => !test(flags))],
    ]),
  ),
  Loop: loop(() => true),
  Loope: loop((flags) => (flags & ZF) !== 0),
  Loopne: loop((flags) => (flags & ZF) === 0),
  Jcxz: jumpIfCounterZero,
  Jecxz: jumpIfCounterZero,
  Jrcxz: jumpIfCounterZero,
};
