import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BenchPorts, traceName } from "../../src/cli/sched-bench.ts";
import { schedCommand } from "../../src/cli/sched-command.ts";
import { ProgressBar } from "../../src/cli/sched-progress.ts";
import { shortNumber } from "../../src/cli/sched-tables.ts";
import { defaultProfile } from "../../src/hypervisor/costs/built-in-profiles.ts";
import { builtInScenarios } from "../../src/hypervisor/scenarios/built-in.ts";
import { UserError } from "../../src/machine/user-error.ts";
import { toyPool } from "../machine/scheduling/toy-pool.ts";
import { endlessSeed, failingSeed } from "../machine/scheduling/toy-worker.ts";
import { decodeTrace } from "../trace/perfetto-schema.ts";

let folder: string;
let worker: string;
beforeAll(() => {
  ({ folder, worker } = toyPool());
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly status: number | undefined;
  readonly out: string;
  readonly terminal: string;
}

/** Runs `vmxon sched` with the toy simulation. @param interruptAfter Ctrl-C after so many drawings of the progress bar */
async function sched(
  args: readonly string[],
  options: { isTTY?: boolean; interruptAfter?: number } = {},
): Promise<Ended> {
  let out = "";
  let terminal = "";
  let drawn = 0;
  let status: number | undefined;
  let interrupt = (): void => undefined;
  const ports: BenchPorts & { setStatus: (status: number) => void } = {
    print: async (text) => {
      out += text;
    },
    terminal: {
      isTTY: options.isTTY ?? false,
      columns: 60,
      write: (text) => {
        terminal += text;
        if (++drawn === options.interruptAfter) interrupt();
      },
    },
    now: () => 0,
    onInterrupt: (stop) => {
      interrupt = stop;
      return () => undefined;
    },
    sweep: { worker },
    setStatus: (value) => {
      status = value;
    },
  };
  const command = schedCommand(ports);
  for (const one of [command, ...command.commands]) {
    one.exitOverride().configureOutput({ writeErr: () => undefined });
  }
  await command.parseAsync(args, { from: "user" });
  return { status, out, terminal };
}

const quick = ["bench", "--duration", "20", "--lps", "2", "--policy", "round-robin,null"];
const path = (name: string): string => join(folder, name);

describe("vmxon sched bench", () => {
  it("prints a table per scenario with best and worst marked", async () => {
    const scenarios = ["--scenario", "hogs", "--scenario", "weights"];
    const { status, out, terminal } = await sched([...quick, ...scenarios, "--seeds", "2"]);
    expect(status).toBe(0);
    expect(terminal).toBe("");
    expect(out).toMatch(
      /^hogs: 2 LPs, 2 seeds; costs skylake-kvm \(\d+ published, \d+ estimated\)\n/,
    );
    expect(out).toMatch(/\nweights: 2 LPs/);
    const line = /\npolicy +over +throughput +slowdown.*\n.*units\/s +x.*\n(.*)\n(.*)\n/;
    const [, first = "", second = ""] = line.exec(out) ?? [];
    expect(first).toMatch(/^round-robin +1:1 .* ±/);
    expect(second).toMatch(/^null +1:1 .* ±/);
    expect(out).toMatch(/\nexits\/s +over +PAUSE +VMX-preemption timer expired\n/);
    expect(out).toMatch(/\d [+]( |\n)/);
  });

  it("writes JSON, CSV, a report and traces", async () => {
    const files = ["json", "csv", "html", "perfetto-trace"].map((name) => path(`run.${name}`));
    const [json = "", csv = "", html = "", trace = ""] = files;
    const { status } = await sched([
      ...[...quick, "--scenario", "hogs", "--seeds", "1"],
      ...["--json", json, "--csv", csv, "--report", html, "--trace", trace],
    ]);
    expect(status).toBe(0);
    const written = JSON.parse(readFileSync(json, "utf8"));
    expect(written).toMatchObject({ complete: true, interrupted: false });
    expect(written.cells).toHaveLength(4);
    expect(written.cells[0].runs[0].latencies.ipi.p99).toBeGreaterThan(0);
    const lines = readFileSync(csv, "utf8").trimEnd().split("\r\n");
    expect(lines).toHaveLength(5);
    expect(new Set(lines.map((line) => line.split(",").length)).size).toBe(1);
    expect(readFileSync(html, "utf8")).toMatch(/^<!doctype html>/);
    expect(existsSync(trace)).toBe(false);
    const traces = ["round-robin-1", "null-1", "round-robin-2", "null-2"].map((name) =>
      path(`run-hogs-${name}.perfetto-trace`),
    );
    for (const one of traces) expect(decodeTrace(readFileSync(one)).length).toBeGreaterThan(20);
  });

  it("runs again with estimated costs halved and doubled", async () => {
    const { out } = await sched([...quick, "--scenario", "hogs", "--seeds", "1", "--sensitivity"]);
    const titles = out.match(/^hogs: .*$/gm) ?? [];
    expect(titles).toHaveLength(3);
    expect(titles[1]).toContain("×0.5");
    expect(titles[2]).toContain("×2");
  });

  it("goes on when a run fails, marks what is partial, and says so in its status", async () => {
    const json = path("partial.json");
    const { status, out } = await sched([
      ...[...quick, "--scenario", "hogs", "--overcommit", "1"],
      ...["--seed", String(failingSeed - 1), "--seeds", "2", "--json", json],
    ]);
    expect(status).toBe(1);
    expect(out).toContain("null (1 of 2 runs)");
    expect(out).toContain(`round-robin, 1:1, seed ${failingSeed}: mine.ts: exports no policy\n`);
    expect(JSON.parse(readFileSync(json, "utf8"))).toMatchObject({ complete: false });
  });

  it("shows what there is after Ctrl-C", async () => {
    // The third drawing is after the second run; the one with the endless seed never ends.
    const { status, out } = await sched(
      [
        ...["bench", "--duration", "20", "--lps", "2", "--policy", "null", "--scenario", "hogs"],
        ...["--overcommit", "1", "--seed", String(endlessSeed), "--seeds", "3", "--threads", "2"],
      ],
      { isTTY: true, interruptAfter: 3 },
    );
    expect(status).toBe(130);
    expect(out).toContain("null (2 of 3 runs)");
    expect(out).toContain(`seed ${endlessSeed}: not run to its end`);
    expect(out).toMatch(/interrupted: these results are partial\n$/);
  });

  it.each([
    [
      "an unknown policy",
      ["--policy", "crdit"],
      /--policy: no policy is called "crdit"; near matches: credit/,
    ],
    [
      "a policy's file that is not there",
      ["--policy", "./mine.ts"],
      /--policy \.\/mine\.ts: no such file/,
    ],
    [
      "an unknown parameter",
      ["--policy", "credit:slize=1"],
      /--policy credit:slize=1: no parameter slize/,
    ],
    ["no parameter", ["--policy", "credit:fast"], /"fast" is no parameter; write name=value/],
    ["an unknown scenario", ["--scenario", "hog"], /--scenario: no scenario .* near matches: hogs/],
    ["a scenario file that is not there", ["--scenario", "no.yaml"], /^no\.yaml: no such file/],
    ["no overcommit", ["--overcommit", "1,0"], /--overcommit 0: give a whole number from 1 to 16/],
    ["too many LPs", ["--lps", "65"], /--lps 65: give a whole number from 1 to 64/],
    ["no time", ["--duration", "0"], /--duration 0: give milliseconds/],
    ["no seeds", ["--seeds", "none"], /--seeds none: give a whole number/],
    ["unknown costs", ["--cost", "skylake"], /--cost: no cost profile .*near matches: skylake-kvm/],
    ["too many vCPUs", ["--lps", "64", "--overcommit", "16"], /^mixed: .* are too many/],
    [
      "a file that cannot be written",
      ["--json", "/no/such/folder/x"],
      /^\/no\/such\/folder\/x: no such file/,
    ],
  ])("%s is one line", async (_, args, message) => {
    await expect(sched(["bench", ...args])).rejects.toThrow(UserError);
    await expect(sched(["bench", ...args])).rejects.toThrow(message);
  });

  it("an affinity to a missing LP names scenario, VM and LP", async () => {
    const file = path("pinned.yaml");
    writeFileSync(
      file,
      "name: pinned\nvms: [{ name: v, affinity: [0, 7], workloads: [{ type: hog }] }]\n",
    );
    await expect(sched(["bench", "--scenario", file])).rejects.toThrow(
      "pinned: affinity of VM v names LP 7, and there are LPs 0 to 3; mend it or give --lps",
    );
  });
});

describe("vmxon sched list", () => {
  it("tells policies with their parameters, scenarios and costs", async () => {
    const { out } = await sched(["list"]);
    expect(out).toMatch(/ {2}round-robin +\S/);
    expect(out).toMatch(/ {2}spinlock-ticket +\S/);
    expect(out).toMatch(/ {2}skylake-kvm +\S/);
    const list = JSON.parse((await sched(["list", "--json"])).out);
    expect(list.policies.map(({ name }: { name: string }) => name)).toContain("credit");
    expect(list.scenarios.length).toBeGreaterThan(10);
  });
});

describe("vmxon sched shapes", () => {
  it("prints published and simulated figures with the verdict", async () => {
    const json = path("shapes.json");
    const { status, out } = await sched([
      "shapes",
      "--row",
      "7,18",
      "--seeds",
      "1",
      "--json",
      json,
    ]);
    expect(status).toBe(0);
    expect(out).toMatch(
      /^7\. PAUSE-loop exiting alone\n {2}published: kernel build at 2x: \+2 %\n {2}set-up: .*\n {2}criterion: /,
    );
    expect(out).toMatch(/\n {2}skylake-kvm: \+0\.0 %: holds\n {2}skylake-kvm .*×0\.5.*: holds\n/);
    expect(out).toMatch(/\n18\. co-scheduling\n[\s\S]*: DOES NOT HOLD\n/);
    expect(out).toMatch(/\n1 of 2 hold with skylake-kvm, 1 also with .* halved and doubled\n$/);
    const rows = JSON.parse(readFileSync(json, "utf8"));
    expect(
      rows.map(({ row, trials }: { row: number; trials: unknown[] }) => [row, trials.length]),
    ).toEqual([
      ...[
        [7, 3],
        [18, 3],
      ],
    ]);
  });

  it("says when an experiment could not be judged", async () => {
    const { status, out } = await sched([
      ...[
        "shapes",
        "--row",
        "7",
        "--seeds",
        "1",
        "--seed",
        String(failingSeed),
        "--no-sensitivity",
      ],
    ]);
    expect(status).toBe(1);
    expect(out).toContain("not judged: 0: mine.ts: exports no policy: DOES NOT HOLD");
    expect(out).toMatch(/\n0 of 1 hold with skylake-kvm\n$/);
  });

  it("shows after Ctrl-C what could be judged", async () => {
    // Both rows have two runs; the fourth drawing is after the third.
    const json = path("interrupted.json");
    const { status, out } = await sched(
      [
        ...["shapes", "--row", "7,13", "--seeds", "1", "--no-sensitivity", "--threads", "1"],
        ...["--json", json],
      ],
      { isTTY: true, interruptAfter: 4 },
    );
    expect(status).toBe(130);
    expect(out).toMatch(/skylake-kvm: \+0\.0 %: holds\n/);
    expect(out).toMatch(/not judged: (sampled|exact): not run: DOES NOT HOLD\n/);
    expect(out).toMatch(/\ninterrupted: these results are partial\n$/);
    const [, thief] = JSON.parse(readFileSync(json, "utf8"));
    expect(thief.trials[0].trouble).toMatch(/not run/);
  });

  it("an unknown row is one line", async () => {
    await expect(sched(["shapes", "--row", "2"])).rejects.toThrow(
      /--row: there is no row 2; there are 1, 3/,
    );
  });
});

describe("the progress bar", () => {
  it("counts runs and failures, guesses what is left, and goes away", () => {
    let text = "";
    let now = 0;
    const terminal = { isTTY: true, columns: 80, write: (more: string) => (text += more) };
    const bar = new ProgressBar(terminal, 4, () => now);
    now = 3000;
    bar.step(false);
    now = 130_000;
    bar.step(true);
    bar.end();
    const drawn = text.split("\r\u001b[2K");
    expect(drawn).toEqual([
      "",
      "[........................] 0/4 runs",
      "[######..................] 1/4 runs, 9 s left",
      "[############............] 2/4 runs, 1 failed, 3 min left",
      "",
    ]);
  });

  it("is silent when standard error is no terminal", () => {
    let text = "";
    new ProgressBar({ write: (more) => (text += more) }, 4, () => 0).end();
    expect(text).toBe("");
  });
});

it("numbers are short", () => {
  expect([0, 0.004, 0.5, 12.34, 123.4, 1234, 12_345, 1_234_567].map(shortNumber)).toEqual([
    ...["0", "0.004", "0.50", "12.3", "123", "1234", "12.3k", "1.23M"],
  ]);
});

it("traces of several cells have names of their own that are file names", () => {
  const [scenario] = builtInScenarios;
  if (scenario === undefined) throw new Error("there are no scenarios");
  const cell = { scenario: { ...scenario, name: "a/b" }, policy: "credit:x=1", overcommit: 2 };
  const halved = { ...defaultProfile, name: "p ×0.5" };
  expect(traceName("out/run.perfetto-trace", { ...cell, costs: halved })).toBe(
    "out/run-a-b-credit-x=1-2-x0.5.perfetto-trace",
  );
  expect(traceName("run", { ...cell, costs: defaultProfile })).toBe("run-a-b-credit-x=1-2");
});
