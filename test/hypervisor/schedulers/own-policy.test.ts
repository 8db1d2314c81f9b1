import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readProfile } from "../../../src/hypervisor/costs/read-profile.ts";
import type { Policy } from "../../../src/hypervisor/schedulers/scheduler.ts";
import { Bench, bursts, hog, ms } from "./bench.ts";

const document = readFileSync(new URL("../../../docs/schedulers.md", import.meta.url), "utf8");
const block = (language: string) =>
  document.split(`\`\`\`${language}\n`)[1]?.split("```")[0] ?? "not there";

describe("the document's examples", () => {
  it("of a policy works", async () => {
    const source = `data:text/javascript,${encodeURIComponent(block("js"))}`;
    const { policy }: { policy: Policy } = await import(source);
    const bench = new Bench(policy, {
      lps: 2,
      vms: [
        { vcpus: [{ behaviour: hog }, { behaviour: hog }, { behaviour: hog, lps: [1] }] },
        { vcpus: [{ behaviour: bursts(ms, ms) }] },
      ],
    }).run(1000 * ms);
    for (const vcpu of bench.vcpus) expect(vcpu.share).toBeGreaterThan(0.15);
  });

  it("of a cost profile works", () => {
    expect(readProfile(block("json"), "example").costs["vmx.exit"].value).toBe(610);
  });
});
