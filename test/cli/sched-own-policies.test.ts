import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { schedCommand } from "../../src/cli/sched-command.ts";

/** A policy of somebody's own, good but for the methods given: whoever waits first, five milliseconds at a time. */
const policyWith = (methods: string): string => `
export const policy = {
  name: "mine",
  title: "Mine",
  create: (host) => {
    const queue = [];
    let picks = 0;
    return {
      add() {}, block() {}, yielded() {}, pauseLoop() {}, ran() {},
      wake(vcpu) {
        queue.push(vcpu);
        for (const lp of host.topology.lps.keys()) host.kick(lp);
      },
      pick(lp, current) {
        if (current !== undefined) queue.push(current);
        return { vcpu: queue.shift(), slice: 5e6 };
      },
      ${methods}
    };
  },
};
`;

/** What is wrong with each, and what it must be told. */
const broken = {
  "throws.js": {
    // Behind the warm-up, so that there is something that has been measured.
    methods: `pick(lp, current) {
      if (++picks > 114) throw new Error("my mistake");
      if (current !== undefined) queue.push(current);
      return { vcpu: queue.shift(), slice: 1e6 };
    }`,
    message: /pick threw: my mistake/,
  },
  "never.js": {
    methods: "pick: () => ({ vcpu: undefined, slice: Infinity })",
    message: /never picked a vCPU, though some were ready/,
  },
  "elsewhere.js": {
    methods: `pick: () => ({ vcpu: queue[0], slice: 1e6 })`,
    message: /pick\(\d\) answered vCPU 0 of hog-1, which runs on LP \d/,
  },
  "nothing.js": { methods: "pick() {}", message: /pick\(\d\) answered nothing/ },
} as const;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmxon-policies-"));
  writeFileSync(join(folder, "good.js"), policyWith(""));
  for (const [name, { methods }] of Object.entries(broken)) {
    writeFileSync(join(folder, name), policyWith(methods));
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("a sweep with broken policies", () => {
  let out = "";
  let status: number | undefined;
  const file = (name: string): string => join(folder, name);
  const names = Object.keys(broken) as (keyof typeof broken)[];

  beforeAll(async () => {
    const command = schedCommand({
      print: async (text) => {
        out += text;
      },
      terminal: { isTTY: false, columns: 60, write: () => undefined },
      now: () => 0,
      onInterrupt: () => () => undefined,
      setStatus: (value) => {
        status = value;
      },
    });
    const policies = ["round-robin", ...["good.js", ...names].map(file)].join(",");
    await command.parseAsync(
      [
        ...["bench", "--policy", policies, "--scenario", "hogs", "--overcommit", "2"],
        ...["--lps", "2", "--duration", "60", "--seeds", "2", "--json", file("result.json")],
      ],
      { from: "user" },
    );
  }, 120_000);

  it("goes on with the others", () => {
    expect(status).toBe(1);
    expect(out).toMatch(/^round-robin +2:1 +20\.0k /m);
    expect(out).not.toMatch(/good\.js[^\n]*runs\)/);
  });

  it.each(names)("names the file %s and the decision, for each seed", (name) => {
    for (const seed of [1, 2]) {
      const line = out.split("\n").find((one) => one.startsWith(`  ${name}, 2:1, seed ${seed}: `));
      expect(line).toMatch(broken[name].message);
    }
    expect(out).toContain(`${name} (0 of 2 runs)`);
  });

  it("keeps what broken runs have done, and marks it", () => {
    const { complete, cells } = JSON.parse(readFileSync(file("result.json"), "utf8"));
    expect(complete).toBe(false);
    const cellOf = (name: string) =>
      cells.find(({ policy }: { policy: string }) => policy === name);
    expect(cellOf("good.js").runs.map((run: never) => run["ending"]["type"])).toEqual([
      ...["completed", "completed"],
    ]);
    for (const name of names) {
      const { runs } = cellOf(name);
      expect(runs, name).toHaveLength(2);
      for (const { ending } of runs) expect(ending.type).toBe("failed");
    }
    const [thrown] = cellOf("throws.js").runs;
    expect(thrown.times.some(({ run }: { run: number }) => run > 0)).toBe(true);
  });
});
