import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defaultProfile } from "../../../src/hypervisor/costs/built-in-profiles.ts";
import { defaultFeatures, defaultVm, type Scenario } from "../../../src/hypervisor/scenario.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";
import { importWithoutTypes } from "../../../src/machine/scheduling/user-module.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmxon-policy-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const scenario: Scenario = {
  name: "one hog",
  description: "",
  topology: { sockets: 1, coresPerSocket: 1, threadsPerCore: 1 },
  ...{ duration: 1_000_000, warmup: 0, features: defaultFeatures },
  vms: [{ ...defaultVm, name: "hog", workloads: [{ type: "hog", unit: 100_000 }] }],
};

/** Runs a policy whose module has this text. */
function run(name: string, text: string) {
  const path = join(folder, name);
  writeFileSync(path, text);
  return runSchedulingJob({
    ...{ policy: { type: "file", name, path }, parameters: {}, scenario, overcommit: 1, lps: 1 },
    ...{ duration: 1_000_000, seed: 1, costs: defaultProfile, check: false, keepRecord: true },
  });
}

/** A policy that runs the first vCPU there is, but for what `pick` says. */
const policy = (pick: string): string => `
export const policy = {
  name: "mine",
  title: "Mine",
  create: (host) => {
    let vcpu;
    return {
      add(one) { vcpu = one; },
      wake() { host.kick(0); },
      block() {}, yielded() {}, pauseLoop() {}, ran() {},
      pick(lp, current) { ${pick} },
    };
  },
};
`;

describe("a policy of a user's", () => {
  it("can be TypeScript: what is no JavaScript is taken out", async () => {
    const path = join(folder, "typed.ts");
    writeFileSync(
      path,
      'import type { Policy } from "./nowhere.ts";\nexport const policy: { name: string } = { name: "typed" satisfies string };\n',
    );
    expect((await importWithoutTypes(path))["policy"]).toEqual({ name: "typed" });
  });

  it("runs", async () => {
    const { ending } = await run("good.mjs", policy("return { vcpu, slice: 1e6 };"));
    expect(ending).toEqual({ type: "completed" });
  });

  it.each([
    ["throws", 'throw new Error("oops");', /pick.*oops/],
    ["answers nothing", "", /pick/],
    ["gives no time", "return { vcpu, slice: 0 };", /pick\(0\) gave a slice of 0/],
    ["makes a vCPU up", "return { vcpu: { id: 7 }, slice: 1 };", /pick\(0\) answered something/],
  ])(
    "that %s ends the run with the decision named, and what was done until then",
    async (_, pick, message) => {
      const { ending, duration } = await run(`bad-${pick.length}.mjs`, policy(pick));
      expect(ending).toMatchObject({ type: "failed", message: expect.stringMatching(message) });
      expect(duration).toBeLessThan(1_000_000);
    },
  );

  it.each([
    ["does not parse", "export const policy = {", /cannot be loaded/],
    ["exports none", "export const other = 1;", /exports no policy/],
  ])("module that %s is a user's error that names the file", async (_, text, message) => {
    await expect(run(`none-${text.length}.mjs`, text)).rejects.toThrow(message);
    await expect(run(`none-${text.length}.mjs`, text)).rejects.toThrow(/none-/);
  });
});
