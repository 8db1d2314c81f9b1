import { Register } from "iced-x86";
import { lpOffset } from "./lp-window.ts";

/** Kinds of registers that operands name. */
export type RegisterKind =
  | "general"
  | "segment"
  | "control"
  | "debug"
  | "vector"
  | "x87"
  | "mmx"
  | "other";

export interface OperandRegister {
  readonly kind: RegisterKind;
  /** Bytes of a general register; 16 of a vector register; 0 otherwise. */
  readonly size: number;
  /**
   * Offset in the LP window of the register's value. For segment, control, debug, x87 and MMX registers, which generated code never
   * touches, it only carries the number: `gpr + 8 * number`.
   */
  readonly offset: number;
}

const table = new Map<number, OperandRegister>();

function general(names: readonly string[], size: number): void {
  names.forEach((name, number) => {
    table.set(Register[name as keyof typeof Register], {
      kind: "general",
      size,
      offset: lpOffset.gpr + number * 8,
    });
  });
}
const extended = (suffix: string): string[] =>
  [8, 9, 10, 11, 12, 13, 14, 15].map((n) => `R${n}${suffix}`);
general(["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", ...extended("")], 8);
general(["EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI", ...extended("D")], 4);
general(["AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI", ...extended("W")], 2);
general(["AL", "CL", "DL", "BL", "SPL", "BPL", "SIL", "DIL", ...extended("L")], 1);
["AH", "CH", "DH", "BH"].forEach((name, number) => {
  table.set(Register[name as keyof typeof Register], {
    kind: "general",
    size: 1,
    offset: lpOffset.gpr + number * 8 + 1,
  });
});

function numbered(kind: RegisterKind, names: readonly string[]): void {
  names.forEach((name, number) => {
    table.set(Register[name as keyof typeof Register], {
      kind,
      size: 0,
      offset: lpOffset.gpr + number * 8,
    });
  });
}
const sixteen = Array.from({ length: 16 }, (_, n) => n);
numbered("segment", ["ES", "CS", "SS", "DS", "FS", "GS"]);
numbered(
  "control",
  sixteen.map((n) => `CR${n}`),
);
numbered(
  "debug",
  sixteen.map((n) => `DR${n}`),
);
numbered(
  "x87",
  sixteen.slice(0, 8).map((n) => `ST${n}`),
);
numbered(
  "mmx",
  sixteen.slice(0, 8).map((n) => `MM${n}`),
);
for (const n of sixteen) {
  table.set(Register[`XMM${n}` as keyof typeof Register], {
    kind: "vector",
    size: 16,
    offset: lpOffset.xmm + n * 16,
  });
}

const other: OperandRegister = { kind: "other", size: 0, offset: lpOffset.zero };

export function operandRegister(register: Register): OperandRegister {
  return table.get(register) ?? other;
}
