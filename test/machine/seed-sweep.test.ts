import { expect, it } from "vitest";
import { defaultCpuModel } from "../../src/cpu/models/models.ts";
import { configure } from "../../src/machine/configuration.ts";
import { sweepSeeds } from "../../src/machine/seed-sweep.ts";
import { countsTogether } from "./guests.ts";

it("the same seed gives the same events, other seeds other orders, and the guest's result is always the same", async () => {
  const configuration = configure({
    image: { name: "guest", bytes: countsTogether(4) },
    cpuModel: defaultCpuModel.name,
    ramBytes: 16 * 2 ** 20,
    lpCount: 4,
    timeoutSeconds: 60,
  });
  const outcomes = await sweepSeeds(configuration, [1, 2, 3, 4, 1]);
  expect(outcomes.map(({ seed }) => seed)).toEqual([1, 2, 3, 4, 1]);
  expect(outcomes.map(({ serial }) => serial)).toEqual(Array(5).fill("4000"));
  expect(outcomes[4]).toEqual(outcomes[0]);
  expect(new Set(outcomes.map(({ traceDigest }) => traceDigest)).size).toBe(4);
  expect(new Set(outcomes.map(({ cycles }) => cycles)).size).toBe(4);
});
