import { expect, it } from "vitest";
import { buildImage } from "../../examples/smp-hypervisor/build.ts";
import { runGuest } from "../machine/run-guest.ts";
import { expectedStory } from "./expected-story.ts";

const image = buildImage();
const runs = [
  { driver: "threads", lpCount: 2, seed: 1 },
  { driver: "threads", lpCount: 4, seed: 1 },
  { driver: "deterministic", lpCount: 1, seed: 1 },
  { driver: "deterministic", lpCount: 3, seed: 2 },
  { driver: "deterministic", lpCount: 4, seed: 3 },
] as const;

it.each(runs)("the example hypervisor tells its story: %o", async (configuration) => {
  const { result, serial } = await runGuest(image, configuration);
  expect(result.ending).toEqual({ type: "exit", value: 0 });
  expect(serial).toBe(expectedStory(configuration.lpCount));
});
