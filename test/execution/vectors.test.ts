import { Mnemonic } from "iced-x86";
import { describe, expect, test } from "vitest";
import { readVectors, type VectorFileName } from "../vectors/read-vectors.ts";
import { SystemInstruction } from "./core-harness.ts";
import { VectorRunner } from "./vector-runner.ts";

/** Instructions of the vector files that the core leaves to TypeScript, where they have tests of their own. */
const leftToTypeScript = [
  "Bound",
  "Clflush",
  "Cmpxchg16b",
  "INVALID",
  "Into",
  "Pause",
  "Popf",
  "Popfd",
  "Popfq",
  "Pushf",
  "Pushfd",
  "Pushfq",
  "Ud2",
];

const runner = new VectorRunner();
const executedNowhere = new Set<string>();
/** Floating-point cases that the core has executed, and handed over: denormals, NaNs, overflow and their like. */
const floats = { executed: 0, handedOver: 0 };

/** The first failure of each form says enough. */
function failuresOf(name: VectorFileName): string[] {
  const failures = new Map<string, string>();
  for (const vector of readVectors(name).cases()) {
    const result = runner.run(vector);
    if (name === "float-64") {
      floats[result instanceof SystemInstruction ? "handedOver" : "executed"] += 1;
    }
    if (result instanceof SystemInstruction) {
      if (name === "float-64") continue;
      executedNowhere.add(Mnemonic[result.mnemonic] ?? "?");
    } else if (result !== undefined && !failures.has(vector.form.name)) {
      failures.set(vector.form.name, result);
    }
  }
  return [...failures.values()];
}

describe.each(["integer-64", "integer-32", "sse-64", "float-64"] as const)("%s", (name) => {
  test("every recorded case has the recorded outcome", () => {
    expect(failuresOf(name)).toEqual([]);
  });
});

test("nothing recorded is left to TypeScript but what is listed", () => {
  expect([...executedNowhere].sort()).toEqual(leftToTypeScript);
});

test("of floating-point cases the core executes the greater part by itself", () => {
  expect(floats.executed).toBeGreaterThan(floats.handedOver);
});
