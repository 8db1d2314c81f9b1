import { describe, expect, it } from "vitest";
import {
  ParameterError,
  resolveParameters,
} from "../../../src/hypervisor/schedulers/parameters.ts";
import { findPolicy, policies } from "../../../src/hypervisor/schedulers/registry.ts";
import { distance, makeTopology } from "../../../src/hypervisor/schedulers/topology.ts";

describe("the registry", () => {
  it("has the policies that are documented, each with a source", () => {
    expect(policies.map(({ name }) => name)).toEqual([
      "round-robin",
      "credit",
      "credit2",
      "rtds",
      "null",
      "eevdf",
      "gang",
      "relaxed-co",
      "balance",
    ]);
    for (const { title, source } of policies) expect([title, source]).not.toContain("");
  });

  it("finds a policy by whole cores", () => {
    expect(findPolicy("credit2+core")?.title).toBe("Xen Credit2, by whole cores");
    expect(findPolicy("fifo+core")).toBeUndefined();
    expect(findPolicy("fifo")).toBeUndefined();
  });

  it("has the defaults of Xen and Linux", () => {
    const defaults = (name: string) => resolveParameters(findPolicy(name)?.parameters ?? {}, {});
    expect(defaults("credit")).toMatchObject({ slice: 30e6, ticks: 3, ratelimit: 1e6 });
    expect(defaults("credit2")).toMatchObject({
      scope: "socket",
      migrateResist: 500e3,
      lpsMax: 16,
    });
    expect(defaults("rtds")).toEqual({ period: 10e6, budget: 4e6, extraTime: true });
    expect(defaults("eevdf")).toMatchObject({ slice: 700e3, pleGap: 128, pleWindow: 4096 });
  });

  it.each([
    ["credit", { slcie: 1 }, /^no parameter slcie: there are slice, ticks/],
    ["null", { slice: 1 }, /^no parameter slice: there are none$/],
    ["credit", { slice: "long" }, /^slice = long: must be a number$/],
    ["credit", { slice: -1 }, /^slice = -1: must be at least 1000000$/],
    ["credit", { slice: Number.NaN }, /^slice = NaN: must be at least/],
    ["credit", { ticks: 1000 }, /^ticks = 1000: must be from 1 to 100$/],
    ["credit2", { scope: "node" }, /^scope = node: must be one of lp, core, socket, all$/],
    ["credit", { boost: 1 }, /^boost = 1: must be a boolean$/],
  ])("%s refuses %j", (name, parameters, message) => {
    const create = () => resolveParameters(findPolicy(name)?.parameters ?? {}, parameters);
    expect(create).toThrow(ParameterError);
    expect(create).toThrow(message);
  });
});

describe("a topology", () => {
  const topology = makeTopology({ sockets: 2, coresPerSocket: 2, threadsPerCore: 2 });
  it("numbers siblings and cores side by side", () => {
    expect(topology.lps.map(({ core }) => core)).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
    expect(topology.lps.map(({ socket }) => socket)).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
  });
  it("knows how far LPs are apart", () => {
    expect([0, 1, 2, 7].map((lp) => distance(topology, 0, lp))).toEqual([
      "same",
      "sibling",
      "core",
      "socket",
    ]);
  });
});
