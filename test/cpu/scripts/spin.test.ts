import { describe, expect, it } from "vitest";
import {
  compute,
  load,
  portOut,
  type ScriptEnvironment,
  spin,
  store,
} from "../../../src/isa/operations.ts";
import { runScripts } from "./run-scripts.ts";

const word = 0x40_0000n;

/** LP 1 stores after `delay` cycles, LP 0 spins until then, at most for `limit`. @returns how long, and what it saw */
async function spinning(delay: number, limit: number) {
  const seen = { cycles: 0, value: 0n };
  await runScripts(
    {
      programs: {
        *main({ lp, now }: ScriptEnvironment) {
          if (lp === 1) {
            yield compute(delay);
            yield store(word, 8, 7n);
            return;
          }
          const before = now();
          yield spin(word, 8, 0n, limit);
          seen.cycles = now() - before;
          seen.value = yield load(word);
          yield portOut(0xf4, 1, 0n);
        },
      },
    },
    { lpCount: 2 },
  );
  return seen;
}

describe("spinning", () => {
  it("ends when another LP stores there", async () => {
    const { cycles, value } = await spinning(50_000, 1e9);
    expect(value).toBe(7n);
    expect(cycles).toBeGreaterThan(49_000);
    expect(cycles).toBeLessThan(51_000);
  });
  it("ends when its time is over", async () => {
    const { cycles, value } = await spinning(50_000, 10_000);
    expect(value).toBe(0n);
    expect(cycles).toBeGreaterThanOrEqual(10_000);
    expect(cycles).toBeLessThan(10_200);
  });
  it("does not begin when memory holds another value", async () => {
    const { cycles } = await spinning(0, 0);
    expect(cycles).toBeLessThan(10);
  });
});
