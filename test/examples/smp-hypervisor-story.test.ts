import { describe, expect, it } from "vitest";
import { buildImage } from "../../examples/smp-hypervisor/build.ts";
import { driverNames } from "../../src/machine/configuration.ts";
import { runGuest } from "../machine/run-guest.ts";
import { expectedStory } from "./expected-story.ts";

const image = buildImage();

describe.each(driverNames)("the example hypervisor under the %s driver", (driver) => {
  it.each([1, 2, 4])("tells its story on %i LPs", async (lpCount) => {
    const { result, serial } = await runGuest(image, { driver, lpCount });
    expect(result.ending).toEqual({ type: "exit", value: 0 });
    expect(serial).toBe(expectedStory(lpCount));
    expect(result.ending).toEqual({ type: "exit", value: 0 });
  });
});

it("tells the same story whatever the schedule", async () => {
  for (const seed of [2, 3]) {
    const { serial } = await runGuest(image, { driver: "deterministic", lpCount: 3, seed });
    expect(serial).toBe(expectedStory(3));
  }
});

describe("the example hypervisor says what it misses", () => {
  it("memory", async () => {
    const { result, serial } = await runGuest(image, { ramBytes: 7 * 2 ** 20 });
    expect(serial).toBe("LP 0: FATAL: too little memory; KiB above 1 MiB: 0x1800\n");
    expect(result.ending).toEqual({ type: "exit", value: 1 });
  });
});
