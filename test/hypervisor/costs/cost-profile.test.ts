import { describe, expect, it } from "vitest";
import { builtInProfiles } from "../../../src/hypervisor/costs/built-in-profiles.ts";
import {
  costKeys,
  costTable,
  costTags,
  scaled,
  tagMix,
} from "../../../src/hypervisor/costs/cost-profile.ts";
import { icelakeKvm } from "../../../src/hypervisor/costs/profiles/icelake-kvm.ts";
import { skylakeKvm } from "../../../src/hypervisor/costs/profiles/skylake-kvm.ts";
import { unitCosts } from "../../../src/hypervisor/costs/profiles/unit.ts";
import { CostProfileError, readProfile } from "../../../src/hypervisor/costs/read-profile.ts";
import { OperationKind } from "../../../src/isa/operations.ts";

describe("built-in cost profiles", () => {
  it.each(builtInProfiles.map((profile) => [profile.name, profile] as const))(
    "%s says everything with a source and a tag",
    (_name, profile) => {
      expect(Object.keys(profile.costs).toSorted()).toEqual(costKeys.toSorted());
      for (const key of costKeys) {
        const { value, source, tag } = profile.costs[key];
        expect(value, key).toBeGreaterThanOrEqual(0);
        expect(source, key).not.toBe("");
        expect(costTags, key).toContain(tag);
      }
    },
  );

  it("gives every operation a cost", () => {
    for (const name of Object.keys(OperationKind)) {
      expect(costKeys).toContain(`operation.${name}`);
    }
  });

  // The totals that are published: cycles of a guest's instruction under KVM.
  it.each([
    ["VMCALL", "handle.vmcall", 1181],
    ["CPUID", "handle.cpuid", 1291],
    ["IN", "handle.port-in", 2339],
    ["OUT", "handle.port-out", 1391],
  ] as const)("%s adds up to the published exit", (_name, handler, published) => {
    const { costs } = skylakeKvm;
    const total =
      costs["vmx.exit"].value +
      costs["dispatch.exit"].value +
      costs[handler].value +
      costs["vmx.entry"].value;
    expect(Math.abs(total - published)).toBeLessThan(5);
  });

  it("waking from deeper idle states takes longer", () => {
    for (const profile of [skylakeKvm, icelakeKvm]) {
      const { of } = costTable(profile);
      expect(of["idle.c1-wake"]).toBeLessThan(of["idle.c1e-wake"]);
      expect(of["idle.c1e-wake"]).toBeLessThan(of["idle.c6-wake"]);
      expect(of["warm.sibling"]).toBeLessThan(of["warm.core"]);
      expect(of["warm.core"]).toBeLessThan(of["warm.socket"]);
    }
  });
});

describe("a table of costs", () => {
  it("is in nanoseconds of the profile's clock", () => {
    const { of, operations } = costTable(skylakeKvm);
    expect(of["vmx.exit"]).toBe(200);
    expect(of["idle.c6-wake"]).toBe(133_000);
    expect(operations[OperationKind.Pause]).toBe(56);
  });

  it("of the unit profile is all zero", () => {
    const { of, operations } = costTable(unitCosts);
    expect(new Set([...Object.values(of), ...operations])).toEqual(new Set([0]));
  });
});

describe("tags", () => {
  it("counts what is published and what is not", () => {
    const mix = tagMix(skylakeKvm);
    expect(mix.published + mix.estimate).toBe(costKeys.length);
    expect(mix.published).toBe(9);
  });

  it("scales only what has the tag", () => {
    const twice = scaled(skylakeKvm, 2, "estimate");
    expect(twice.costs["vmx.exit"].value).toBe(1000);
    expect(twice.costs["idle.c1-wake"].value).toBe(2);
    expect(scaled(skylakeKvm, 0.5, "published").costs["idle.c1-wake"].value).toBe(1);
  });
});

describe("a profile from a file", () => {
  const entry = { value: 610, unit: "cycles", source: "measured", tag: "published" };
  const file = (fields: object) => JSON.stringify({ name: "mine", base: "skylake-kvm", ...fields });

  it("takes from its base what it does not say", () => {
    const profile = readProfile(file({ costs: { "vmx.exit": entry } }), "mine.json");
    expect(profile.costs["vmx.exit"]).toEqual(entry);
    expect(profile.costs["vmx.entry"]).toEqual(skylakeKvm.costs["vmx.entry"]);
    expect(profile.clock).toEqual(skylakeKvm.clock);
  });

  it("round-trips a built-in profile", () => {
    expect(readProfile(JSON.stringify(icelakeKvm), "copy.json")).toEqual(icelakeKvm);
  });

  it.each([
    ["{", /^mine\.json: not JSON: /],
    ["[]", /^mine\.json: must be an object$/],
    [JSON.stringify({ base: "unit" }), /^mine\.json: name: must be a string/],
    [
      file({ base: "pentium" }),
      /^mine\.json: base: must be one of skylake-kvm, icelake-kvm, unit$/,
    ],
    [file({ colour: 1 }), /^mine\.json: colour: unknown; there are name/],
    [file({ costs: 1 }), /^mine\.json: costs: must be an object$/],
    [
      file({ costs: { "vmx.leave": entry } }),
      /costs\.vmx\.leave: unknown; vmx\.\* are exit, entry/,
    ],
    [file({ costs: { vmx: entry } }), /costs\.vmx: unknown; keys begin with operation, vmx, /],
    [file({ costs: { "vmx.exit": { ...entry, value: -1 } } }), /costs\.vmx\.exit\.value: must be/],
    [
      file({ costs: { "vmx.exit": { ...entry, unit: "s" } } }),
      /costs\.vmx\.exit\.unit: must be one/,
    ],
    [
      file({ costs: { "vmx.exit": { ...entry, tag: "x" } } }),
      /exit\.tag: must be one of published/,
    ],
    [file({ costs: { "vmx.exit": { ...entry, sauce: "" } } }), /costs\.vmx\.exit\.sauce: unknown/],
    [
      file({ costs: { "vmx.exit": { ...entry, source: "" } } }),
      /costs\.vmx\.exit\.source: must be/,
    ],
    [file({ clock: { ...entry, unit: "MHz" } }), /^mine\.json: clock\.unit: must be GHz$/],
    [file({ clock: { ...entry, unit: "GHz", value: 0 } }), /clock\.value: must be more than 0$/],
    [
      JSON.stringify({ name: "x", clock: { ...entry, unit: "GHz" }, costs: {} }),
      /Compute: missing/,
    ],
  ])("refuses %s", (text, message) => {
    expect(() => readProfile(text, "mine.json")).toThrow(CostProfileError);
    expect(() => readProfile(text, "mine.json")).toThrow(message);
  });
});
