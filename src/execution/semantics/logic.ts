import type { I64 } from "../../wasm/expression.ts";
import { i64 } from "../../wasm/expression.ts";
import type { Semantics } from "./arithmetic.ts";

function logic(operation: (a: I64, b: I64) => I64): Semantics {
  return (c) => {
    const b = c.let(c.source());
    c.update((a) => {
      const r = c.let(operation(a, b));
      c.flagsOfLogic(r);
      return r;
    });
  };
}
export const AND = logic(i64.and);
export const OR = logic(i64.or);
export const XOR = logic(i64.xor);

export const TEST: Semantics = (c) => {
  const a = c.let(c.destination());
  c.flagsOfLogic(c.let(i64.and(a, c.source())));
};

export const NOT: Semantics = (c) => {
  c.update((a) => c.truncate(i64.xor(a, i64.const(-1))));
};
