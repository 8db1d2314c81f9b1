import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { readScenario } from "../../src/cli/sched-scenario-file.ts";
import { lpsOf, placeVms, topologyWith } from "../../src/hypervisor/scenario.ts";
import { builtInScenarios } from "../../src/hypervisor/scenarios/built-in.ts";
import { projectFile } from "../../src/machine/project-files.ts";
import { UserError } from "../../src/machine/user-error.ts";

const good = `name: mine
vms:
  - name: one
    weight: 512
    workloads:
      - type: spinlock
        hold: 1.5us
  - name: two
    copies: 2
    vcpus: 1
    affinity: [0, 2]
    workloads: [{ type: hog }, { type: ticks, period: 1ms }]
`;

describe("a scenario file", () => {
  it("gives a scenario, with defaults for what it leaves out", () => {
    expect(readScenario(good, "mine.yaml")).toMatchObject({
      name: "mine",
      duration: 500_000_000,
      topology: { sockets: 1, coresPerSocket: 4, threadsPerCore: 1 },
      features: { posting: true, directedYield: "preempted", haltPollMax: 0 },
      vms: [
        {
          ...{ name: "one", copies: "overcommit", vcpus: "lps", weight: 512, cap: 0 },
          affinity: "any",
          workloads: [
            { type: "spinlock", lock: "ticket", hold: 1500, think: 20_000, guest: "script" },
          ],
        },
        {
          ...{ name: "two", copies: 2, vcpus: 1, affinity: [0, 2] },
          workloads: [{ type: "hog" }, { type: "ticks", period: 1_000_000 }],
        },
      ],
    });
  });

  it("can say whatever a built-in scenario says", () => {
    const times = new Set(["duration", "warmup", "unit", "run", "sleep", "hold", "think", "phase"]);
    for (const more of ["handler", "produce", "consume", "service", "period", "haltPollMax"]) {
      times.add(more);
    }
    for (const scenario of builtInScenarios) {
      const written = JSON.parse(JSON.stringify(scenario), (key, value) =>
        times.has(key) ? `${value}ns` : value,
      );
      expect(readScenario(stringify(written), "again.yaml")).toEqual(scenario);
    }
  });

  it("the example is one", () => {
    const path = projectFile("examples", "scenarios", "database-beside-batch.yaml");
    expect(readScenario(readFileSync(path, "utf8"), path).vms.map(({ name }) => name)).toEqual([
      "database",
      "batch",
    ]);
  });
});

describe("a wrong scenario file is told by file, line and key:", () => {
  const broken = (from: string, to: string): string => {
    expect(good).toContain(from);
    return good.replace(from, to);
  };
  it.each([
    ["no YAML", "name: [", /^f\.yaml:1:8: /],
    ["nothing", "", /^f\.yaml:1: must be a scenario/],
    ["a list", "- 1", /^f\.yaml:1: must be a scenario/],
    ["no VMs", "name: x\n", /^f\.yaml:1: vms: is missing/],
    [
      "an unknown key",
      broken("weight:", "wieght:"),
      /^f\.yaml:4: vms\[0\]\.wieght: .*near: weight/,
    ],
    [
      "an unknown key of a workload",
      broken("hold:", "held:"),
      /^f\.yaml:7: vms\[0\]\.workloads\[0\]\.held: there is no such key; near: hold/,
    ],
    [
      "a negative weight",
      broken("weight: 512", "weight: -1"),
      /^f\.yaml:4: vms\[0\]\.weight: must be from 1 to 65535/,
    ],
    [
      "a time without unit",
      broken("1.5us", "1500"),
      /^f\.yaml:7: vms\[0\]\.workloads\[0\]\.hold: must be a time/,
    ],
    ["no time at all", broken("1.5us", "0us"), /hold: must be more than 0/],
    ["an endless time", broken("1.5us", "99999s"), /hold: must be a time of at most an hour/],
    [
      "an unknown workload",
      broken("type: spinlock", "type: spinlok"),
      /^f\.yaml:6: vms\[0\]\.workloads\[0\]\.type: must have a type: hog/,
    ],
    [
      "machine code beside a script",
      broken("{ type: hog }", "{ type: spinlock, guest: machine-code }"),
      /^f\.yaml:12: vms\[1\]\.workloads: must be one alone when it is machine code/,
    ],
    [
      "an LP that cannot be",
      broken("[0, 2]", "[0, 64]"),
      /^f\.yaml:11: vms\[1\]\.affinity.*from 0 to 63/,
    ],
    [
      "a warm-up as long as the run",
      `${good}duration: 9ms\nwarmup: 9ms\n`,
      /:14: warmup: must be s/,
    ],
    [
      "too many LPs",
      `${good}topology: { coresPerSocket: 40, threadsPerCore: 2 }\n`,
      /topology: .*64 LPs/,
    ],
    ["a key twice", `${good}name: other\n`, /^f\.yaml:13:1: /],
    ["an alias without anchor", "name: *nobody\n", /^f\.yaml/],
  ])("%s", (_, text, message) => {
    expect(() => readScenario(text, "f.yaml")).toThrow(UserError);
    expect(() => readScenario(text, "f.yaml")).toThrow(message);
  });
});

describe("the VMs of a run", () => {
  const scenario = readScenario(good, "mine.yaml");

  it("are as many as the overcommit says", () => {
    const placed = placeVms(scenario, 3, 2);
    expect(placed.map(({ name, template }) => [name, template])).toEqual([
      ["one-1", 0],
      ["one-2", 0],
      ["two-1", 1],
      ["two-2", 1],
    ]);
    expect(placed[0]?.vcpus.map(({ affinity }) => affinity)).toEqual(Array(3).fill([0, 1, 2]));
    expect(placed[2]?.vcpus).toEqual([{ affinity: [0, 2], workload: 0 }]);
  });

  it("fit another number of LPs", () => {
    const shape = { sockets: 2, coresPerSocket: 2, threadsPerCore: 2 };
    expect(topologyWith(shape, 8)).toEqual(shape);
    for (const lps of [1, 2, 7, 64]) expect(lpsOf(topologyWith(shape, lps))).toBe(lps);
  });
});
