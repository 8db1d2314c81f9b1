import { describe, expect, it } from "vitest";
import {
  atomicCompareExchange,
  choose,
  f64,
  type I32,
  i32,
  i64,
  select,
  v128,
} from "../../src/wasm/expression.ts";
import { FunctionBuilder, type Label } from "../../src/wasm/function-builder.ts";
import { globalValue, ModuleBuilder } from "../../src/wasm/module-builder.ts";

const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });

/** Lets the host's compiler judge the bytes, and gives back the function exported as "test". */
function compile(
  build: (module: ModuleBuilder) => FunctionBuilder,
  imports: Record<string, WebAssembly.ImportValue> = {},
): (...operands: (number | bigint)[]) => number | bigint {
  const module = new ModuleBuilder();
  module.add(build(module), "test");
  const compiled = new WebAssembly.Module(module.finish(1, 1) as Uint8Array<ArrayBuffer>);
  const { exports } = new WebAssembly.Instance(compiled, { host: { memory, ...imports } });
  return exports["test"] as ReturnType<typeof compile>;
}
function compileFunction(emit: (f: FunctionBuilder) => void, ...parameters: ("i32" | "i64")[]) {
  return compile(() => {
    const f = new FunctionBuilder(parameters, ["i64"]);
    f.scope(() => emit(f));
    return f;
  });
}

describe("a function built from expressions", () => {
  it("computes", () => {
    const run = compileFunction(
      (f) => f.result(i64.sub(i64.shl(f.parameter(0, "i64"), i64.const(4)), i64.const(-7))),
      "i64",
    );
    expect(run(5n)).toBe(87n);
  });

  it("evaluates an expression at each place where it stands, a local once", () => {
    const run = compileFunction((f) => {
      const load = i64.load(i32.const(64));
      f.store(8, i32.const(64), i64.const(3));
      const seen = f.let(load);
      f.store(8, i32.const(64), i64.const(100));
      f.result(i64.add(i64.mul(seen, i64.const(1000)), load));
    });
    expect(run()).toBe(3100n);
  });

  it("evaluates both arms of a selection, but only one of a choice", () => {
    const trap = (condition: I32) => {
      const divideByZero = i64.divU(i64.const(1), i64.const(0));
      return { selected: select(condition, i64.const(7), divideByZero), condition, divideByZero };
    };
    const { selected, condition, divideByZero } = trap(i32.const(1));
    const chosen = compileFunction((f) => f.result(choose(condition, i64.const(7), divideByZero)));
    expect(chosen()).toBe(7n);
    expect(compileFunction((f) => f.result(selected))).toThrow(WebAssembly.RuntimeError);
  });

  it("loops, and leaves a block from inside", () => {
    const run = compileFunction((f) => {
      const sum = f.let(i64.const(0));
      const n = f.let(f.parameter(0, "i64"));
      f.block((done) => {
        f.loop((again) => {
          f.branchIf(done, i64.eqz(n));
          f.set(sum, i64.add(sum, n));
          f.set(n, i64.sub(n, i64.const(1)));
          f.branch(again);
        });
      });
      f.result(sum);
    }, "i64");
    expect(run(100n)).toBe(5050n);
  });

  it("goes where a table says, and to the last place for what is not in it", () => {
    const run = compileFunction((f) => {
      const labels: Label[] = [];
      f.block((last) => {
        f.block((second) => {
          f.block((first) => {
            labels.push(first, second);
            f.branchTable(f.parameter(0, "i32"), labels, last);
          });
          f.return(i64.const(10));
        });
        f.return(i64.const(20));
      });
      f.result(i64.const(30));
    }, "i32");
    expect([0, 1, 2, 77].map((n) => run(n))).toEqual([10n, 20n, 30n, 30n]);
  });

  it("stores as many bytes as it is told", () => {
    const view = new DataView(memory.buffer);
    for (const size of [1, 2, 4, 8] as const) {
      view.setBigUint64(128, 0n, true);
      compileFunction((f) => {
        f.store(size, i32.const(120), i64.const(-1), 8);
        f.result(i64.const(0));
      })();
      expect(view.getBigUint64(128, true)).toBe((1n << BigInt(size * 8)) - 1n);
    }
  });

  it("compares and exchanges atomically, yielding what was there", () => {
    const view = new DataView(memory.buffer);
    view.setUint32(192, 5, true);
    const run = compileFunction(
      (f) =>
        f.result(
          atomicCompareExchange(4, i32.const(192), f.parameter(0, "i64"), i64.const(0xffff_fffe)),
        ),
      "i64",
    );
    expect(run(4n)).toBe(5n);
    expect(view.getUint32(192, true)).toBe(5);
    expect(run(5n)).toBe(5n);
    expect(view.getUint32(192, true)).toBe(0xffff_fffe);
  });

  it("has vectors and floating-point numbers", () => {
    const sum = v128.binary(0xce, v128.splat64(i64.const(40)), v128.const(Array(16).fill(0)));
    const shuffled = v128.shuffle(
      sum,
      v128.splat64(i64.const(2)),
      [16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    );
    const low = v128.extract64(shuffled, 0);
    const high = v128.extract64(shuffled, 1);
    expect(compileFunction((f) => f.result(i64.add(low, high)))()).toBe(42n);
    const rounded = i64.truncateSaturated(f64.nearest(f64.const(2.5)));
    expect(compileFunction((f) => f.result(rounded))()).toBe(2n);
  });
});

describe("temporaries", () => {
  it("are used again when their scope has ended", () => {
    const f = new FunctionBuilder([], ["i64"]);
    const indexes: number[] = [];
    f.scope(() => {
      const outer = f.let(i64.const(1));
      for (let n = 0; n < 5; n++) {
        f.scope(() => indexes.push(f.let(i64.const(n)).index, f.let(i32.const(n)).index));
      }
      f.result(outer);
    });
    expect(new Set(indexes).size).toBe(2);
    expect(() => f.finish()).not.toThrow();
  });

  it("must not be taken outside any scope", () => {
    const f = new FunctionBuilder([], []);
    f.let(i64.const(1));
    expect(() => f.finish()).toThrow("scope");
  });
});

describe("a module", () => {
  it("calls its imports and its own functions, also through the table", () => {
    const seen: number[] = [];
    const run = compile(
      (module) => {
        const note = module.importFunction("note", ["i32"], []);
        const base = globalValue("i32", module.importGlobal("base", "i32"));
        const signature = module.signature(["i32"], ["i32"]);
        const double = new FunctionBuilder(["i32"], ["i32"]);
        double.result(i32.mul(double.parameter(0, "i32"), i32.const(2)));
        module.addToTable(module.add(double));
        const f = new FunctionBuilder([], ["i32"]);
        f.scope(() => {
          const result = f.let(i32.const(0));
          f.callIndirect(signature, i32.const(0), [base], result);
          f.call(note, result);
          f.result(i32.add(result, i32.const(1)));
        });
        return f;
      },
      { note: (value: number) => seen.push(value), base: 21 },
    );
    expect(run()).toBe(43);
    expect(seen).toEqual([42]);
  });

  it("takes no import after its first function", () => {
    const module = new ModuleBuilder();
    module.add(new FunctionBuilder([], []));
    expect(() => module.importFunction("late", [], [])).toThrow("imports come first");
  });

  it("comes out the same every time", () => {
    const build = (): Uint8Array => {
      const module = new ModuleBuilder();
      const f = new FunctionBuilder(["i64"], ["i64"]);
      f.result(i64.add(f.parameter(0, "i64"), i64.const(1n << 40n)));
      module.add(f, "test");
      return module.finish(1, 1);
    };
    expect(build()).toEqual(build());
  });
});
