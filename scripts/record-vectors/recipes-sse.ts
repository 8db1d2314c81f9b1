import { OpKind, Register } from "iced-x86";
import type { CaseBuilder } from "./case-builder.ts";
import type { Recipe } from "./recipe.ts";
import { RDI } from "./registers.ts";

const CASES = 40;

/** Register forms, and memory operands of any alignment. */
export const unaligned: Recipe = { cases: CASES };

/** Memory operands must lie on a 16-byte boundary; some do not, and raise #GP. */
export const aligned: Recipe = { cases: CASES, alignment: 16 };

/** Floating-point arithmetic: elements of any alignment, and vectors that must be aligned. */
export const scalarFloat: Recipe = { cases: 60, floats: true };
export const packedFloat: Recipe = { cases: 60, floats: true, alignment: 16 };

function chooseCount(builder: CaseBuilder): bigint {
  return BigInt(
    builder.choose.oneOf([0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 255]),
  );
}

/** Packed shifts: counts around the element widths; a count in a register or in memory is 64 bits wide. */
export const packedShift: Recipe = {
  cases: CASES,
  alignment: 16,
  immediate: (builder) => (builder.choose.onceIn(4) ? undefined : chooseCount(builder)),
  adjust(builder) {
    const { instruction, choose } = builder;
    if (builder.form.operands[1] === "imm8" || choose.onceIn(4)) return;
    if (instruction.opKind(1) === OpKind.Register) {
      builder.setXmmLow64(instruction.opRegister(1) - Register.XMM0, chooseCount(builder));
    } else if (builder.memoryOffset !== undefined) {
      builder.setMemory(builder.memoryOffset, chooseCount(builder), 8);
    }
  },
};

/** MASKMOVDQU stores through RDI. */
export const maskedMove: Recipe = {
  cases: 60,
  begin: (builder) => builder.setPointer(RDI, builder.offsetFor(16), builder.addressBits),
};
